"""First data of files: structures that are labelled side by side, labels of one's own; and what is refused."""

from dataclasses import replace
from types import SimpleNamespace

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from basecampaigns import fail_at_call, run, settings_with
from hypothesis import given
from hypothesis import strategies as st

from alflow.campaign.firstdata import check_labelled
from alflow.campaign.plan import make_plan
from alflow.campaign.startdata import read_given
from alflow.errors import CampaignError, InputError, RunError
from alflow.ledger import Ledger, LedgerReader, LedgerRow, Origin
from alflow.runs.directory import RunDirectory
from alflow.runs.events import read_events
from alflow.runs.startdata import StartFolder
from alflow.structures import alkane

ETHANE = alkane(2)


def ethanes(number, seed=1, labelled=False, shift=0.0):
    """Return jittered ethane molecules."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(number):
        atoms = Atoms(ETHANE.numbers, ETHANE.positions[0] + rng.normal(scale=0.05, size=ETHANE.positions[0].shape))
        if labelled:
            atoms.calc = EMT()
            energy, forces = atoms.get_potential_energy() + shift, atoms.get_forces()
            atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=forces)
        found.append(atoms)
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    ase.io.write(folder / "structures.xyz", ethanes(20))
    ase.io.write(folder / "others.xyz", ethanes(20, seed=2))
    ase.io.write(folder / "labels.xyz", ethanes(12, seed=3, labelled=True))
    return folder


@pytest.fixture(scope="module")
def undisturbed(files, tmp_path_factory):
    path = tmp_path_factory.mktemp("undisturbed") / "run"
    return path, run(path, iterations=1, first_data__structures=str(files / "structures.xyz"))


def origins(path):
    with LedgerReader.open(RunDirectory(path).ledger) as ledger:
        return [(row.origin.kind, row.origin.iteration, row.origin.step) for row in ledger.rows()]


def test_structures_of_a_file_are_labelled_without_any_trajectory_of_the_label_engine(undisturbed):
    path, _ = undisturbed
    assert [one for one in origins(path) if one[0] == "first-data"] == [("first-data", 0, row) for row in range(20)]
    what = {event["what"] for event in read_events(RunDirectory(path).events)}
    assert "label" in what
    assert "md-segment" not in what


def test_labels_of_structures_that_were_cut_off_are_asked_for_again_alone(undisturbed, files, tmp_path, monkeypatch):
    source = tmp_path / "moved.xyz"
    source.write_bytes((files / "structures.xyz").read_bytes())
    changes = {"iterations": 1, "first_data__structures": str(source), "labels__frames_per_task": 3}
    with monkeypatch.context() as patched:
        fail_at_call(patched, "label", 4)
        with pytest.raises(CampaignError, match="planted"):
            run(tmp_path / "run", **changes)
    source.unlink()  # the run has its own copy
    assert run(tmp_path / "run", workers=3, **changes) == undisturbed[1]


def test_another_file_of_structures_under_the_same_name_is_refused(undisturbed, files):
    with pytest.raises(RunError, match="another file of first structures"):
        run(undisturbed[0], iterations=1, first_data__structures=str(files / "others.xyz"))


def test_labels_of_ones_own_are_first_data_by_the_users_word_which_is_written_down(files, tmp_path):
    source = tmp_path / "labels.xyz"
    source.write_bytes((files / "labels.xyz").read_bytes())
    changes = {"first_data__labels": str(source), "first_data__labels_theory": "own"}
    run(tmp_path / "run", iterations=1, **changes)
    note = StartFolder.of(RunDirectory(tmp_path / "run")).labels()
    assert (note.labels, note.word, note.file) == (12, "own", str(source))
    assert [one for one in origins(tmp_path / "run") if one[0] == "import"] == [("import", 0, n) for n in range(12)]
    assert RunDirectory(tmp_path / "run").records()[0].labels == 12
    source.unlink()
    run(tmp_path / "run", iterations=2, **changes)
    assert len(RunDirectory(tmp_path / "run").records()) == 2


def check(path, **changes):
    """Read the files of a campaign; return how many structures there are to label."""
    plan = make_plan(settings_with(**changes))
    return read_given(plan, RunDirectory(path / "run"), "theory").frames


def test_labels_that_name_no_theory_need_a_word(files, tmp_path):
    with pytest.raises(InputError, match=r'names none.*say so with first_data.labels_theory = "own"'):
        check(tmp_path, first_data__labels=str(files / "labels.xyz"))


def test_labels_in_another_unit_are_refused(tmp_path):
    hartree = ethanes(4, labelled=True, shift=-2000.0)
    for atoms in hartree:
        atoms.calc.results["energy"] /= 27.211386
    ase.io.write(tmp_path / "labels.xyz", hartree)
    with pytest.raises(InputError, match=r"within 500 eV|Energies are in eV"):
        run(tmp_path / "run", first_data__labels=str(tmp_path / "labels.xyz"), first_data__labels_theory="own")


REFUSED = {
    "another element": ([*ethanes(3), Atoms("OH2", [[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])], "has O"),
    "other molecules": ([Atoms("CH4", [[0, 0, 0], [1, 1, 0], [-1, 1, 0], [0, -1, 1], [0, -1, -1]])], "none of C2"),
    "another order": ([atoms[::-1] for atoms in ethanes(3)], r"3 of the same atoms, in another order"),
    "one alone": (ethanes(1), "2 structures at least"),
    "a charge": ([Atoms(one.numbers, one.positions, info={"charge": 1}) for one in ethanes(2)], "has the charge 1"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_structures_that_a_campaign_cannot_start_from_are_refused_with_a_sentence(tmp_path, case):
    frames, words = REFUSED[case]
    with (tmp_path / "structures.xyz").open("w") as file:
        for one in frames:
            comment = f"charge={one.info['charge']}" if "charge" in one.info else "-"
            file.write(f"{len(one)}\n{comment}\n")
            for symbol, place in zip(one.symbols, one.positions, strict=True):
                file.write(f"{symbol} {place[0]} {place[1]} {place[2]}\n")
    with pytest.raises(InputError, match=words) as refusal:
        check(tmp_path, first_data__structures=str(tmp_path / "structures.xyz"))
    assert str(refusal.value).endswith(".")


FRAME = st.tuples(
    st.sampled_from(["ethane", "reversed", "methane", "water", "nothing"]),
    st.sampled_from(["", "charge=0", "charge=1", "charge=half", "theory=theory"]),
    st.floats(-50, 50) | st.just(float("nan")),
)
SHAPES = {
    "ethane": (ETHANE.numbers, ETHANE.positions[0]),
    "reversed": (ETHANE.numbers[::-1], ETHANE.positions[0][::-1]),
    "methane": ([6, 1, 1, 1, 1], np.eye(5)[:, :3] + np.arange(5)[:, None]),
    "water": ([8, 1, 1], np.array([[0, 0, 0], [0, 0.76, 0.59], [0, -0.76, 0.59]])),
    "nothing": ([], np.empty((0, 3))),
}


@given(st.lists(FRAME, max_size=4), st.sampled_from(["structures", "labels"]))
def test_any_file_is_read_or_refused_with_a_sentence(tmp_path_factory, frames, key):
    """Every file of frames gives as many structures as it holds, or one sentence."""
    folder = tmp_path_factory.mktemp("any")
    with (folder / "frames.xyz").open("w") as file:
        for shape, comment, x in frames:
            numbers, positions = SHAPES[shape]
            columns = "Properties=species:S:1:pos:R:3:forces:R:3 energy=-1.0"
            file.write(f"{len(numbers)}\n{columns} {comment}\n")
            for number, place in zip(numbers, positions, strict=True):
                symbol = {1: "H", 6: "C", 8: "O"}[int(number)]
                file.write(f"{symbol} {x + place[0]} {place[1]} {place[2]} 0.0 0.0 0.0\n")
    sound = all(shape not in ("water", "nothing") and "1" not in comment for shape, comment, _ in frames)
    try:
        found, said = check(folder, **{f"first_data__{key}": str(folder / "frames.xyz")}), ""
    except InputError as refusal:
        found, said = 0, str(refusal)
    if said:
        assert said.endswith(".")
    else:
        assert sound
        assert len(frames) >= 2
        assert found == (len(frames) if key == "structures" else 0)


def test_first_structures_of_which_none_has_a_label_end_a_campaign_with_a_sentence(tmp_path):
    plan = make_plan(settings_with())
    composition = plan.molecules[0].composition
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        campaign = SimpleNamespace(plan=plan, ledger=ledger, farm=SimpleNamespace(theory="t"))
        row = LedgerRow("t", composition, ETHANE.positions[0], Origin("first-data", 0), reason="not-converged")
        ledger.add([row])
        with pytest.raises(CampaignError, match=r"none of C2 could be had: 1 not-converged\.$"):
            check_labelled(campaign)
        ledger.add([replace(row, energy=-1.0, forces=np.zeros((8, 3)), reason=None)])
        check_labelled(campaign)
