"""The number of torch's threads is one for the whole process: who sets it has torch to itself meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_ONE_AT_A_TIME = threading.RLock()


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set the number of torch's threads, and set it back afterwards.

    Trainings in threads of one process take turns: sums depend, in their last bits, on the number of threads.
    """
    with _ONE_AT_A_TIME:
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)
