"""Sizes of label tasks."""

from __future__ import annotations

import math

SMALLEST_TASK_SECONDS = 0.05
"""Tasks shorter than this cost more to dispatch than they balance (a round trip is about 2 ms)."""


def chunk_sizes(
    count: int, workers: int, label_seconds: float, task_seconds: float, frames_per_task: int = 0
) -> tuple[int, ...]:
    """Cut `count` frames into tasks: as long as `task_seconds` at first, smaller towards the end.

    Guided self-scheduling (Polychronopoulos and Kuck, IEEE Trans. Comput. 1987, C-36, 1425): each task takes
    1/(2·workers) of what remains, at most `task_seconds` of work, at least `SMALLEST_TASK_SECONDS`, so that all
    workers end at about the same time.

    Args:
        count: Frames.
        workers: Workers that share them.
        label_seconds: Measured time of one label, s.
        task_seconds: Longest task aimed at, s.
        frames_per_task: Fixed size instead; 0 for none.

    Returns:
        Frames of each task, in the order of submission; their sum is `count`.
    """
    if frames_per_task:
        full, rest = divmod(count, frames_per_task)
        return (frames_per_task,) * full + ((rest,) if rest else ())
    largest = max(1, int(task_seconds / label_seconds))
    smallest = min(largest, max(1, math.ceil(SMALLEST_TASK_SECONDS / label_seconds)))
    sizes, left = [], count
    while left:
        size = min(left, largest, max(smallest, math.ceil(left / (2 * workers))))
        sizes.append(size)
        left -= size
    return tuple(sizes)


def parts_of_lost(count: int, attempt: int) -> tuple[slice, ...]:
    """Return what to try of a task that was lost with its worker: all once more, then frame by frame.

    Args:
        count: Frames of the task.
        attempt: How often it has been tried, those of the task that it was cut from included.

    Returns:
        Frames of each new task; empty: a single frame that was lost again has to be given up.
    """
    if attempt == 1:
        return (slice(0, count),)
    return tuple(slice(place, place + 1) for place in range(count)) if count > 1 else ()
