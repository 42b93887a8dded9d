"""Other people's calculators: each misbehaves in one way, and gives a right label or one failed label with a reason."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import misbehaving
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from misbehaving import ETHANE, GOOD, NUMBERS, WAYS, structure

from alflow.errors import FAILURE_REASONS, EngineLostError, InputError, LabelError
from alflow.labeling.bounds import MAX_FORCE_EV_PER_ANGSTROM, label_fault
from alflow.labeling.engines.ase import ASEEngine
from alflow.labeling.engines.convergence import unconverged
from alflow.labeling.engines.folders import Keeping, remove
from alflow.labeling.engines.sleep import pair_model
from alflow.labeling.frames import label_frames, sound
from alflow.labeling.guard import GuardedEngine
from alflow.labeling.guard.parent_death import children_of
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.types import Composition, Evaluation, Frames, LabelBatch
from alflow.workers.models import compute_with_retry

HERE = Path(misbehaving.__file__).parent
NAMES = list(WAYS)
HARMLESS = -1


def right(positions: np.ndarray) -> float:
    return pair_model(NUMBERS, positions)[0]


@pytest.fixture
def machine(tmp_path, monkeypatch) -> Path:
    """Return the temporary folder of a machine of its own, on which the calculators can be imported."""
    return make_machine(tmp_path, monkeypatch)


def make_machine(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    temporary = folder / "tmp"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("PYTHONPATH", f"{HERE}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("CHILDREN", str(folder / "children"))
    monkeypatch.chdir(folder)
    return temporary


def guarded(name: str, timeout_s: float = 60.0, **given: object) -> GuardedEngine:
    return GuardedEngine("ase", {"calculator": f"misbehaving.{name}", **given}, timeout_s)


def work_folders(machine: Path) -> list[str]:
    return [path.name for path in machine.iterdir() if path.name.startswith(("alflow-work", ".alflow-new"))]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for what must come; a limit against hangs."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(scope="module")
def everyone(tmp_path_factory) -> tuple[LabelBatch, Path]:
    """Label all misbehaving structures with one engine, each between two harmless ones."""
    folder = tmp_path_factory.mktemp("everyone")
    with pytest.MonkeyPatch.context() as patch:
        temporary = make_machine(folder, patch)
        engine = guarded("Misbehaving", kept_failures=100)
        ways = [way for index in range(len(NAMES)) for way in (index, HARMLESS)]
        batch = label_frames(engine, Frames.of(NUMBERS, np.array([structure(way) for way in ways])))
        engine.close()
        assert work_folders(temporary) == []
    return batch, folder


@pytest.mark.parametrize("name", NAMES)
def test_outsider_misbehaviour_is_a_right_label_or_a_failure_with_its_reason(everyone, name) -> None:
    batch, _ = everyone
    row = 2 * NAMES.index(name)
    outcome, _ = WAYS[name]
    failures = {failure.frame: failure for failure in batch.failures}
    if outcome == GOOD:
        assert row not in failures, failures[row]
        assert batch.labels.energies[batch.rows.tolist().index(row)] == right(structure(NAMES.index(name)))
    else:
        assert failures[row].reason == outcome, failures[row]
        assert len(failures[row].detail) < 5000
        assert failures[row].detail.isprintable() or "\n" in failures[row].detail or "\t" in failures[row].detail


def test_outsider_harmless_structures_between_are_right(everyone) -> None:
    batch, _ = everyone
    rows = range(1, 2 * len(NAMES), 2)
    assert set(rows) <= set(batch.rows.tolist())
    energies = dict(zip(batch.rows.tolist(), batch.labels.energies, strict=True))
    assert {energies[row] for row in rows} == {right(structure(HARMLESS))}


def test_outsider_children_do_not_outlive_the_engine(everyone) -> None:
    _, folder = everyone
    pids = [int(line) for line in (folder / "children").read_text().split()]
    assert pids
    assert not any(alive(pid) for pid in pids)


def test_outsider_missing_programs_are_named(everyone) -> None:
    batch, _ = everyone
    said = {NAMES[f.frame // 2]: f.detail for f in batch.failures}
    assert "needs the program or file no-such-program" in said["no program"]
    assert "the shell does not find the program" in said["no program for the shell"]
    assert "no licence" in said["raises SystemExit"]
    assert "Misbehaving.converged is false" in said["converged false"]
    assert "Misbehaving.scf.converged is false" in said["solver inside"]
    assert "results['converged']" in said["result converged false"]
    assert "Told.converged is false" in said["sum of calculators"]


@pytest.mark.parametrize(("workers", "where"), [(2, "cwd"), (2, "directory"), (8, "cwd"), (8, "directory")])
def test_outsider_workers_that_write_files_label_as_if_alone(machine, workers, where) -> None:
    """Guarded engines in threads of one process, as workers of one node: none reads what another wrote."""
    rng = np.random.default_rng(workers)
    structures = ETHANE.positions[0] + rng.uniform(-0.05, 0.05, (workers, 6, *ETHANE.positions[0].shape))

    def work(mine: np.ndarray) -> LabelBatch:
        engine = guarded("WritesFiles", arguments={"where": where})
        batch = label_frames(engine, Frames.of(NUMBERS, mine))
        engine.close()
        return batch

    with ThreadPoolExecutor(workers) as pool:
        batches = list(pool.map(work, structures))
    for batch, mine in zip(batches, structures, strict=True):
        assert batch.failures == ()
        assert batch.labels.energies.tolist() == [right(positions) for positions in mine]
    assert list(machine.iterdir()) == []
    assert sorted(path.name for path in machine.parent.iterdir()) == ["tmp"]


def test_outsider_in_a_folder_that_is_shared_the_labels_of_these_tests_would_be_wrong(tmp_path, monkeypatch) -> None:
    """What the tests above hold: without a folder of its own a structure gets the label of the one before."""
    monkeypatch.syspath_prepend(HERE)
    monkeypatch.setattr("alflow.labeling.engines.ase.new_label_folder", lambda _: tmp_path)
    monkeypatch.setattr("alflow.labeling.engines.ase.remove", lambda _: None)
    choice = ASECalculatorSettings(calculator="misbehaving.WritesFiles", arguments={"where": "directory"})
    first, second = (ETHANE.positions[0] + shift * np.eye(8, 3) for shift in (0.0, 0.03))
    found = [ASEEngine(choice).compute(Composition(NUMBERS), positions).energy for positions in (first, second)]
    assert found == [right(first), right(first)] != [right(first), right(second)]


def test_outsider_threads_without_guard_are_safe_with_the_attribute_directory(machine, monkeypatch) -> None:
    monkeypatch.syspath_prepend(HERE)
    structures = ETHANE.positions[0] + np.random.default_rng(1).uniform(-0.05, 0.05, (4, 6, 8, 3))
    choice = ASECalculatorSettings(calculator="misbehaving.WritesFiles", arguments={"where": "directory"})

    def work(mine: np.ndarray) -> list[float]:
        engine = ASEEngine(choice)
        return [engine.compute(Composition(NUMBERS), positions).energy for positions in mine]

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(work, structures))
    assert found == [[right(positions) for positions in mine] for mine in structures]
    assert Path.cwd() == machine.parent
    wait_until(lambda: work_folders(machine) == [])


def test_outsider_a_function_may_return_the_calculator(machine) -> None:
    engine = guarded("factory", arguments={"where": "directory"})
    assert engine.compute(Composition(NUMBERS), structure(3)).energy == right(structure(3))
    engine.close()
    assert list(machine.iterdir()) == []
    assert sorted(path.name for path in machine.parent.iterdir()) == ["tmp"]


def kept_in(failure: str) -> Path:
    return Path(failure.partition("Its files are in ")[2].partition(" on this host")[0])


def test_outsider_folders_of_failures_are_kept_named_and_bounded(machine) -> None:
    engine = guarded("Hangs", timeout_s=0.5, kept_failures=2, kept_megabytes=1.0)
    batch = label_frames(engine, Frames.of(NUMBERS, np.array([structure(way) for way in (5, 0, 6, 7)])))
    assert [failure.reason for failure in batch.failures] == ["timeout"] * 3
    assert batch.labels.energies.tolist() == [right(structure(0))]
    places = [kept_in(failure.detail) for failure in batch.failures]
    assert not places[0].exists()  # the last two are kept
    for place in places[1:]:
        assert (place / "job.out").read_text() == "cycle 1\n"
        assert not (place / "wave.bin").exists()  # larger than all that may be kept
    engine.close()
    assert work_folders(machine) == []
    assert all(place.exists() for place in places[1:])


def test_outsider_no_folder_is_kept_where_none_is_wanted_or_nothing_was_written(machine) -> None:
    engine = guarded("Misbehaving", kept_failures=0)
    batch = label_frames(engine, Frames.of(NUMBERS, structure(NAMES.index("raises ReadError"))[None]))
    assert "Its files" not in batch.failures[0].detail
    engine.close()
    assert list(machine.iterdir()) == []


def test_outsider_kept_folders_go_where_the_settings_say(machine, monkeypatch) -> None:
    monkeypatch.setenv("PROJECT", str(machine.parent / "project"))
    monkeypatch.setenv("NODE_DISK", str(machine.parent / "disk"))
    engine = guarded("Hangs", timeout_s=0.5, failures_dir="$PROJECT/failed", scratch_dir="$NODE_DISK")
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(NUMBERS), structure(9))
    place = kept_in(caught.value.detail)
    assert place.parent == machine.parent / "project" / "failed"
    assert {path.name for path in place.iterdir()} == {"job.out", "wave.bin"}
    assert [path.name[:11] for path in (machine.parent / "disk").iterdir()] == ["alflow-work"]
    engine.close()
    assert list((machine.parent / "disk").iterdir()) == []


def test_outsider_nothing_is_left_of_a_worker_that_is_killed(machine) -> None:
    code = (
        "import sys, threading\n"
        "import numpy as np\n"
        "from alflow.labeling.guard import GuardedEngine\n"
        "from misbehaving import NUMBERS, structure\n"
        "from alflow.types import Composition\n"
        "engine = GuardedEngine('ase', {'calculator': 'misbehaving.Hangs'}, 300.0)\n"
        "threading.Timer(300, lambda: None)\n"
        "print(engine._fork_server._process.pid, engine._child.pid, flush=True)\n"
        "engine.compute(Composition(NUMBERS), structure(9))\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as worker:
        fork_server, child = (int(pid) for pid in worker.stdout.readline().split())
        wait_until(lambda: bool(children_of(child)) and bool(list(machine.glob("alflow-work-*/label-*/wave.bin"))))
        sleeper = children_of(child)[0]
        worker.send_signal(signal.SIGKILL)
    wait_until(lambda: not any(alive(pid) for pid in (fork_server, child, sleeper)))
    wait_until(lambda: work_folders(machine) == [])


def test_outsider_work_folders_of_the_dead_go_and_those_of_the_living_stay(machine) -> None:
    code = "from alflow.labeling.engines.folders import *; import time; f = WorkFolder(Path('tmp'));"
    code += "print(f.path, flush=True);"
    with subprocess.Popen(
        [sys.executable, "-c", f"{code} time.sleep(300)"], stdout=subprocess.PIPE, text=True
    ) as owner:
        folder = machine.parent / owner.stdout.readline().strip()
        (folder / "label-x").mkdir()
        guarded("WritesFiles").close()
        assert (folder / "label-x").exists()
        owner.kill()
    guarded("WritesFiles").close()
    assert work_folders(machine) == []


def test_outsider_a_folder_to_work_in_is_asked_for_in_a_sentence(machine) -> None:
    (machine / "file").write_text("")
    with pytest.raises(InputError, match=r"needs a folder to work in.*scratch_dir"):
        guarded("WritesFiles", scratch_dir=str(machine / "file"))
    with pytest.raises(InputError, match="scratch_dir"):
        guarded("WritesFiles", scratch_dir="relative/path")
    with pytest.raises(InputError, match="Each label has a folder of its own"):
        guarded("WritesFiles", arguments={"directory": "/tmp/shared"})
    with pytest.raises(InputError, match="follows ASE's interface"):
        guarded("leave_a_child")


def test_outsider_relative_paths_among_the_arguments_are_those_of_the_start(machine) -> None:
    (machine.parent / "paths.py").write_text(
        "from misbehaving import WritesFiles\n"
        "def make(model, nested, plain, command):\n"
        "    text = open(model).read() + open(nested['list'][0]).read()\n"
        "    assert text == 'ab' and plain == 'plain' and command.endswith('/run.sh -x'), (text, plain, command)\n"
        "    return WritesFiles()\n"
    )
    for name, text in (("a.model", "a"), ("b.model", "b"), ("plain", "c"), ("run.sh", "")):
        (machine.parent / name).write_text(text)
    os.environ["PYTHONPATH"] += f":{machine.parent}"  # undone by the fixture
    arguments = {"model": "a.model", "nested": {"list": ["./b.model"]}, "plain": "plain", "command": "./run.sh -x"}
    engine = GuardedEngine("ase", {"calculator": "paths.make", "arguments": arguments}, 60.0)
    assert engine.compute(Composition(NUMBERS), structure(2)).energy == right(structure(2))
    engine.close()


def test_outsider_new_settings_change_no_fingerprint() -> None:
    plain = ASEEngine(ASECalculatorSettings(calculator="ase.calculators.emt.EMT"))
    other = ASECalculatorSettings(
        calculator="ase.calculators.emt.EMT", kept_failures=1, kept_megabytes=2, failures_dir="/a", scratch_dir="~/b"
    )
    assert ASEEngine(other).theory == plain.theory


class Returning:
    """An engine that returns what it is given."""

    theory = ""

    def __init__(self, energy: object, forces: object) -> None:
        self.evaluation = Evaluation(energy, forces)

    def compute(self, composition, positions, start=None) -> Evaluation:
        return self.evaluation


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10),
    st.floats(allow_nan=True),
    st.complex_numbers(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.dictionaries(st.text(max_size=2), st.integers(), max_size=2),
    st.lists(st.floats(-5, 5), max_size=4),
    st.lists(st.lists(st.floats(-5, 5), max_size=4), max_size=9),
    hnp.arrays(
        st.sampled_from(["f8", "f4", "i8", "u1", "?", "c16", "U3", "O", "M8[s]"]),
        st.sampled_from([(), (1,), (8, 3), (3, 8), (24,), (7, 3), (0, 3), (1, 8, 3), (8, 3, 1)]),
    ),
)


@settings(max_examples=300, deadline=None)
@given(energy=ANYTHING, forces=ANYTHING | hnp.arrays("f8", (8, 3), elements=st.floats(-1e4, 1e4)))
def test_outsider_whatever_an_engine_returns_is_a_label_or_a_failure(energy, forces) -> None:
    batch = label_frames(Returning(energy, forces), Frames.of(NUMBERS, ETHANE.positions[:1]))
    if batch.failures:
        assert batch.failures[0].reason in FAILURE_REASONS
        assert batch.labels.forces.shape == (0, 8, 3)
        return
    assert not isinstance(energy, (bool, str, bytes, complex))
    assert np.asarray(energy).size == 1
    assert np.array_equal(batch.labels.forces[0], np.asarray(forces, dtype=float))
    assert np.linalg.norm(batch.labels.forces[0], axis=1).max() <= MAX_FORCE_EV_PER_ANGSTROM
    assert label_fault(NUMBERS, batch.labels.energies[0], batch.labels.forces[0]) == ""


@settings(max_examples=100, deadline=None)
@given(energy=ANYTHING, forces=ANYTHING)
def test_outsider_whatever_an_engine_returns_in_a_trajectory_is_a_number_or_an_end_in_words(energy, forces) -> None:
    with contextlib.suppress(LabelError, EngineLostError):
        evaluation = compute_with_retry(Returning(energy, forces), Composition(NUMBERS), ETHANE.positions[0], None)
        assert np.isfinite(evaluation.energy)
        assert evaluation.forces.shape == (8, 3)


@pytest.mark.parametrize(
    ("numbers", "energy", "fine"),
    [
        ([1], -13.6, True),
        ([1, 1], 9.0, True),  # relative to free atoms, and squeezed
        ([53], -188_000.0, True),  # all electrons
        ([118], -1.49e6, True),  # and relativistic
        ([92] + [9] * 6, -28_000 * 27.2 - 600 * 27.2, True),
        ([15, 17, 17, 17], 5e5, False),
        ([16] + [9] * 6, 4e106, False),
        ([6, 1, 1, 1, 1], -1e5, False),  # a unit, or a number of another kind
        ([6, 1, 1, 1, 1], 501.0, False),
    ],
)
def test_outsider_bounds_let_every_theory_pass(numbers, energy, fine) -> None:
    fault = label_fault(np.array(numbers), energy, np.zeros((len(numbers), 3)))
    assert (fault == "") == fine
    if not fine:
        with pytest.raises(LabelError, match="implausible-label"):
            sound(Evaluation(energy, np.zeros((len(numbers), 3))), np.array(numbers))


@pytest.mark.parametrize("direction", [[1000.5, 0, 0], [600, 600, 600]])
def test_outsider_bound_of_a_force_is_on_its_length(direction) -> None:
    fault = label_fault(np.array([6, 1]), 0.0, np.array([[0.0, 0, 0], direction]))
    assert "atom 1" in fault
    assert label_fault(np.array([6]), 0.0, np.array([[999.0, 0, 0]])) == ""


class Part:
    """A calculator, or what holds one, with attributes of any names."""

    def __init__(self, **held):
        self.__dict__.update(held)

    def get_potential_energy(self):
        return 0.0


FINE = st.sampled_from([{}, {"converged": True}, {"converged": None}, {"results": {"converged": np.True_}},
                        {"scf": Part(converged=True)}, {"converged": lambda step: False}])  # fmt: skip
BAD = st.sampled_from([{"converged": False}, {"is_converged": np.False_}, {"results": {"scf_converged": False}},
                       {"mf": Part(converged=False)}, {"converged": lambda: False},
                       {"converged": np.zeros(2, dtype=bool)}])  # fmt: skip
WRAP = st.sampled_from([
    lambda part: {"calc": part}, lambda part: {"calcs": [Part(), part]}, lambda part: {"table": {"qm": part}},
    lambda part: {"mixer": type("Mixer", (), {"__init__": lambda self: setattr(self, "calcs", (part,))})()},
])  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(core=FINE | BAD, wraps=st.lists(st.tuples(WRAP, FINE), max_size=4))
def test_outsider_convergence_is_asked_for_however_deep_a_calculator_lies(core, wraps) -> None:
    told_it = bool(unconverged(Part(**core)))
    calculator = Part(**core)
    for wrap, own in wraps:
        calculator = Part(**own, **wrap(calculator))
    calculator.itself = calculator
    assert bool(unconverged(calculator)) == told_it
    bad = any(key in core for key in ("is_converged", "mf")) or core.get("converged", True) is False
    assert not bad or told_it


@settings(max_examples=60, deadline=None)
@given(
    folders=st.lists(st.lists(st.integers(0, 3000), max_size=4), min_size=1, max_size=7),
    count=st.integers(0, 3),
    kilobytes=st.integers(0, 6),
)
def test_outsider_kept_folders_never_exceed_their_bounds(folders, count, kilobytes) -> None:
    with tempfile.TemporaryDirectory() as name:
        kept, work = Path(name) / "kept", Path(name) / "work"
        keeping = Keeping(kept, count, kilobytes / 1e3)
        for sizes in folders:
            work.mkdir()
            for number, size in enumerate(sizes):
                (work / f"file-{number}").write_bytes(bytes(size))
            words = keeping.keep(work)
            remove(work)
            assert not work.exists()
            assert bool(words) == bool(count and sizes)
            found = list(kept.iterdir()) if kept.exists() else []
            assert len(found) <= count
            assert sum(file.stat().st_size for folder in found for file in folder.iterdir()) <= kilobytes * 1e3
            if words:
                assert kept_in(words) in found
