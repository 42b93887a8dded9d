"""Share frames out among threads. The kernels release the interpreter lock, so plain threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

Work = Callable[[int, int], None]
"""Does the rows from its first argument up to its second."""
Share = Callable[[Work, int], None]
"""Calls the work on all rows up to its second argument."""


@contextmanager
def sharing(threads: int) -> Iterator[Share]:
    """Give a function that splits rows into one contiguous part a thread and waits for all parts.

    No thread is started for `threads` of 1. Parts write to different rows, so a result does not depend on the count.
    """
    if threads <= 1:
        yield lambda work, count: work(0, count)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="alflow-ani") as pool:

        def share(work: Work, count: int) -> None:
            bounds = [count * part // threads for part in range(threads + 1)]
            parts = [pool.submit(work, start, stop) for start, stop in pairwise(bounds)]
            for part in parts:
                part.result()

        yield share
