"""Tables keep every digit and every heading at any width, in a terminal as in a pipe."""

import io
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from rich.console import Console

from alflow.cli.terminal import terminal
from alflow.cli.wide import NO_END
from alflow.display.progress import View, iteration_table, per_second, sentence
from alflow.display.tables import Sheet
from alflow.runs.records import Estimate, IterationRecord, estimate_text

RULES = re.compile(r"[━─┃│┏┓┗┛┡┩┳╇┴┻└┘├┤┼╞╡|+\-=\s]")


def printed(sheet, width, encoding="utf-8"):
    file = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict", newline="")
    Console(file=file, width=width, markup=False, highlight=False, emoji=False, soft_wrap=True).print(sheet)
    file.flush()
    return file.buffer.getvalue().decode(encoding)


NUMBER = st.from_regex(r"\A[+-]?[0-9]{1,9}(\.[0-9]{1,9})?( ± [0-9]{1,4}\.[0-9]{1,4})?\Z")
WORDS = st.text("abcXYZÅ[/]:._-", min_size=1, max_size=60)


@st.composite
def sheets(draw):
    text = [f"t{number}-{'h' * draw(st.integers(1, 12))}" for number in range(draw(st.integers(0, 3)))]
    numbers = [
        f"n{number}-{'h' * draw(st.integers(1, 12))}" for number in range(draw(st.integers(0 if text else 1, 8)))
    ]
    sheet = Sheet(text, numbers, title=draw(WORDS), caption=draw(WORDS), ruled=draw(st.booleans()))
    for _ in range(draw(st.integers(0, 4))):
        sheet.add(*(draw(WORDS) for _ in text), *(draw(NUMBER) for _ in numbers))
    return sheet


@settings(max_examples=300, deadline=None)
@given(sheet=sheets(), width=st.one_of(st.integers(8, 140), st.just(NO_END)))
def test_outsider_no_table_loses_a_digit_or_a_heading(sheet, width):
    out = printed(sheet, width)
    assert "…" not in out
    lines = out.splitlines()
    for column, heading in enumerate(sheet.headings):
        cells = [heading, *(row[column] for row in sheet.rows)]
        for cell in cells:
            whole = any(re.search(rf"(^|[\s│┃]){re.escape(cell)}($|[\s│┃])", line) for line in lines)
            assert whole or (column < len(sheet.text) and width != NO_END)
    for row in sheet.rows:  # what is folded is all there, in its order
        for cell in row[: len(sheet.text)]:
            letters = iter(RULES.sub("", out))
            assert all(letter in letters for letter in RULES.sub("", cell))
    assert sheet.title in lines
    if width == NO_END:
        assert len({line for line in lines if line.startswith("┏")}) <= 1


def records():
    estimate = Estimate.of([6.4812, 6.5551, 6.4423])
    return [
        IterationRecord(
            iteration=7, labels=123456, selected=100, new_labels=200, failures={}, best_member=0,
            threshold=(0.1234,), largest_spread_ev=(1.0,), energy_mae_ev=(0.1,), energy_rmse_ev=(0.1234,),
            force_mae_ev_per_angstrom=(0.567,), barrier_ev=estimate, barrier_max_ev=estimate,
            reference_barrier_ev=estimate, barrier_error_ev=estimate, unseen_energy_mae_ev=None,
            unseen_force_mae_ev_per_angstrom=None, stopped=("", "far", ""), tasks={},
            seconds={"train": 1234.5, "pull": 23456.7, "label": 34567.8},
        )
    ]  # fmt: skip


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 160, NO_END])
def test_outsider_the_table_of_iterations_is_whole_at_any_width(width):
    out = printed(iteration_table(records()), width)
    mean = estimate_text(records()[0].barrier_ev)
    for word in (f"{mean} (1 of 3 cut short)", f"+{mean}", "123456", "0.1234", "34567.8", "23456.7"):
        assert word in out
    for heading in ("labels", "E RMSE", "threshold", "reference", "label s"):
        assert heading in out
    if width >= 60:
        assert max(map(len, out.splitlines())) <= width


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_table_can_be_drawn_in_any_encoding(encoding):
    sheet = Sheet(("what",), ("number",), title="title")
    sheet.add("a", "1.5")
    assert "1.5" in printed(sheet, 80, encoding)


def test_outsider_a_pipe_is_wide_whatever_the_terminal_is_said_to_be(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "20")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    terminal().print(iteration_table(records()))
    terminal().print("/a/path/that/is/long " * 20)
    out = capsys.readouterr().out
    assert len([line for line in out.splitlines() if "123456" in line]) == 1
    assert ("/a/path/that/is/long " * 20).rstrip() in out


@example(done=63000, wanted=0, labels=0)
@settings(max_examples=100, deadline=None)
@given(done=st.integers(0, 10**5), wanted=st.integers(0, 10**5), labels=st.integers(0, 10**5))
def test_outsider_nothing_is_done_of_nothing(done, wanted, labels):
    view = View(iterations=4, stage="pull, select, label", steps_done=done, steps_wanted=wanted, labels_wanted=labels)
    assert "/0" not in sentence(view).replace("/0.", "").replace("iteration 0/3", "").replace("0/s", "")


def test_rates_have_two_digits_or_more():
    assert [per_second(rate) for rate in (0.0, 0.0123, 1.26, 9.96, 12.3, 1234.5)] == [
        "0/s", "0.012/s", "1.3/s", "10/s", "12/s", "1234/s",
    ]  # fmt: skip
