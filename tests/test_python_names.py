"""alflow from Python: each public name on a tiny campaign, and what wrong arguments get."""

from __future__ import annotations

import ast
import pkgutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from tinycampaign import TINY

import alflow
from alflow.config.campaign import CampaignSettings
from alflow.errors import AlflowError, InputError, RunError
from alflow.types import Frames

THREADS = {"kind": "threads", "workers": 1}
ETHANE = molecule("C2H6")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("names") / "run"
    return folder, alflow.run(tomllib.loads(TINY), options=THREADS, run_dir=folder)


def test_a_campaign_runs_and_says_how_it_ended(finished):
    folder, ended = finished
    assert ended.reason == "all 2 iterations are done"
    assert [record.iteration for record in ended.records] == [0, 1]
    assert (folder / "report.html").exists()


def test_a_file_its_settings_and_the_same_mapping_are_one_campaign(finished, tiny_file, monkeypatch):
    folder, ended = finished
    settings = alflow.load_campaign(tiny_file, ["iterations=2"])
    assert isinstance(settings, CampaignSettings)
    monkeypatch.chdir(tiny_file.parent)
    for campaign in (settings, tiny_file, str(tiny_file), "tiny.toml"):
        again = alflow.run(campaign, "local", THREADS, str(folder))  # goes on with the run, of which nothing is left
        assert again == ended


def test_a_run_goes_to_the_folder_runs_if_none_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    one = alflow.run(tomllib.loads(TINY) | {"iterations": 1}, options=THREADS)
    assert len(one.records) == 1
    assert (tmp_path / "runs" / "tiny" / "iterations.jsonl").exists()


def test_a_display_is_told_what_goes_on(tmp_path):
    class Display:
        stages, closed = set(), False

        def update(self, view):
            self.stages.add(view.stage)

        def note(self, message):
            assert message

        def close(self):
            self.closed = True

    display = Display()
    campaign = tomllib.loads(TINY) | {"iterations": 1}
    alflow.run(campaign, options=THREADS, run_dir=tmp_path / "run", display=display)
    assert display.stages
    assert not display.closed  # whoever opened it closes it


def test_an_ensemble_is_read_from_its_run_or_its_file(finished):
    folder, _ = finished
    frames = Frames.of(ETHANE.numbers.astype(np.int64), ETHANE.positions[None])
    of_run, of_file = (alflow.load_ensemble(path) for path in (folder, folder / "iteration-001" / "ensemble.pt"))
    energies, forces = of_run.evaluate(frames)
    assert energies.shape == (2, 1)
    assert forces.shape == (2, 1, 8, 3)
    assert np.array_equal(of_file.evaluate(frames)[1], forces)
    first = alflow.load_ensemble(str(folder / "iteration-000" / "ensemble.pt"))
    assert not np.array_equal(first.evaluate(frames)[0], energies)


def test_a_ledger_is_read_from_its_run_or_its_file(finished):
    folder, ended = finished
    for path in (folder, folder / "ledger.sqlite", str(folder)):
        with alflow.read_ledger(path) as ledger:
            dataset, origins = ledger.dataset(ledger.theories()[0], up_to_iteration=0)
            assert len(dataset) == len(origins) == ended.records[1].labels  # it learns from those before it
            assert ledger.counts().labelled > len(dataset)


def test_an_engine_labels_as_the_campaign_did(finished):
    folder, _ = finished
    engine = alflow.make_engine("ase", calculator="ase.calculators.emt.EMT")
    with alflow.read_ledger(folder) as ledger:
        (theory,) = ledger.theories()
        assert engine.theory == theory
        dataset, _ = ledger.dataset(theory)
    group = dataset.groups[0]
    batch = alflow.label_frames(engine, group.frames.take(slice(0, 3)))
    assert np.array_equal(batch.labels.energies, group.labels.energies[:3])
    assert np.array_equal(batch.labels.forces, group.labels.forces[:3])


def test_settings_of_an_engine_count():
    warm, cold = (alflow.make_engine("dftb3", electronic_temperature_k=kelvin) for kelvin in (1000.0, 300.0))
    assert warm.theory != cold.theory


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("make_engine", ("gaussian",), ["label engine", "dftb3", "gaussian"]),
        ("make_engine", ("dftb",), ["label engine", "dftb3", "'dftb'"]),
        ("make_engine", ("",), ["engine", "''"]),
        ("load_campaign", ("quickstarter",), ["no 'quickstarter'", "quickstart"]),
        ("load_campaign", ("quickstart", ["iteration=2"]), ["iteration: this key is unknown", "iterations"]),
        ("load_campaign", ("quickstart", ["iterations"]), ["key.subkey=value", "'iterations'"]),
        ("run", ({},), ["name: this key is required"]),
        ("run", ({"name": "x", "seeds": 3},), ["seeds: this key is unknown", "seed"]),
        ("run", ({"name": "../x"},), ["name", "../x"]),
        ("run", ("no-such-file.toml",), ["no-such-file.toml"]),
        ("run", ("quickstart", "locall"), ["'locall'", "local"]),
        ("run", ("quickstart", "local", {"worker": 3}), ["no option 'worker'", "workers"]),
        ("run", ("quickstart", "local", {"workers": "many"}), ["workers", "many"]),
        ("load_ensemble", ("no-such-file.pt",), ["no-such-file.pt"]),
        ("read_ledger", ("no-such-run",), ["no-such-run"]),
    ],
)
def test_a_wrong_argument_is_a_sentence(name, arguments, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(AlflowError) as raised:
        getattr(alflow, name)(*arguments)
    assert isinstance(raised.value, InputError | RunError)
    assert [word for word in words if word not in str(raised.value)] == []
    assert list(tmp_path.iterdir()) == []


def test_a_setting_of_an_engine_that_it_has_not_is_refused():
    with pytest.raises(InputError, match="colour: this key is unknown"):
        alflow.make_engine("dftb3", colour="red")


def test_a_run_without_iterations_has_no_ensemble(tmp_path):
    with pytest.raises(RunError, match="no committed iteration"):
        alflow.load_ensemble(tmp_path)


def test_options_may_be_lists(monkeypatch):
    from alflow import api

    seen = {}
    monkeypatch.setattr(api, "launch", lambda *arguments: seen.update(options=arguments[2]))
    alflow.run({"name": "x"}, "globus", {"endpoints": ["a", "b"], "batch_size": 16, "gpus": None})
    assert seen["options"] == {"endpoints": "a,b", "batch_size": "16", "gpus": "None"}


def test_every_public_name_is_there_and_explains_itself():
    assert set(alflow.__all__) <= set(dir(alflow))
    assert "__version__" in dir(alflow)
    for name in alflow.__all__:
        assert getattr(alflow, name).__doc__, name


def test_no_public_name_is_also_a_module():
    """Importing `alflow.NAME` would put the module in the place of the function."""
    modules = {module.name for module in pkgutil.iter_modules(alflow.__path__)}
    assert modules & set(alflow.__all__) == set()


def test_what_alflow_has_not_is_said():
    with pytest.raises(AttributeError, match=r"no attribute 'runn'; it has .*run"):
        alflow.runn  # noqa: B018


def test_type_checkers_see_every_lazy_name():
    """The package says that it is typed; what it imports for type checkers alone is what it imports when asked."""
    source = Path(alflow.__file__)
    assert (source.parent / "py.typed").exists()
    (imported,) = (node for node in ast.parse(source.read_text()).body if isinstance(node, ast.If))
    assert ast.unparse(imported.test) == "TYPE_CHECKING"
    assert {alias.name for statement in imported.body for alias in statement.names} == set(alflow.__all__)
