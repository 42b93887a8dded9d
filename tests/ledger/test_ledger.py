"""The ledger: what is written is read back, once, in an order of its own."""

from dataclasses import replace

import numpy as np
import pytest
from rows import PEROXIDE, WATER, frames, row

from alflow.errors import FAILURE_REASONS
from alflow.ledger import (
    Counts,
    Ledger,
    LedgerReader,
    Origin,
    check_ledger,
    label_rows,
    structure_key,
    structure_keys,
)
from alflow.types import Composition, LabelBatch, LabelFailure, Labels


def test_a_label_comes_back_to_the_last_bit_after_reopening(tmp_path):
    told = {"s_squared": 0.1 + 0.2, "scf_rescues": 2.0}
    written = replace(row(1), host="node7", seconds=0.25, cycles=12, created=1.7e9, detail="d", diagnostics=told)
    failed = replace(row(2, failed="not-converged"), detail="200 cycles")
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.add([written, failed])
    with LedgerReader.open(tmp_path / "l") as ledger:
        found = list(ledger.rows())
    for one, other in zip(found, (written, failed), strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()
        assert one.energy == other.energy
        assert one.diagnostics == other.diagnostics
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
        replace(one, composition=Composition(one.numbers, 1)).key,
        replace(one, composition=Composition(one.numbers, 0, 3)).key,
        replace(one, composition=Composition(np.array([8, 1, 6]))).key,
        replace(one, positions=moved).key,
        replace(one, composition=Composition(one.numbers, 0, 1)).key,  # the lowest is that of before
    }
    assert len(keys) == 6
    assert structure_keys("a", frames(one, row(2))) == [one.key, row(2).key]


def test_keys_are_the_same_on_every_machine_and_for_minus_zero():
    positions = np.array([[0.0, 0.0, 0.0], [1.1, 0.0, 0.0]])
    key = structure_key("theory", Composition(np.array([6, 8])), positions)
    assert key.hex() == "1a870010ccd00a0317be4cd133b1d0d695efe2c6dc9719165a6fa1b34d62fde4"
    assert structure_key("theory", Composition(np.array([6, 8], dtype=">i4")), positions.astype(">f8")) == key
    assert structure_key("theory", Composition(np.array([6, 8])), np.where(positions == 0.0, -0.0, positions)) == key


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
    assert [one.diagnostics for one in made] == [{}] * 4
    told = tuple({"s_squared": float(frame)} for frame in range(4))
    spoke = label_rows("a", structures, replace(batch, diagnostics=told), origins, "node1", 5.0)
    assert [one.diagnostics["s_squared"] for one in spoke] == [0.0, 1.0, 3.0, 2.0]
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
        ({"composition": Composition(PEROXIDE)}, r"positions are \(A, 3\) for A = 4 atoms; found \(3, 3\)"),
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


def test_an_import_in_the_place_of_a_failure_leaves_earlier_iterations_alone(ledger):
    ledger.add([row(1), row(2, failed="timeout"), row(3, iteration=2)])
    before, _ = ledger.dataset("a", 1)
    ledger.add([row(2, kind="import", iteration=3)])
    assert len(ledger.dataset("a", 2)[0]) == len(before) + 1
    after, origins = ledger.dataset("a", 3)
    assert len(after) == 3
    assert origins[-1].kind == "import"


def test_failures_of_some_reasons_are_forgotten_where_nothing_earlier_asked_for_them(ledger):
    old, new, other = row(1, failed="timeout"), row(2, failed="timeout", iteration=2), row(3, failed="not-converged")
    shared = row(4, failed="timeout")
    ledger.add([old, new, other, shared, row(5, iteration=2)])
    ledger.add_origins("a", frames(shared), [Origin("selected", 2, 0, 9)])
    assert ledger.forget_failures("a", ("timeout", "engine-crash"), 2) == 1
    assert list(ledger.lookup("a", frames(old, new, other, shared)).missing) == [1]
    assert ledger.counts() == Counts(1, 3)
    assert ledger.forget_failures("b", ("timeout",), 0) == 0


@pytest.mark.parametrize("reason", FAILURE_REASONS)
def test_every_reason_of_a_failure_is_kept_and_passes_the_check(tmp_path, reason):
    with Ledger.open(tmp_path / "l") as ledger:
        ledger.add([row(1), row(2, failed=reason)])
    with LedgerReader.open(tmp_path / "l") as ledger:
        assert [found.reason for found in ledger.rows()] == [None, reason]
        assert check_ledger(ledger).sound
