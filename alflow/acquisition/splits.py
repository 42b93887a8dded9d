"""Splits of the dataset into the rows that a member trains on, and those that validate it.

Rows are global rows of a dataset whose order is canonical and append-only within each group (composition): the rows
of an earlier iteration keep their order, new ones follow. Groups, too, are only ever added at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from alflow.types import IntArray, Split


def random_split(n: int, fraction: float, rng: np.random.Generator) -> Split:
    """Draw a share of all rows for training; the others validate.

    Assumes that rows are interchangeable, so that any draw serves. Members that draw for themselves differ most, and
    so do their errors from one iteration to the next.

    Args:
        n: Number of rows.
        fraction: Share of the rows to train on; at least one row is left on either side where n ≥ 2.
        rng: Where the draw comes from.
    """
    return _split_of(np.arange(n, dtype=np.int64), fraction, rng)


def inherited_split(best: Split, old_n: int, new_n: int, fraction: float, rng: np.random.Generator) -> Split:
    """Carry the best member's split forward and draw for the new rows only.

    Jung, Choi, Lee, Digital Discovery 2024, 3, 514, section 2.3.6. Assumes that the best member owes its success to
    its split.

    Args:
        best: Split of the best member of the last iteration, over `old_n` rows.
        old_n: Number of rows then.
        new_n: Number of rows now.
        fraction: Share of the new rows to train on.
        rng: Where the draw comes from.
    """
    return inherited_split_of_groups(best, [old_n], [new_n], fraction, rng)


def inherited_split_of_groups(
    best: Split, old_sizes: Sequence[int], new_sizes: Sequence[int], fraction: float, rng: np.random.Generator
) -> Split:
    """Do as `inherited_split` in a dataset of several groups, each of which may have grown.

    Args:
        best: Split of the best member of the last iteration.
        old_sizes: Number of rows of each group then.
        new_sizes: Number of rows of each group now; groups may have been added at the end.
        fraction: Share of the new rows to train on.
        rng: Where the draw comes from.

    Raises:
        ValueError: a group has become smaller, or `best` does not cover the old rows.
    """
    return inherited_split_of_rows(best, _rows_now(old_sizes, new_sizes), sum(new_sizes), fraction, rng)


def inherited_split_of_rows(
    best: Split, carried: IntArray, new_n: int, fraction: float, rng: np.random.Generator
) -> Split:
    """Do as `inherited_split` where old rows stand anywhere now, or are no longer there.

    Args:
        best: Split of the best member of the last iteration.
        carried: (N,) where each old row stands now; -1 for one that was taken out.
        new_n: Number of rows now.
        fraction: Share of the new rows to train on.
        rng: Where the draw comes from.

    Raises:
        ValueError: `best` does not cover the old rows.
    """
    if len(best.train) + len(best.valid) != len(carried):
        raise ValueError(
            f"a split that is inherited covers every old row; it has {len(best.train) + len(best.valid)} rows of "
            f"{len(carried)}"
        )
    kept = carried[carried >= 0]
    fresh = np.setdiff1d(np.arange(new_n, dtype=np.int64), kept)
    drawn = _split_of(fresh, fraction, rng)
    train, valid = (rows[rows >= 0] for rows in (carried[best.train], carried[best.valid]))
    return Split(np.sort(np.concatenate([train, drawn.train])), np.sort(np.concatenate([valid, drawn.valid])))


def validation_of_all(splits: Sequence[Split]) -> IntArray:
    """Return the rows that validate every member, ascending: no part of an ensemble was trained on them.

    Args:
        splits: of each member, over the same rows.
    """
    rows = splits[0].valid
    for split in splits[1:]:
        rows = np.intersect1d(rows, split.valid)
    return np.sort(rows)


def _rows_now(old_sizes: Sequence[int], new_sizes: Sequence[int]) -> IntArray:
    """Return where each old row stands now."""
    grown = [new_sizes[group] >= size if group < len(new_sizes) else False for group, size in enumerate(old_sizes)]
    if not all(grown):
        raise ValueError(f"a dataset only grows; its groups had {list(old_sizes)} rows and have {list(new_sizes)}")
    starts = np.concatenate([[0], np.cumsum(new_sizes)]).astype(np.int64)
    rows = [starts[group] + np.arange(size, dtype=np.int64) for group, size in enumerate(old_sizes)]
    return np.concatenate(rows) if rows else np.empty(0, dtype=np.int64)


def _split_of(rows: IntArray, fraction: float, rng: np.random.Generator) -> Split:
    n = len(rows)
    trained = round(fraction * n)
    if n >= 2:
        trained = min(max(trained, 1), n - 1)
    shuffled = rng.permutation(rows)
    return Split(np.sort(shuffled[:trained]), np.sort(shuffled[trained:]))
