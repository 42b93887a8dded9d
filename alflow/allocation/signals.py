"""Ctrl-C and SIGTERM while threads work: they are noted, and acted upon where that is safe."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any, Self

from alflow.errors import TerminatedError


class Signals:
    """Notes SIGINT and SIGTERM, as a context; the second one of a kind acts at once.

    In a thread that is not the main one, which hears no signals, it notes nothing.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @property
    def sentence(self) -> str:
        """What came, in words."""
        return (
            "The driver was interrupted."
            if self.received == signal.SIGINT
            else "The driver was asked to end (SIGTERM)."
        )

    def raise_received(self) -> None:
        """Raise what came.

        Raises:
            KeyboardInterrupt: Ctrl-C.
            TerminatedError: SIGTERM.
        """
        if self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is not None:
            raise TerminatedError(self.sentence)

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        again, self.received = self.received == number, signal.Signals(number)
        if again:
            self.raise_received()
