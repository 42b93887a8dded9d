"""Ctrl-C and SIGTERM end work that can be gone on with, and the user is told what is kept of it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

from alflow.errors import CampaignError, TerminatedError


class InterruptedWorkError(TerminatedError):
    """A signal ended the work; the message says what is kept."""

    def __init__(self, number: signal.Signals, kept: str) -> None:
        super().__init__(f"Interrupted by {number.name}. {kept}")
        self.code = 128 + number
        """Exit code that shells give a process that this signal ends."""


@contextlib.contextmanager
def saying_what_is_kept(kept: Callable[[], str]) -> Iterator[None]:
    """Say of whatever ends the block before its time what is kept of its work.

    Raises:
        InterruptedWorkError: Ctrl-C came, or SIGTERM, which schedulers send ahead of a kill.
        CampaignError: the one that ended the block.
    """
    received = [signal.SIGINT]

    def terminate(number: int, frame: FrameType | None) -> None:
        received.append(signal.Signals(number))
        signal.default_int_handler(number, frame)

    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGTERM, terminate) if main else None
    try:
        yield
    except KeyboardInterrupt as error:
        raise InterruptedWorkError(received[-1], kept()) from error
    except CampaignError as error:
        raise CampaignError(f"{error} {kept()}") from error
    finally:
        if main:
            signal.signal(signal.SIGTERM, before)
