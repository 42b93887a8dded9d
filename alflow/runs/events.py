"""``events.jsonl``: one line a task, and what happened to the farm."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO


class EventLog:
    """Appends lines; safe from several threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._file: TextIO | None = path.open("a", encoding="utf-8")

    def write(self, what: str, **fields: Any) -> None:
        """Append one line: what, the fields, and the time of writing if no other is given."""
        line = json.dumps({"what": what, "time": time.time(), **fields})
        with self._lock:
            if self._file is not None:
                self._file.write(line + "\n")
                self._file.flush()

    def close(self) -> None:
        """Stop writing; later lines are dropped."""
        with self._lock:
            if self._file is not None:
                self._file.close()
            self._file = None


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of an event log; a last line cut off by a crash is skipped."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(event, dict):
                yield event
