"""One batch of frames for all pulls of an iteration together: candidates along the way, and which of them differ most.

A pull of hexane has thousands of frames of which neighbours say almost the same, and replicas repeat each other. Under
a budget of labels it pays to ask for frames that are unlike each other and unlike what was learnt from.
"""

from __future__ import annotations

from collections import deque

import numpy as np

from alflow.types import FloatArray, IntArray

ROWS_AT_ONCE = 512
"""Rows whose distances to all others are in memory."""


def along_the_way(progress: FloatArray, windows: int, most: int) -> IntArray:
    """Return rows of one pull that cover its way: at most `most`, spread over equal windows of its progress.

    Within a window, rows are taken evenly in time. What passes quickly, such as a bond that breaks, has as many as what
    takes long; the clock alone would leave it with next to none.

    Args:
        progress: (F,) of the frames of one pull, ascending (`alflow.acquisition.progress`).
        windows: that the progress made is cut into.
        most: rows in all.

    Returns:
        Rows, ascending.
    """
    window = windows_of(progress, windows)
    share = max(1, most // windows)
    found = []
    for number in np.unique(window):
        rows = np.flatnonzero(window == number)
        places = min(share, len(rows))
        found.append(rows[(2 * np.arange(places) + 1) * len(rows) // (2 * places)])
    rows = np.concatenate(found) if found else np.empty(0, dtype=np.int64)
    if len(rows) > most:
        rows = rows[(2 * np.arange(most) + 1) * len(rows) // (2 * most)]
    return rows.astype(np.int64)


def at_random_along_the_way(
    progress: FloatArray, windows: int, places: int, rng: np.random.Generator, taken: IntArray | None = None
) -> IntArray:
    """Draw rows of several pulls together: a window of the progress at random, then one of its frames at random.

    Assumes nothing of what an ensemble says of the frames: the draw is an unbiased sample of the way, each window of
    which counts alike.

    Args:
        progress: (F,) of the frames of all pulls together.
        windows: that the progress made is cut into.
        places: rows that are drawn, fewer if there are not so many; none twice.
        rng: where the draw comes from.
        taken: rows that are not to be drawn.

    Returns:
        Rows, ascending.
    """
    window = windows_of(progress, windows)
    free = np.setdiff1d(np.arange(len(progress)), [] if taken is None else taken)
    left = {int(number): rng.permutation(free[window[free] == number]).tolist() for number in np.unique(window[free])}
    found: list[int] = []
    while left and len(found) < places:
        number = sorted(left)[rng.integers(len(left))]
        found.append(left[number].pop())
        if not left[number]:
            del left[number]
    return np.sort(np.array(found, dtype=np.int64))


def windows_of(progress: FloatArray, windows: int) -> IntArray:
    """Return which of equal windows of the progress made each row is in, (F,) from 0."""
    length = max(float(np.max(progress, initial=0.0)), np.finfo(np.float64).tiny)
    return np.clip((progress / length * windows).astype(np.int64), 0, windows - 1)


def farthest_points(features: FloatArray, known: FloatArray, places: int, window: IntArray) -> IntArray:
    """Choose rows one by one, each the farthest of its window from all that are known or chosen already.

    Windows take turns, so that none is left out: behind a break, fragments fly and turn as they like, and all of the
    farthest frames are there, while it is before the break that a barrier is decided.

    With one window it is the greedy k-centre (T. F. Gonzalez, Theor. Comput. Sci. 1985, 38, 293): the largest distance
    from any row to the nearest chosen one is at most twice the least possible. Features are divided by their standard
    deviations over all rows, known ones too, first; one that does not vary has no part.

    Args:
        features: (F, N) of the rows to choose from.
        known: (T, N) of what is known.
        places: rows chosen at most.
        window: (F,) of the rows to choose from.

    Returns:
        Rows in the order of choice. Fewer than `places` where no other row differs from those chosen.
    """
    deviations = np.concatenate([features, known]).std(axis=0)
    scale = np.divide(1.0, deviations, out=np.zeros_like(deviations), where=deviations > 0.0)
    rows, others = features * scale, known * scale
    squares = np.einsum("fn,fn->f", rows, rows)
    nearest = np.full(len(rows), np.inf)
    for start in range(0, len(others), ROWS_AT_ONCE):
        part = others[start : start + ROWS_AT_ONCE]
        distances = squares[:, None] + np.einsum("tn,tn->t", part, part) - 2.0 * rows @ part.T
        nearest = np.minimum(nearest, distances.min(axis=1))
    chosen: list[int] = []
    turns = deque(np.flatnonzero(window == number) for number in np.unique(window))
    while turns and len(chosen) < places:
        own = turns.popleft()
        row = int(own[np.argmax(nearest[own])])
        if nearest[row] <= 0.0:
            continue
        turns.append(own)
        chosen.append(row)
        nearest = np.minimum(nearest, squares + squares[row] - 2.0 * rows @ rows[row])
        nearest[chosen] = 0.0
    return np.array(chosen, dtype=np.int64)
