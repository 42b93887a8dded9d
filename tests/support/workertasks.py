"""Tasks that tests run on workers, which import them by this module's name."""

from __future__ import annotations

import os
import time
from pathlib import Path

from alflow.workers import result as outcome

FOLDER = Path(__file__).parent
"""What a worker's PYTHONPATH has to hold."""


@outcome.reported
def nap(seconds: float) -> int:
    """Sleep, and say in which process."""
    time.sleep(seconds)
    return os.getpid()


@outcome.reported
def hang(marker: str, times: int) -> str:
    """Hang, the first times; each is written down."""
    with Path(marker).open("a") as file:
        file.write("tried\n")
    if len(Path(marker).read_text().splitlines()) <= times:
        time.sleep(3600.0)
    return "done"
