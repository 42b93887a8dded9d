"""The ledger: what is written is read back, once, in an order of its own."""

import multiprocessing
import os
import re
import signal
import sqlite3
import threading
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from alflow.errors import FAILURE_REASONS, RunError
from alflow.ledger import (
    ORIGIN_KINDS,
    TRAINING_KINDS,
    Counts,
    Ledger,
    LedgerReader,
    LedgerRow,
    Origin,
    check_ledger,
    label_rows,
    schema,
    structure_key,
    structure_keys,
)
from alflow.types import Frames, LabelBatch, LabelFailure, Labels

WATER = np.array([8, 1, 1])
PEROXIDE = np.array([8, 8, 1, 1])


def row(seed=0, *, theory="a", numbers=WATER, charge=0, failed=None, **origin):
    rng = np.random.default_rng(seed)
    positions, forces = rng.normal(size=(2, len(numbers), 3))
    label = {"reason": failed} if failed else {"energy": float(rng.normal()), "forces": forces}
    where = Origin(**{"kind": "selected", "iteration": 1, "step": seed, **origin})
    return LedgerRow(theory, numbers, positions, charge, where, **label)


def frames(*rows):
    return Frames(rows[0].numbers, np.array([one.positions for one in rows]), rows[0].charge)


@pytest.fixture
def ledger(tmp_path):
    with Ledger.open(tmp_path / "ledger.sqlite") as opened:
        yield opened


def test_a_label_comes_back_to_the_last_bit_after_reopening(tmp_path):
    written = replace(row(1), host="node7", seconds=0.25, cycles=12, created=1.7e9, detail="d")
    failed = replace(row(2, failed="not-converged"), detail="200 cycles")
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.add([written, failed])
    with LedgerReader.open(tmp_path / "l") as ledger:
        found = list(ledger.rows())
    for one, other in zip(found, (written, failed), strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.energy == other.energy
        assert (one.origin, one.reason, one.detail) == (other.origin, other.reason, other.detail)
        assert (one.host, one.seconds, one.cycles, one.created) == (
            other.host,
            other.seconds,
            other.cycles,
            other.created,
        )
    assert found[0].forces.tobytes() == written.forces.tobytes()
    assert found[1].forces is None


def test_nothing_is_on_the_disk_before_the_commit_and_all_of_it_after(tmp_path, ledger):
    with LedgerReader.open(ledger.path) as reader:
        ledger.add([row(1), row(2)])
        assert ledger.pending == 2
        assert reader.counts() == Counts(0, 0)
        ledger.commit()
        assert ledger.pending == 0
        assert reader.counts() == Counts(2, 0)


def test_keys_depend_on_theory_atoms_charge_and_the_last_bit_of_each_coordinate():
    one = row(1)
    moved = one.positions.copy()
    moved[2, 1] = np.nextafter(moved[2, 1], 10.0)
    keys = {
        one.key,
        replace(one, theory="b").key,
        replace(one, charge=1).key,
        replace(one, numbers=np.array([8, 1, 6])).key,
        replace(one, positions=moved).key,
    }
    assert len(keys) == 5
    assert structure_keys("a", frames(one, row(2))) == [one.key, row(2).key]


def test_keys_are_the_same_on_every_machine_and_for_minus_zero():
    positions = np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.0]])
    key = structure_key("theory", np.array([6, 8]), positions, 0)
    assert key.hex() == "1a870010ccd00a0317be4cd133b1d0d695efe2c6dc9719165a6fa1b34d62fde4"
    assert structure_key("theory", np.array([6, 8], dtype=">i4"), positions.astype(">f8"), 0) == key
    assert structure_key("theory", np.array([6, 8]), np.where(positions == 0.0, -0.0, positions), 0) == key


def test_lookup_tells_labelled_failed_missing_and_repeated_apart(ledger):
    ledger.add([row(1), row(2, failed="timeout")])
    found = ledger.lookup("a", frames(row(3), row(1), row(2), row(3), row(4), row(1)))
    assert found.labelled.tolist() == [1, 5]
    assert found.failed.tolist() == [2]
    assert found.missing.tolist() == [0, 4]
    assert found.repeated.tolist() == [3]
    assert ledger.lookup("b", frames(row(1))).missing.tolist() == [0]


def test_lookup_of_many_frames(ledger):
    many = [row(seed) for seed in range(1300)]
    ledger.add(many[::2])
    found = ledger.lookup("a", frames(*many))
    assert found.labelled.tolist() == list(range(0, 1300, 2))
    rows, labels = ledger.labels("a", frames(*many[:10]))
    assert rows.tolist() == [0, 2, 4, 6, 8]
    assert labels.energies.tolist() == [many[place].energy for place in rows]
    assert (labels.forces == np.array([many[place].forces for place in rows])).all()


def test_a_label_stays_what_it_was_and_is_counted_when_it_is_paid_for_again(ledger):
    first = row(1)
    ledger.add([first, replace(first, energy=99.0), replace(row(1, failed="timeout"))])
    assert [one.energy for one in ledger.rows()] == [first.energy]
    assert ledger.paid_again() == 2


def test_a_failure_gives_way_to_a_label_of_the_same_structure(ledger):
    ledger.add([replace(row(1, failed="timeout"), detail="600 s")])
    assert ledger.failures_by_reason() == {"timeout": 1}
    ledger.add([row(1)])
    assert ledger.counts() == Counts(1, 0)
    assert [one.detail for one in ledger.rows()] == [""]


def test_a_structure_with_two_origins_stands_once_where_the_first_one_puts_it(ledger):
    ledger.add([row(1, iteration=3), row(2, iteration=2)])
    ledger.add_origins("a", frames(row(1)), [Origin("jitter", 1, 0, 7, 2)])
    dataset, origins = ledger.dataset("a")
    assert origins == (Origin("jitter", 1, 0, 7, 2), Origin("selected", 2, 0, 2))
    assert len(dataset) == 2
    assert ledger.paid_again() == 0


def test_the_dataset_holds_labels_of_one_theory_and_nothing_of_the_reference(ledger):
    ledger.add([row(1), row(2, theory="b"), row(3, failed="timeout"), row(4, kind="reference")])
    dataset, origins = ledger.dataset("a")
    assert [origin.step for origin in origins] == [1]
    assert dataset.groups[0].labels.energies.tolist() == [row(1).energy]
    assert ledger.dataset("a", kinds=["reference"])[1][0].step == 4
    assert ledger.theories() == ("a", "b")
    assert len(ledger.dataset("c")[0]) == 0


def test_the_canonical_order(ledger):
    wanted = [
        Origin("import", 0, 0, 5),
        Origin("first-data", 0, 0, 2),
        Origin("first-data", 0, 0, 10),
        Origin("selected", 1, 0, 900),
        Origin("selected", 1, 1, 3),
        Origin("jitter", 1, 0, 900, 1),
        Origin("jitter", 1, 0, 900, 2),
        Origin("selected", 2, 0, 1),
    ]
    rows = [replace(row(seed), origin=origin) for seed, origin in enumerate(wanted)]
    ledger.add(rows[::-1])
    dataset, origins = ledger.dataset("a")
    assert list(origins) == wanted
    assert dataset.groups[0].labels.energies.tolist() == [one.energy for one in rows]
    assert list(ledger.dataset("a", up_to_iteration=1)[1]) == wanted[:-1]


def test_groups_of_later_compositions_come_after(ledger):
    ledger.add([row(1, numbers=PEROXIDE, iteration=2), row(2, iteration=1), row(3, iteration=2), row(4, charge=1)])
    dataset, origins = ledger.dataset("a")
    assert [(len(group.frames.numbers), group.frames.charge) for group in dataset.groups] == [(3, 0), (3, 1), (4, 0)]
    assert [origin.step for origin in origins] == [2, 3, 4, 1]


def test_counts_by_theory_iteration_and_reason(ledger):
    ledger.add([row(1), row(2, failed="timeout", iteration=2), row(3, failed="timeout", iteration=2)])
    ledger.add([row(4, failed="bad-charge", iteration=2), row(5, theory="b"), row(6, kind="reference", iteration=0)])
    assert ledger.counts() == Counts(3, 3)
    assert ledger.counts("a", 2) == Counts(0, 3)
    assert ledger.counts_by_iteration("a") == {1: Counts(1, 0), 2: Counts(0, 3)}
    assert ledger.failures_by_reason("a", 2) == {"timeout": 2, "bad-charge": 1}
    assert ledger.failures_by_reason("b") == {}


def test_label_seconds_and_arrivals(ledger):
    ledger.add([replace(row(seed), seconds=seed / 10, created=100.0 + seed) for seed in (1, 2, 3)])
    ledger.add([replace(row(4, numbers=PEROXIDE), seconds=9.0)])
    assert ledger.label_seconds("a", WATER, last=2).tolist() == [0.3, 0.2]
    assert ledger.came_in_since(102.0) == 2


def test_rows_of_a_batch_with_failures_and_a_number_that_is_not_finite():
    structures = frames(*(row(seed) for seed in range(4)))
    forces = np.zeros((3, 3, 3))
    batch = LabelBatch(
        rows=np.array([0, 1, 3]),
        labels=Labels(np.array([1.0, np.nan, 3.0]), forces),
        failures=(LabelFailure(2, "timeout", "600 s", "node2"),),
        seconds=np.arange(4.0),
        cycles=np.arange(4),
    )
    origins = [Origin("selected", 1, 0, step) for step in range(4)]
    made = label_rows("a", structures, batch, origins, "node1", 5.0)
    assert [one.origin.step for one in made] == [0, 1, 3, 2]
    assert [one.reason for one in made] == [None, "not-finite", None, "timeout"]
    assert [one.host for one in made] == ["node1", "node1", "node1", "node2"]
    assert [one.seconds for one in made] == [0.0, 1.0, 3.0, 2.0]
    assert (made[2].positions == structures.positions[3]).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"energy": np.nan}, "a label is finite"),
        ({"forces": None}, "a label is an energy and forces of all atoms"),
        ({"reason": "timeout"}, "a failure has a known reason and no label"),
        ({"origin": Origin("guess", 0)}, "found 'guess'"),
        ({"numbers": PEROXIDE}, r"positions are \(A, 3\) for A = 4 atoms; found \(3, 3\)"),
    ],
)
def test_a_row_that_is_neither_label_nor_failure_is_refused(ledger, change, message):
    with pytest.raises(ValueError, match=message):
        ledger.add([row(1), replace(row(2), **change)])
    assert ledger.pending == 0


def test_the_digest_ignores_hosts_times_and_arrival_but_no_number(tmp_path):
    rows = [row(1), row(2, failed="timeout"), row(3, kind="jitter", jitter=1)]

    def digest(name, given):
        with Ledger.open(tmp_path / name) as ledger:
            ledger.add(given)
            return ledger.digest()

    wanted = digest("one", rows)
    assert digest("two", [replace(one, host="h", seconds=1.0, created=2.0, detail="x") for one in rows[::-1]]) == wanted
    changed = [
        [replace(rows[0], energy=np.nextafter(rows[0].energy, 9.0)), *rows[1:]],
        [rows[0], replace(rows[1], reason="bad-charge"), rows[2]],
        [*rows[:2], replace(rows[2], origin=Origin("jitter", 1, 0, 3, 2))],
        rows[:2],
    ]
    assert len({wanted, *(digest(f"c{place}", given) for place, given in enumerate(changed))}) == 5


def test_a_full_disk_is_a_sentence_and_what_waits_can_be_written_later(ledger):
    ledger.add([row(0)])
    ledger.commit()
    pages = ledger.query("PRAGMA page_count").fetchone()[0]
    ledger.query(f"PRAGMA max_page_count = {pages}")
    ledger.add([row(seed) for seed in range(1, 400)])
    with pytest.raises(RunError, match=r"399 rows could not be written .* full\. Make room"):
        ledger.commit()
    assert ledger.pending == 399
    ledger._connection.execute("PRAGMA max_page_count = 100000")
    ledger.commit()
    assert ledger.counts() == Counts(400, 0)
    assert ledger.paid_again() == 0


def _write_until_killed(path, ready):
    with Ledger.open(path) as ledger:
        for seed in range(100_000):
            ledger.add([row(2 * seed), row(2 * seed + 1)])
            ledger.commit()
            if seed == 20:
                ready.set()


def test_a_killed_writer_leaves_a_sound_ledger_of_whole_commits(tmp_path):
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    writer = context.Process(target=_write_until_killed, args=(tmp_path / "l", ready))
    writer.start()
    try:
        assert ready.wait(60)
    finally:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    with Ledger.open(tmp_path / "l") as ledger:
        counts = ledger.counts()
        assert counts.labelled >= 42
        assert counts.labelled % 2 == 0
        assert check_ledger(ledger).sound


def test_a_reader_sees_commits_while_the_writer_is_open_and_after_it_has_gone(tmp_path):
    with Ledger.open(tmp_path / "l") as ledger:
        reader = LedgerReader.open(tmp_path / "l")
        ledger.add([row(1)])
        ledger.commit()
        assert reader.counts() == Counts(1, 0)
    reader.close()
    with LedgerReader.open(tmp_path / "l") as late:
        assert late.counts() == Counts(1, 0)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            late.query("DELETE FROM labels")


def test_another_thread_is_refused(ledger):
    errors = []

    def use():
        try:
            ledger.counts()
        except sqlite3.ProgrammingError as error:
            errors.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert len(errors) == 1


def test_files_that_are_no_ledgers_are_refused(tmp_path):
    text = tmp_path / "text"
    text.write_text("not a database, and long enough to have a header" * 40)
    with pytest.raises(RunError, match=r"A ledger is an SQLite file on a writable disk; .*text cannot be used"):
        Ledger.open(text)
    other = tmp_path / "other"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE t (x)")
    with pytest.raises(RunError, match="SQLite file of another program"):
        Ledger.open(other)
    with pytest.raises(RunError, match="there is none at"):
        LedgerReader.open(tmp_path / "absent")
    with pytest.raises(RunError, match="cannot be used"):
        Ledger.open(tmp_path / "no" / "folder")


def test_a_ledger_of_a_later_version_is_refused(tmp_path):
    Ledger.open(tmp_path / "l").close()
    with sqlite3.connect(tmp_path / "l") as connection:
        connection.execute("PRAGMA user_version = 99")
    for kind in (Ledger, LedgerReader):
        with pytest.raises(RunError, match=r"is of version 99\. Use a newer alflow"):
            kind.open(tmp_path / "l")


def test_a_ledger_of_version_1_is_brought_up_to_date_with_its_labels(tmp_path, monkeypatch):
    path = tmp_path / "l"
    with monkeypatch.context() as then:
        then.setattr(schema, "MIGRATIONS", schema.MIGRATIONS[:1])
        then.setattr(schema, "VERSION", 1)
        Ledger.open(path).close()
    old, label = sqlite3.connect(path), row(1)
    assert "paid" not in {name for _, name, *_ in old.execute("PRAGMA table_info(labels)")}
    old.execute("INSERT INTO theories VALUES (1, 'a')")
    old.execute("INSERT INTO compositions VALUES (1, ?, 0)", (WATER.astype("<i8").tobytes(),))
    old.execute(
        "INSERT INTO labels VALUES (1, ?, 1, 1, ?, 'ok', ?, ?, NULL, '', 'h', 1.0, 9, 0.0)",
        (label.key, label.positions.tobytes(), label.energy, label.forces.tobytes()),
    )
    old.execute("INSERT INTO origins VALUES (1, 'selected', 1, 0, 1, 0)")
    old.commit()
    old.close()
    with pytest.raises(RunError, match=r"needs a ledger of version 2; .* is of version 1"):
        LedgerReader.open(path)
    with Ledger.open(path) as ledger:
        assert ledger.lookup("a", frames(label)).labelled.tolist() == [0]
        assert ledger.paid_again() == 0
        ledger.add([label])
        assert ledger.paid_again() == 1
        assert check_ledger(ledger).sound


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            "UPDATE labels SET positions = substr(positions, 1, 64) WHERE id = 1",
            "Label 1: positions .* 72 bytes each; found 64",
        ),
        ("UPDATE labels SET forces = substr(forces, 1, 8) WHERE id = 1", "found 72 and 8"),
        ("UPDATE labels SET key = zeroblob(32) WHERE id = 1", "Label 1: its key is not that"),
        ("UPDATE labels SET energy = 9e999 WHERE id = 1", "Label 1: energy or forces are not finite"),
        ("UPDATE labels SET reason = 'bored' WHERE id = 2", "found 'bored'"),
        ("DELETE FROM origins WHERE label = 1", "Label 1 has no origin"),
        ("DELETE FROM labels WHERE id = 1", "origins points to a row of labels that does not exist"),
        ("INSERT INTO theories VALUES (7, 'x')", "Row 7 of theories has no label"),
        ("UPDATE origins SET kind = 'guess' WHERE label = 1", "1 origins are of the unknown kind 'guess'"),
    ],
)
def test_check_names_each_damage(tmp_path, damage, message):
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.add([row(1), row(2, failed="timeout")])
        report = check_ledger(ledger)
        assert (report.labelled, report.failed, report.theories, report.compositions) == (1, 1, 1, 1)
        assert report.sound
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    with LedgerReader.open(path) as reader:
        report = check_ledger(reader)
    assert not report.sound
    assert any(re.search(message, problem) for problem in report.problems), report.problems


def test_check_finds_a_damaged_page(tmp_path):
    path = tmp_path / "l"
    with Ledger.open(path) as ledger:
        ledger.add([row(seed) for seed in range(300)])
    content = bytearray(path.read_bytes())
    content[8 * 4096 : 10 * 4096] = os.urandom(2 * 4096)
    path.write_bytes(content)
    with LedgerReader.open(path) as reader:
        assert not check_ledger(reader).sound


ORIGINS = st.builds(
    Origin, st.sampled_from(ORIGIN_KINDS), st.integers(0, 3), st.integers(0, 2), st.integers(0, 50), st.integers(0, 2)
)
ROWS = st.builds(
    lambda seed, theory, numbers, failed, origin: replace(
        row(seed, theory=theory, numbers=numbers, failed=failed), origin=origin
    ),
    st.integers(0, 25),
    st.sampled_from("ab"),
    st.sampled_from([WATER, PEROXIDE]),
    st.sampled_from([None, None, *FAILURE_REASONS[:2]]),
    ORIGINS,
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=40), data=st.data())
def test_any_rows_in_any_order_and_any_commits(tmp_path_factory, rows, data):
    folder = tmp_path_factory.mktemp("any")
    with Ledger.open(folder / "one") as one, Ledger.open(folder / "two") as two:
        one.add(rows)
        for given_row in data.draw(st.permutations([*rows, *rows[:5]])):
            two.add([given_row])
            if data.draw(st.booleans()):
                two.commit()
        best = {}
        for given_row in rows:
            if best.get(given_row.key) is None or best[given_row.key].reason is not None:
                best[given_row.key] = given_row
        labelled = {key for key, found in best.items() if found.reason is None}
        assert one.counts() == Counts(len(labelled), len(best) - len(labelled))
        assert check_ledger(two).sound
        for theory in "ab":
            (first, origins), (second, others) = one.dataset(theory), two.dataset(theory)
            assert origins == others
            assert [group.labels.energies.tolist() for group in first.groups] == [
                group.labels.energies.tolist() for group in second.groups
            ]
            trained = {found.key for found in rows if found.origin.kind in TRAINING_KINDS and found.theory == theory}
            held = [key for group in first.groups for key in structure_keys(theory, group.frames)]
            assert len(held) == len(set(held))
            assert set(held) == trained & labelled


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, min_size=1, max_size=40), limit=st.integers(0, 3))
def test_later_iterations_only_append_to_each_group(tmp_path_factory, rows, limit):
    with Ledger.open(tmp_path_factory.mktemp("append") / "l") as ledger:
        ledger.add(rows)
        early, late = ledger.dataset("a", limit)[0], ledger.dataset("a")[0]
        for before, after in zip(early.groups, late.groups, strict=False):
            assert (before.frames.numbers == after.frames.numbers).all()
            n = len(before.frames)
            assert before.frames.positions.tobytes() == after.frames.positions[:n].tobytes()
            assert before.labels.energies.tobytes() == after.labels.energies[:n].tobytes()


def test_twenty_thousand_labels_of_hexane_come_back_in_order(tmp_path):
    numbers, rng, n = np.array([6] * 6 + [1] * 14), np.random.default_rng(0), 20_000
    positions, forces = rng.normal(size=(2, n, 20, 3))
    energies = rng.normal(size=n)
    with Ledger.open(tmp_path / "l") as ledger:
        for step in rng.permutation(n):
            origin = Origin("selected", int(step) // 1000, 0, int(step))
            label = LedgerRow("a", numbers, positions[step], 0, origin, float(energies[step]), forces[step])
            ledger.add([label])
            if step % 500 == 0:
                ledger.commit()
        dataset, origins = ledger.dataset("a")
        assert [origin.step for origin in origins] == list(range(n))
        (group,) = dataset.groups
        assert group.frames.positions.tobytes() == positions.tobytes()
        assert group.labels.forces.tobytes() == forces.tobytes()
        assert group.labels.energies.tobytes() == energies.tobytes()
        assert len(ledger.dataset("a", up_to_iteration=4)[0]) == 5000
