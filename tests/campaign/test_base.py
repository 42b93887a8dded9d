"""Campaigns that start from a cheaper theory: what is taken from it, and that nothing expensive is sequential."""

import json
import shutil
from pathlib import Path

import basecampaigns
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from basecampaigns import CHEAP, EXPENSIVE, fail_at_call, run, settings_with

from alflow.campaign.basetheory import find_base
from alflow.campaign.launch import launch
from alflow.campaign.plan import make_plan
from alflow.display.view import Silent
from alflow.errors import CampaignError, ConfigError, InputError, RunError
from alflow.ledger import LedgerReader
from alflow.potentials import load_potential
from alflow.report.report import write_report
from alflow.runs.directory import RunDirectory, load_dataset, load_segment
from alflow.runs.events import read_events
from alflow.runs.startdata import StartFolder, load_structures
from alflow.runs.status import read_status

STRUCTURES = 12
OWN = {
    "engine": "ase",
    "settings": CHEAP,
    "structures": STRUCTURES,
    "campaign": {"iterations": 1, "sampling": {"replicas": 1}, "selection": {"cap": 4}},
}
"""A base that explores by the same settings as the run below."""


@pytest.fixture(scope="module", autouse=True)
def expensive_theory():
    """Let the processes of guarded engines find the calculator of the expensive theory."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("PYTHONPATH", str(Path(basecampaigns.__file__).parent), prepend=":")
        yield


@pytest.fixture(scope="module")
def cheap(tmp_path_factory):
    """Return the run directory of a finished campaign of the cheap theory."""
    path = tmp_path_factory.mktemp("cheap") / "run"
    run(path, iterations=1)
    return path


def changes(base, **more):
    """Return the changes of a campaign of the expensive theory over a base."""
    return {"labels__settings": EXPENSIVE, "base": base} | more


@pytest.fixture(scope="module")
def undisturbed(cheap, tmp_path_factory):
    path = tmp_path_factory.mktemp("dear") / "run"
    return path, run(path, **changes({"run": str(cheap), "structures": STRUCTURES}))


def tasks(path):
    return {event["what"] for event in read_events(RunDirectory(path).events)}


def test_first_data_are_structures_of_the_bases_first_data_and_of_its_pulls(undisturbed, cheap):
    run_directory = RunDirectory(undisturbed[0])
    folder = StartFolder.of(run_directory)
    note, (part,) = folder.base(), load_structures(folder.base_structures)
    assert note.of_pulls + note.of_first_data == STRUCTURES
    assert min(note.of_pulls, note.of_first_data) > 0
    with LedgerReader.open(run_directory.ledger) as ledger:
        dataset, origins = ledger.dataset(ledger.theories()[0], 0, kinds=("first-data",))
    assert [origin.step for origin in origins] == list(range(STRUCTURES))
    np.testing.assert_array_equal(dataset.groups[0].frames.positions, part.frames.positions)
    distances = np.linalg.norm(part.frames.positions[:, 0] - part.frames.positions[:, 1], axis=-1)
    assert distances.max() > distances.min() + 0.3  # along the way of the pull
    assert (note.engine, note.run) == ("ase", str(cheap))


def test_the_report_says_what_the_campaign_started_from(undisturbed, tmp_path):
    page = write_report(RunDirectory(undisturbed[0]), tmp_path / "report.html").read_text()
    assert f"{STRUCTURES} structures of a base" in page
    assert "starts from the weights of the base" in page
    assert "could not be made" not in page


def test_the_label_engine_drives_no_trajectory(undisturbed):
    assert tasks(undisturbed[0]) >= {"label", "relax-with-base", "train", "pull-segment"}
    assert not tasks(undisturbed[0]) & {"md-segment", "first-state", "relax", "reference-segment"}


def test_the_ensemble_starts_from_the_bases_weights_moved_to_the_labels(undisturbed):
    run_directory = RunDirectory(undisturbed[0])
    before = load_potential(StartFolder.of(run_directory).base_ensemble)
    start = load_potential(run_directory.iteration(0) / "base.pt")
    (group,) = load_dataset(run_directory.iteration(0) / "dataset.npz").groups
    energies, forces = start.evaluate(group.frames)
    np.testing.assert_allclose((energies - group.labels.energies).mean(axis=1), 0.0, atol=1e-4)
    np.testing.assert_array_equal(forces, before.evaluate(group.frames)[1])


def test_audits_and_their_calibration_go_on(undisturbed):
    assert all(record.audit is not None for record in RunDirectory(undisturbed[0]).records())


@pytest.mark.parametrize(("what", "number"), [("assess", 1), ("label", 2), ("relax-with-base", 1), ("train", 2)])
def test_a_campaign_with_a_base_that_was_cut_off_ends_the_same(undisturbed, cheap, tmp_path, monkeypatch, what, number):
    copy = tmp_path / "base"
    shutil.copytree(cheap, copy)
    base = {"run": str(copy), "structures": STRUCTURES}
    with monkeypatch.context() as patched:
        fail_at_call(patched, what, number)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes(base, labels__frames_per_task=3))
    if what != "assess":  # all that was taken from it lies in the run
        shutil.rmtree(copy)
    assert run(tmp_path / "run", workers=2, **changes(base, labels__frames_per_task=3)) == undisturbed[1]


def test_an_engine_that_explores_first_gives_the_same_as_a_run_of_its_own(undisturbed, tmp_path):
    assert run(tmp_path / "run", **changes(OWN)) == undisturbed[1]
    assert "md-segment" in tasks(tmp_path / "run" / "base")
    assert not tasks(tmp_path / "run") & {"md-segment", "relax", "reference-segment"}
    assert read_status(tmp_path / "run" / "base").state == "finished"


@pytest.mark.parametrize("what", ["md-segment", "pull-segment"])
def test_a_base_that_was_cut_off_while_it_explored_goes_on(undisturbed, tmp_path, monkeypatch, what):
    with monkeypatch.context() as patched:
        fail_at_call(patched, what, 2)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes(OWN))
    status = read_status(tmp_path / "run")
    assert status.state == "failed"
    assert status.stage.startswith("base: ")
    assert run(tmp_path / "run", **changes(OWN)) == undisturbed[1]


def test_references_that_are_asked_for_start_where_the_base_relaxed(cheap, tmp_path):
    path = tmp_path / "run"
    base = {"run": str(cheap), "structures": STRUCTURES}
    run(path, **changes(base, iterations=1, sampling__reference=True))
    assert tasks(path) >= {"relax-with-base", "reference-segment"}
    assert "relax" not in tasks(path)
    (record,) = RunDirectory(path).records()
    assert np.isfinite(record.barrier_error_ev.mean)


def test_structures_alone_leave_weights_fresh(undisturbed, cheap, tmp_path):
    base = {"run": str(cheap), "structures": STRUCTURES, "use": "structures"}
    found = run(tmp_path / "run", **changes(base, iterations=1))
    assert not (RunDirectory(tmp_path / "run").iteration(0) / "base.pt").exists()
    assert found[1][0] != undisturbed[1][1][0]


@pytest.fixture(scope="module")
def difference(cheap, tmp_path_factory):
    path = tmp_path_factory.mktemp("difference") / "run"
    base = {"run": str(cheap), "structures": STRUCTURES, "use": "delta"}
    return path, run(path, **changes(base, sampling__reference=True))


def test_a_difference_is_what_the_labels_are_above_those_of_the_base(difference):
    run_directory = RunDirectory(difference[0])
    for record in run_directory.records():
        (group,) = load_dataset(run_directory.iteration(record.iteration) / "dataset.npz").groups
        energies, forces = emt(group.frames)
        np.testing.assert_allclose(group.labels.energies, 0.1 * energies - 100.0, atol=1e-9)
        np.testing.assert_allclose(group.labels.forces, 0.1 * forces, atol=1e-9)


def test_pulls_are_driven_by_the_difference_and_the_base_together(difference):
    folder = RunDirectory(difference[0]).iteration(1)
    segment = load_segment(folder / "pull-00" / "segment-001.npz")
    learnt = load_potential(folder / "ensemble.pt").evaluate(segment.frames)[0]
    np.testing.assert_allclose(segment.energy, learnt.mean(axis=0) + emt(segment.frames)[0], atol=1e-6)
    np.testing.assert_allclose(segment.spread, learnt.std(axis=0), atol=1e-6)


def test_audits_and_unseen_errors_of_a_difference_are_of_the_whole(difference):
    run_directory = RunDirectory(difference[0])
    (record,) = run_directory.records()[1:]
    assert record.unseen_energy_mae_ev < 5.0
    frames = load_segment(run_directory.iteration(1) / "pull-00" / "segment-000.npz").frames.take(np.array([0, 5]))
    learnt = load_potential(run_directory.iteration(1) / "ensemble.pt").evaluate(frames)[0].mean(axis=0)
    audits = json.loads((run_directory.iteration(1) / "audit.json").read_text())
    assert abs(learnt[0] + 100.0) < 10.0  # what is learnt is far from the labels, 100 eV and more
    assert audits
    assert all(abs(row["energy_error"]) < 5.0 for row in audits)


def test_a_difference_that_was_cut_off_ends_the_same(difference, cheap, tmp_path, monkeypatch):
    base = {"run": str(cheap), "structures": STRUCTURES, "use": "delta"}
    with monkeypatch.context() as patched:
        fail_at_call(patched, "pull-segment", 2)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes(base, sampling__reference=True))
    assert run(tmp_path / "run", workers=2, **changes(base, sampling__reference=True)) == difference[1]


def emt(frames):
    """Return energies and forces of the cheap theory."""
    found = []
    for positions in frames.positions:
        atoms = Atoms(frames.numbers, positions, calculator=EMT())
        found.append((atoms.get_potential_energy(), atoms.get_forces()))
    return np.array([one for one, _ in found]), np.array([one for _, one in found])


def test_another_number_of_structures_is_another_campaign(undisturbed, cheap):
    with pytest.raises(RunError, match=r"base\.structures"):
        run(undisturbed[0], **changes({"run": str(cheap), "structures": STRUCTURES + 1}))


OTHERS = {
    "other molecules": ({"system__carbons": [3]}, r"of the molecules that are pulled.*C2 \(C2H6\).*C3 \(C3H8\)"),
    "another charge": ({"system__charge": 2}, r"C2H6 \+2"),
    "other atoms": ({"system__pulled_atoms": [0, 3]}, r"pulls the same atoms.*\[0, 3\].*\[0, 1\]"),
    "more members": ({"split__members": 4}, "split.members is 4, and the base has 2 members"),
    "another kind": ({"potential": {"kind": "schnet"}}, "same kind.*'schnet'.*'ani'"),
}


@pytest.mark.parametrize("case", OTHERS)
def test_a_base_of_something_else_is_refused_with_a_sentence(cheap, tmp_path, case):
    more, words = OTHERS[case]
    plan = make_plan(settings_with(**changes({"run": str(cheap)}, **more)))
    with pytest.raises(ConfigError, match=words) as refusal:
        find_base(plan, RunDirectory(tmp_path / "run"))
    assert str(refusal.value).endswith(".")


def nothing(path):
    path.mkdir()


def uncommitted(path):
    nothing(path)
    (path / "campaign.toml").write_text('name = "x"\n[system]\ncarbons = [2]\n')


@pytest.mark.parametrize(
    ("make", "words"),
    [(nothing, "holds campaign.toml"), (uncommitted, "has none. Run it first"), (Path.touch, "holds campaign.toml")],
)
def test_what_is_no_finished_run_is_refused_with_a_sentence(tmp_path, make, words):
    make(tmp_path / "base")
    plan = make_plan(settings_with(**changes({"run": str(tmp_path / "base")})))
    with pytest.raises(ConfigError, match=words):
        find_base(plan, RunDirectory(tmp_path / "run"))


WRONG = [
    ({"run": "a", "engine": "dftb3"}, "both are given"),
    ({}, "neither is given"),
    ({"run": "a", "settings": {"calculator": "x"}}, "are of base.engine"),
    ({"run": "a", "campaign": {"iterations": 1}}, "are of base.engine"),
    ({"run": "a", "structures": 1}, "greater than or equal to 4"),
    ({"run": "a", "use": "nothing"}, "'transfer'"),
    ({"engine": "dftb4"}, "dftb4"),
    ({"engine": "dftb3", "settings": {"nonsense": 1}}, "base.settings.nonsense"),
    ({"engine": "dftb3", "campaign": {"nonsense": 1}}, "base.campaign.nonsense: this key is unknown"),
    ({"engine": "dftb3", "campaign": {"split": {"members": 0}}}, "base.campaign.split.members"),
    ({"engine": "dftb3", "campaign": {"base": {"run": "a"}}}, "a base has no base"),
    ({"engine": "dftb3", "campaign": 3}, "base.campaign"),
]


@pytest.mark.parametrize(("base", "words"), WRONG)
def test_a_base_that_breaks_a_rule_is_refused_by_its_key(base, words):
    with pytest.raises(ConfigError, match=words) as refusal:
        settings_with(base=base)
    assert str(refusal.value).startswith("tiny: base")


def test_starts_of_a_base_need_one():
    with pytest.raises(ConfigError, match="needs a cheaper theory to relax with"):
        settings_with(sampling__relax_with="base")


def test_a_base_whose_engine_cannot_label_the_molecule_is_refused_before_anything_starts(tmp_path):
    base = {"engine": "ase", "settings": {"calculator": "no.such.Calculator"}}
    with pytest.raises(InputError, match=r"no\.such\.Calculator"):
        launch(settings_with(**changes(base)), "local", {"kind": "threads"}, tmp_path / "run", Silent())
    assert not (tmp_path / "run" / "ledger.sqlite").exists()
