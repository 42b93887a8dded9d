"""What `alflow label` writes: readable whatever came in or went wrong, in the format of its name, and never lost."""

import bz2
import gzip
import io
import lzma
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ase.io
import labelcalculators
import numpy as np
import pytest
from ase.build import molecule
from hypothesis import given, settings
from hypothesis import strategies as st
from places import BAD, GOOD, bad_place, can_mount, fill, good_place, mounted

from alflow.errors import InputError
from alflow.farm import file as labelrun
from alflow.farm import partial as labelfile
from alflow.farm.file import Guard, label_file
from alflow.farm.interrupts import InterruptedWorkError
from alflow.labeling import make_engine
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.structures import charges, read_structures
from alflow.structures.extxyz import RESERVED_KEYS, extxyz_frame

COUNTING = {"calculator": "labelcalculators.Counting"}
EMT = ("--engine", "ase", "--set", "calculator=ase.calculators.emt.EMT", "--timeout", "0")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    folder = Path(labelcalculators.__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")


def methanes(count, failing=()):
    images = [molecule("CH4") for _ in range(count)]
    for row, image in enumerate(images):
        image.positions[0] = [0.01 * row, 1.0 if row in failing else 0.0, 0.0]
    return images


def write(path, images):
    ase.io.write(path, images, format="extxyz")
    return path


def read(path):
    return ase.io.read(path, ":")


# ---- readable whatever went wrong ------------------------------------------------------------------------------------


@pytest.mark.parametrize("guard", [(), ("--timeout", "0")], ids=["guarded", "here"])
def test_guest_error_of_several_lines_leaves_the_output_readable(alflow, tmp_path, guard):
    write(tmp_path / "in.xyz", methanes(4))
    code, out, err = alflow("label", "in.xyz", "-o", "out.xyz", "--engine", "ase",
                            "--set", "calculator=labelcalculators.Wordy", *guard)  # fmt: skip
    assert (code, "2 labels, 2 failures" in out) == (0, True), out + err
    good, also, bad, worse = read(tmp_path / "out.xyz")
    assert np.isfinite([good.get_potential_energy(), also.get_potential_energy()]).all()
    for image in (bad, worse):
        assert image.calc is None
        assert image.info["label_failure"] == "not-converged"
        detail = image.info["label_failure_detail"]
        assert len(detail.splitlines()) == 1
        for line in labelcalculators.MANY_WORDS.splitlines():
            assert " ".join(line.split()) in detail


def test_guest_exit_code_is_1_where_nothing_could_be_labelled(alflow, tmp_path):
    write(tmp_path / "in.xyz", methanes(4)[2:])
    code, out, _ = alflow("label", "in.xyz", "-o", "out.xyz", "--engine", "ase",
                          "--set", "calculator=labelcalculators.Wordy", "--timeout", "0")  # fmt: skip
    assert code == 1
    assert "0 labels, 2 failures" in out
    assert [image.info["label_failure"] for image in read(tmp_path / "out.xyz")] == ["not-converged"] * 2


# ---- the name says the format, and nothing is overwritten ------------------------------------------------------------


@pytest.mark.parametrize(
    ("ending", "opened"),
    [(".xyz", open), (".extxyz", open), (".xyz.gz", gzip.open), (".extxyz.bz2", bz2.open), (".xyz.xz", lzma.open)],
)
def test_guest_output_is_compressed_as_its_name_says(alflow, tmp_path, ending, opened):
    write(tmp_path / "in.xyz", methanes(3))
    code, _, err = alflow("label", "in.xyz", "-o", f"out{ending}", *EMT)
    assert code == 0, err
    with opened(tmp_path / f"out{ending}", "rb") as file:
        assert file.read().startswith(b"5\nProperties=species")
    assert [np.isfinite(image.get_potential_energy()) for image in read(tmp_path / f"out{ending}")] == [True] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["in.xyz", f"out{ending}"])


@pytest.mark.parametrize(
    "name", ["out.traj", "out.db", "out.json", "out.pdb", "out", "out.xyz.zip", "out.gz", "xyz", "out.xyz.GZ", ".xyz"]
)
def test_guest_output_of_another_format_is_refused_before_any_label(alflow, tmp_path, name):
    write(tmp_path / "in.xyz", methanes(1))
    code, out, err = alflow("label", "in.xyz", "-o", name, *EMT)
    assert code == 2
    assert "extended XYZ, whose names end in .xyz or .extxyz" in err
    assert name in err
    assert "labels" not in out
    assert [path.name for path in tmp_path.iterdir()] == ["in.xyz"]


def test_guest_output_is_not_overwritten_unless_allowed(alflow, tmp_path):
    write(tmp_path / "in.xyz", methanes(1))
    (tmp_path / "out.xyz").write_text("mine")
    code, _, err = alflow("label", "in.xyz", "-o", "out.xyz", *EMT)
    assert code == 2
    assert "No file is written over unasked; out.xyz exists" in err
    assert (tmp_path / "out.xyz").read_text() == "mine"
    assert alflow("label", "in.xyz", "-o", "out.xyz", *EMT, "--overwrite")[0] == 0
    assert len(read(tmp_path / "out.xyz")) == 1
    assert alflow("label", "out.xyz", "-o", "out.xyz", *EMT, "--overwrite")[0] == 0
    assert len(read(tmp_path / "out.xyz")) == 1


@pytest.mark.parametrize(
    "name", ["two words.xyz", "ünïcode 水.xyz", "-dash.xyz", "[1]*.xyz", "a@2.xyz", "a'\"b.xyz.gz"]
)
def test_guest_names_of_files(alflow, tmp_path, name):
    write(tmp_path / "in.xyz", methanes(2))
    code, out, err = alflow("label", "in.xyz", "-o", name, *EMT)
    assert code == 0, err
    assert name in out
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "rt") as file:
        assert len(ase.io.read(io.StringIO(file.read()), ":", format="extxyz")) == 2


# ---- what came in goes out -------------------------------------------------------------------------------------------


def test_round_trip_of_what_structures_carry(alflow, tmp_path):
    ion = molecule("CH3CH2NH2")
    ion.set_masses(np.linspace(1.0, 15.0, len(ion)))
    ion.set_tags(range(len(ion)))
    ion.set_initial_charges(np.linspace(-0.3, 0.3, len(ion)))
    ion.new_array("site", np.arange(len(ion)) * 0.1)
    ion.set_cell([10.0, 11.0, 12.0])
    ion.info = {"note": "two\nlines", "charge": 1, "theory": "another", "label_failure": "timeout", "path": "C:\\x y"}
    ase.io.write(tmp_path / "in.traj", [ion, ion])
    code, _, err = alflow("label", "in.traj", "-o", "out.xyz", "--engine", "ase", "--timeout", "0",
                          "--set", "calculator=labelcalculators.Wordy")  # fmt: skip
    assert code == 1, err  # that calculator takes no charge
    for found in read(tmp_path / "out.xyz"):
        assert found.positions.tobytes() == ion.positions.tobytes()
        for name in ("masses", "tags", "initial_charges"):
            assert (found.arrays[name] == ion.arrays[name]).all(), name
        assert (found.cell == ion.cell).all()
        assert not found.pbc.any()
        assert (found.info["note"], found.info["path"], found.info["charge"]) == ("two\nlines", "C:\\x y", 1)
        assert found.info["label_failure"] == "bad-charge"
        assert found.info["theory"] != "another"


values = st.one_of(
    st.text(max_size=8), st.integers(), st.floats(allow_nan=False), st.booleans(), st.none(), st.lists(st.integers()),
    st.sampled_from(["two\nlines", "T", "12", "", 'a="b"', "back\\slash", "\u2028", "水", "_JSON x"]),
)  # fmt: skip
names = st.one_of(st.text(min_size=1, max_size=6), st.sampled_from(["my key", "a=b", "total", "Ladung", '"'])).filter(
    lambda name: name.isprintable() and name not in labelfile.OWN | RESERVED_KEYS | {"virial", "uid"}
    and name.lower() not in charges.NAMES
)  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.dictionaries(names, values, max_size=4), min_size=1, max_size=3), st.sampled_from(["traj", "xyz"]))
def test_round_trip_of_any_entries_through_label(tmp_path_factory, infos, ending):
    folder = tmp_path_factory.mktemp("entries")
    images = methanes(len(infos), failing={1})
    for image, info in zip(images, infos, strict=True):
        image.info = info
    source = folder / f"in.{ending}"
    if ending == "xyz":
        source.write_bytes("".join(map(extxyz_frame, images)).encode())
    else:
        ase.io.write(source, images)
    summary = run_counting(folder, source=source)
    assert (summary.labelled, sum(summary.failures.values())) == (len(infos) - (len(infos) > 1), int(len(infos) > 1))
    for found, given_info, image in zip(read_structures(folder / "out.xyz").structures, infos, images, strict=True):
        assert found.atoms.positions.tobytes() == image.positions.tobytes()
        assert found.charge == 0
        for name, value in given_info.items():
            kept = found.atoms.info[name]
            assert kept.tolist() == value if isinstance(kept, np.ndarray) else kept == value


def test_guest_theory_and_engine_stand_in_every_frame(alflow, tmp_path):
    write(tmp_path / "in.xyz", methanes(3))
    assert alflow("label", "in.xyz", "-o", "out.xyz", *EMT)[0] == 0
    theory = make_engine("ase", ASECalculatorSettings(calculator="ase.calculators.emt.EMT")).theory
    for image in read(tmp_path / "out.xyz"):
        assert image.info["theory"] == theory
        assert image.info["engine"] == "ase ase.calculators.emt.EMT"
        assert image.info["charge"] == 0


# ---- what is paid for is kept ----------------------------------------------------------------------------------------


def run_counting(folder, **changed):
    arguments = {"source": folder / "in.xyz", "target": folder / "out.xyz", "settings": COUNTING} | changed
    return label_file(
        arguments.pop("source"), arguments.pop("target"), "ase", arguments.pop("settings"),
        guard=Guard(0.0), **arguments,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def count_anew(monkeypatch):
    monkeypatch.setattr(labelrun, "CHUNK_SECONDS", 0.0)
    labelcalculators.asked.clear()
    labelcalculators.interrupt_at[0] = 0


@settings(max_examples=12, deadline=None)
@given(
    st.integers(1, 7),
    st.lists(st.integers(1, 5), max_size=3),
    st.sets(st.integers(0, 6)),
    st.integers(0, 400),
    st.sampled_from(["out.xyz", "out.xyz.gz"]),
)
def test_round_trip_of_interrupted_work(tmp_path_factory, count, interrupts, failing, torn, name):
    folder = tmp_path_factory.mktemp("interrupted")
    write(folder / "in.xyz", methanes(count, failing))
    target = folder / name
    kept = 0
    for number in interrupts:
        labelcalculators.asked.clear()
        labelcalculators.interrupt_at[0] = number
        if number > count - kept:
            break
        with pytest.raises(InterruptedWorkError) as end:
            run_counting(folder, target=target)
        kept += number - 1
        assert (f"{kept} of {count} frames are done and kept in {target}.part" in str(end.value)) == (kept > 0)
        assert end.value.code == 130
        assert not target.exists()
        part = folder / f"{name}.part"
        assert part.exists() == (kept > 0)
        if kept and torn:  # a crash leaves half a frame
            part.write_bytes(part.read_bytes() + part.read_bytes()[: min(torn, 300)])
    labelcalculators.asked.clear()
    labelcalculators.interrupt_at[0] = 0
    summary = run_counting(folder, target=target)
    assert (summary.known, len(labelcalculators.asked)) == (kept, count - kept)
    assert summary.labelled + sum(summary.failures.values()) == count
    assert summary.failures.get("engine-error", 0) == len({row for row in failing if row < count})
    assert not (folder / f"{name}.part").exists()
    run_counting(folder, target=folder / f"undisturbed-{name}")
    opened = gzip.open if name.endswith(".gz") else open
    with opened(target) as one, opened(folder / f"undisturbed-{name}") as other:
        assert one.read() == other.read()


def interrupted(folder, at=3, **changed):
    write(folder / "in.xyz", methanes(4))
    labelcalculators.interrupt_at[0] = at
    with pytest.raises(InterruptedWorkError):
        run_counting(folder, **changed)
    labelcalculators.interrupt_at[0] = 0
    return folder / "out.xyz.part"


@settings(max_examples=10, deadline=None)
@given(st.floats(0.0, 1.0), st.sets(st.integers(0, 3)))
def test_round_trip_of_a_partial_output_cut_anywhere(tmp_path_factory, share, failing):
    folder = tmp_path_factory.mktemp("cut")
    write(folder / "in.xyz", methanes(4, failing))
    labelcalculators.asked.clear()
    labelcalculators.interrupt_at[0] = 4
    with pytest.raises(InterruptedWorkError):
        run_counting(folder)
    part = folder / "out.xyz.part"
    whole = part.read_bytes()
    part.write_bytes(whole[: int(share * len(whole))])
    labelcalculators.asked.clear()
    labelcalculators.interrupt_at[0] = 0
    summary = run_counting(folder)
    assert summary.known + len(labelcalculators.asked) == 4
    assert summary.known == whole[: int(share * len(whole))].count(b"\n") // 7  # lines of a frame
    run_counting(folder, target=folder / "undisturbed.xyz")
    assert (folder / "out.xyz").read_bytes() == (folder / "undisturbed.xyz").read_bytes()


def test_guest_partial_output_is_extended_xyz_of_its_own(tmp_path):
    part = interrupted(tmp_path)
    found = ase.io.read(part, ":", format="extxyz")
    assert [image.info["label_row"] for image in found] == [0, 1]
    assert all(np.isfinite(image.get_potential_energy()) for image in found)
    part.rename(tmp_path / "mine.xyz")
    run_counting(tmp_path, source=tmp_path / "mine.xyz", target=tmp_path / "again.xyz")
    assert not any(key.startswith("label_") for image in read(tmp_path / "again.xyz") for key in image.info)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: {"source": write(folder / "other.xyz", methanes(3))}, "holds labels of other structures"),
        (lambda folder: {"settings": {"calculator": "labelcalculators.Wordy"}},
         r"of another engine or other settings \(ase labelcalculators.Counting\)"),
        (lambda folder: (folder / "out.xyz.part").write_text("3\nmy own\nO 0 0 0\nH 0 0 1\nH 0 1 0\n") and {},
         "is no partial output"),
        (lambda folder: (folder / "out.xyz.part").write_text("my own") and {}, "is no partial output"),
        (lambda folder: (folder / "out.xyz.part").write_text("3\nmy own\nO 0") and {}, "is no partial output"),
    ],
    ids=["source", "settings", "structures", "text", "torn"],
)  # fmt: skip
def test_guest_partial_output_of_something_else_is_refused(tmp_path, change, words):
    part = interrupted(tmp_path)
    changed = change(tmp_path)
    before = part.read_bytes()
    with pytest.raises(InputError, match=words):
        run_counting(tmp_path, **changed)
    assert part.read_bytes() == before
    summary = run_counting(tmp_path, **changed, overwrite=True)
    assert summary.known == 0
    assert not part.exists()


def test_guest_labels_that_other_limits_may_spare_are_asked_for_again(tmp_path):
    part = interrupted(tmp_path, at=4)
    text = part.read_text()
    frames = ase.io.read(part, ":", format="extxyz")
    assert len(frames) == 3
    marks = f'label_failure=timeout label_failure_detail="too slow" label_limits="{frames[1].info["label_limits"]}"'
    head, _, rest = text.partition("\n5\n")
    second, _, third = rest.partition("\n5\n")
    comment, *atoms = second.split("\n")
    words = comment.replace(":forces:R:3", "").split(" ")
    words = [word for word in words if not word.startswith("energy=")]
    bare = [" ".join(line.split()[:4]) for line in atoms]
    late = "\n".join([" ".join([*words, marks]), *bare])
    part.write_text(f"{head}\n5\n{late}\n5\n{third}")
    same = part.read_bytes()
    assert run_counting(tmp_path).failures == {"timeout": 1}
    (tmp_path / "out.xyz").unlink()
    part.write_bytes(same.replace(b"0 s, any GB", b"5 s, any GB"))
    labelcalculators.asked.clear()
    assert run_counting(tmp_path).failures == {}
    assert len(labelcalculators.asked) == 2


START = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
from alflow.cli import main
main()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda number: number.name)
@pytest.mark.parametrize(
    "site", [(), pytest.param(("--site", "local", "-O", "workers=1"), marks=pytest.mark.long)], ids=["here", "site"]
)
def test_guest_signal_says_what_is_kept_and_the_same_command_goes_on(tmp_path, number, site):
    write(tmp_path / "in.xyz", methanes(12))
    command = [sys.executable, "-c", START, "label", "in.xyz", "-o", "out.xyz", "--engine", "ase",
               "--set", "calculator=labelcalculators.Counting", *site]  # fmt: skip
    environment = os.environ | {"LABEL_COUNT": str(tmp_path / "count"), "LABEL_SECONDS": "0.4"}
    process = subprocess.Popen(
        command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        start_new_session=True,
    )  # fmt: skip
    part = tmp_path / "out.xyz.part"
    until = time.monotonic() + 120
    while not (part.exists() and part.read_bytes().count(b"label_row") >= 3) and time.monotonic() < until:
        time.sleep(0.05)
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # a terminal's Ctrl-C reaches all of its processes
    else:
        process.send_signal(number)
    said, _ = process.communicate(timeout=60)
    kept = part.read_bytes().count(b"label_row")
    if number == signal.SIGKILL:
        assert process.returncode == -number
    else:
        assert process.returncode == 128 + number
        assert f"Interrupted by {number.name}. {kept} of 12 frames are done and kept in out.xyz.part" in said
        assert "Traceback" not in said
    assert 3 <= kept < 12
    frames = ase.io.read(part, ":", format="extxyz")
    paid = {repr(float(image.positions[0, 0])) for image in frames}
    again = subprocess.run(
        command, cwd=tmp_path, env=environment | {"LABEL_SECONDS": "0"}, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{kept} frames had been done before" in again.stdout
    counted = (tmp_path / "count").read_text().split()
    assert all(counted.count(one) == 1 for one in paid)
    assert len(read(tmp_path / "out.xyz")) == len(set(counted)) == 12
    assert not part.exists()


def test_guest_second_process_of_the_same_output_is_refused(tmp_path):
    write(tmp_path / "in.xyz", methanes(2))
    (tmp_path / "out.xyz.part").touch()
    import fcntl

    with (tmp_path / "out.xyz.part").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(InputError, match=r"One process at a time writes an output; another one is writing .*part"):
            run_counting(tmp_path)
    assert (tmp_path / "out.xyz.part").exists()
    assert run_counting(tmp_path).labelled == 2


# ---- places that take no output --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def disks(tmp_path_factory):
    """Give a read-only and a full file system."""
    folder = tmp_path_factory.mktemp("disks")
    if not can_mount(folder / "try"):
        pytest.skip("file systems are mounted by root")
    with mounted(folder / "read-only") as read_only, mounted(folder / "full") as full:
        subprocess.run(["mount", "-o", "remount,ro", str(read_only)], check=True)
        fill(full)
        yield {"read-only": read_only, "full": full}


@pytest.mark.parametrize("kind", BAD)
def test_guest_output_that_cannot_be_written_is_one_sentence(alflow, disks, tmp_path, kind):
    write(tmp_path / "in.xyz", methanes(2))
    (tmp_path / "place").mkdir()
    path = bad_place(kind, tmp_path / "place", disks, "out.xyz")
    code, _, err = alflow("label", "in.xyz", "-o", path, "--engine", "ase", "--timeout", "0",
                          "--set", "calculator=labelcalculators.Counting")  # fmt: skip
    assert code == 2
    assert err.startswith("alflow: ")
    assert err.count("\n") == 1
    assert "must be written somewhere" in err
    kept = path.with_name("out.xyz.part")
    if kind in ("a full device", "a pipe without a reader"):
        assert "2 of 2 frames are done and kept" in err
        assert len(ase.io.read(kept, ":", format="extxyz")) == 2
    else:
        assert labelcalculators.asked == []  # before it costs anything
        assert not [part for folder in (tmp_path, *disks.values()) for part in folder.rglob("*.part*")]


@pytest.mark.parametrize("kind", GOOD)
def test_guest_output_at_any_place_is_whole(alflow, tmp_path, kind):
    write(tmp_path / "in.xyz", methanes(2))
    (tmp_path / "place").mkdir()
    path = good_place(kind, tmp_path / "place", "out.xyz.gz")
    link = path.is_symlink()
    code, _, err = alflow("label", "in.xyz", "-o", path, *EMT, "--overwrite")
    assert code == 0, err
    with gzip.open(path, "rt") as file:
        assert len(ase.io.read(io.StringIO(file.read()), ":", format="extxyz")) == 2
    assert path.is_symlink() == link
    assert not list(tmp_path.rglob("*.part*"))


LONG = pytest.mark.long


@pytest.mark.parametrize("free", [pytest.param(8, marks=LONG), 16, 32, pytest.param(36, marks=LONG)])
def test_round_trip_over_a_disk_that_fills_up_loses_no_label(tmp_path, free):
    if not can_mount(tmp_path / "try"):
        pytest.skip("file systems are mounted by root")
    write(tmp_path / "in.xyz", methanes(30, failing={3}))
    with mounted(tmp_path / "disk") as disk:
        (disk / "spare").write_bytes(bytes(free << 10))
        fill(disk)
        (disk / "spare").unlink()
        with pytest.raises(InputError) as end:
            run_counting(tmp_path, target=disk / "out.xyz")
        kept = len(ase.io.read(disk / "out.xyz.part", ":", format="extxyz"))
        assert (kept == 30) == (free > 30)
        assert "No space left on device" in str(end.value)
        assert f"{kept} of 30 frames are done and kept" in str(end.value)
        (disk / "filler").unlink()
        labelcalculators.asked.clear()
        summary = run_counting(tmp_path, target=disk / "out.xyz")
        assert (summary.known, len(labelcalculators.asked)) == (kept, 30 - kept)
        labelled = (disk / "out.xyz").read_bytes()
    run_counting(tmp_path)
    assert (tmp_path / "out.xyz").read_bytes() == labelled
