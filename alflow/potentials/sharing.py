"""Share rows out among threads. The kernels release the interpreter lock, so plain threads do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise

Work = Callable[[int, int], None]
"""Does the rows from its first argument up to its second."""


class Share:
    """Has rows done by threads, and waits for all of them. Without a pool the caller does them itself."""

    def __init__(self, pool: ThreadPoolExecutor | None = None, threads: int = 1) -> None:
        """Take a pool with that many threads."""
        self._pool, self._threads = pool, threads

    def __call__(self, work: Work, count: int, *, singly: bool = False) -> None:
        """Do all rows up to `count`.

        Each thread gets a like number of rows; or, `singly`, whichever thread is free takes the next row. A few rows
        that cost unlike amounts are best done singly, those that cost most first.
        """
        if self._pool is None:
            work(0, count)
            return
        number = count if singly else self._threads
        bounds = [count * part // number for part in range(number + 1)]
        parts = [self._pool.submit(work, start, stop) for start, stop in pairwise(bounds)]
        for part in parts:
            part.result()


@contextmanager
def sharing(threads: int) -> Iterator[Share]:
    """Give what shares rows out among threads; none is started for `threads` of 1.

    Parts write to different rows, so what a row gets does not depend on the count.
    """
    if threads <= 1:
        yield Share()
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="alflow-ani") as pool:
        yield Share(pool, threads)
