"""The ledger with any rows in any order, and with many."""

from dataclasses import replace

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rows import PEROXIDE, WATER, row

from alflow.errors import FAILURE_REASONS
from alflow.ledger import (
    ORIGIN_KINDS,
    TRAINING_KINDS,
    Counts,
    Ledger,
    LedgerRow,
    Origin,
    check_ledger,
    structure_keys,
)
from alflow.types import Composition

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


def assert_holds(ledger, rows):
    """Check what a ledger holds of rows that were added, whatever their order."""
    labelled = {found.key for found in rows if found.reason is None}
    failed = {found.key for found in rows} - labelled
    assert ledger.counts() == Counts(len(labelled), len(failed))
    assert check_ledger(ledger).sound
    for theory in "ab":
        held = [key for group in ledger.dataset(theory)[0].groups for key in structure_keys(theory, group.frames)]
        assert len(held) == len(set(held))
        trained = {found.key for found in rows if found.origin.kind in TRAINING_KINDS and found.theory == theory}
        assert set(held) == trained & labelled


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROWS, max_size=40), data=st.data())
def test_any_rows_in_any_order_and_any_commits(tmp_path_factory, rows, data):
    with Ledger.open(tmp_path_factory.mktemp("all") / "l") as ledger:
        ledger.add(rows)
        assert_holds(ledger, rows)
    imported = {found.key for found in rows if found.origin.kind == "import" and found.reason is None}
    # a failure that an import replaces loses its origins: there, and only there, the order counts (test_ledger.py)
    rows = [found for found in rows if found.reason is None or found.key not in imported]
    folder = tmp_path_factory.mktemp("any")
    with Ledger.open(folder / "one") as one, Ledger.open(folder / "two") as two:
        one.add(rows)
        for given_row in data.draw(st.permutations([*rows, *rows[:5]])):
            two.add([given_row])
            if data.draw(st.booleans()):
                two.commit()
        assert_holds(one, rows)
        assert_holds(two, rows)
        for theory in "ab":
            (first, origins), (second, others) = one.dataset(theory), two.dataset(theory)
            assert origins == others
            assert [group.labels.energies.tolist() for group in first.groups] == [
                group.labels.energies.tolist() for group in second.groups
            ]


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
            label = LedgerRow("a", Composition(numbers), positions[step], origin, float(energies[step]), forces[step])
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
