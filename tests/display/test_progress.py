"""What a campaign shows while it runs."""

import io
from dataclasses import replace

import pytest
from rich.console import Console

from alflow.campaign import launch as launching
from alflow.campaign import pulling, ticker
from alflow.config.load import load_campaign
from alflow.display.progress import LiveDisplay, PlainDisplay, display_for, sentence, waiting
from alflow.display.view import View


class Recorder:
    """Keeps all that a display is told."""

    def __init__(self):
        self.lines, self.notes = [], []

    def update(self, view):
        self.lines.append((replace(view), sentence(view)))

    def note(self, message):
        self.notes.append(message)

    def close(self):
        pass


def test_outsider_no_count_is_ever_above_what_is_wanted(tiny_file, tmp_path, monkeypatch):
    """A relaxation is waited for while pulls run, a stored pull is replayed: the plan is known before either."""
    monkeypatch.setattr(ticker, "DISPLAY_SECONDS", 0.0)
    overrides = ["sampling.relax_with=label-engine", "sampling.replicas=2"]
    options = {"kind": "threads"}
    start = pulling._Pulling.start_all

    def checked(stage, *arguments):
        assert stage._campaign.view.steps_wanted == 120
        return start(stage, *arguments)

    monkeypatch.setattr(pulling._Pulling, "start_all", checked)
    for iterations in (1, 2):
        shown = Recorder()
        settings = load_campaign(tiny_file, [*overrides, f"iterations={iterations}"])
        launching.launch(settings, "local", options, tmp_path / "run", shown)
        assert len(shown.lines) > 5
        for view, text in shown.lines:
            assert view.steps_done <= view.steps_wanted, text
            assert view.labels_done <= view.labels_wanted, text
            assert view.reference_done <= view.reference_wanted, text
            assert view.labels_per_second >= 0.0
            assert view.stage in text
        assert max(view.reference_wanted for view, _ in shown.lines) == 120
        (tmp_path / "run" / "iterations.jsonl").write_text("")  # the pulls of iteration 0 are replayed next


def test_outsider_the_first_half_minute_says_what_it_does(alflow, tiny_file):
    code, out, _ = alflow("run", tiny_file, "-O", "kind=threads", "--set", "iterations=1")
    assert code == 0
    words = ["Loading", "Labelling the starting structures with ase", "Starting workers on site 'local'", "first data"]
    places = [out.index(word) for word in words]
    assert places == sorted(places)


def test_waiting_workers_are_named_and_told_when_they_come(capsys):
    display = PlainDisplay(period=1000)
    view = View(iterations=3, stage="first data", workers={"cpu": 0, "gpu": 0})
    for workers in ({"cpu": 0, "gpu": 0}, {"cpu": 0, "gpu": 0}, {"cpu": 4, "gpu": 0}, {"cpu": 4, "gpu": 1}):
        view.workers = workers
        display.update(view)
    out = [line.partition("] ")[2] for line in capsys.readouterr().out.splitlines()]
    assert out == [
        "iteration 0/2: first data, waiting for workers of cpu and gpu",
        "iteration 0/2: first data, waiting for workers of gpu",
        "iteration 0/2: first data",
    ]
    assert waiting(View()) == ""


@pytest.mark.parametrize(
    ("terminal", "term", "live"), [(True, "xterm", True), (True, "dumb", False), (False, "xterm", False)]
)
def test_a_live_display_is_for_terminals_that_move_their_cursor(monkeypatch, terminal, term, live):
    monkeypatch.setenv("TERM", term)

    class Output(io.StringIO):
        def isatty(self):
            return terminal

    display = display_for(Console(file=Output()))
    display.close()
    assert isinstance(display, LiveDisplay if live else PlainDisplay)


def test_a_live_display_shows_markup_as_it_is(monkeypatch):
    class Output(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm")
    output = Output()
    display = LiveDisplay(Console(file=output, markup=False, highlight=False, width=100))
    display.note("lost: /a/[b]/[/c]")
    display.update(
        View(iterations=3, stage="pull", steps_done=5, steps_wanted=10, reference_done=1, reference_wanted=2)
    )
    display.close()
    assert "lost: /a/[b]/[/c]" in output.getvalue()
