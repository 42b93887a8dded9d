"""The spool of a running allocation: other processes leave requests in it, and the driver answers beside them."""

from __future__ import annotations

import contextlib
import json
import math
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from alflow.allocation.requests import Request
from alflow.config.load import validate_campaign
from alflow.errors import AlflowError, ConfigError, RunError
from alflow.files.targets import shown
from alflow.files.whole import write_atomically
from alflow.runs.allocations import AllocationDirectory

LOOK_SECONDS = 0.2
PATIENCE_SECONDS = 600.0
"""The engine of a campaign that is added labels its starting structures before the driver answers."""

Action = Literal["add", "withdraw"]


@dataclass(frozen=True)
class Asked:
    """A request that a driver found."""

    file: Path
    action: Action
    request: Request | None = None
    """To add."""
    name: str = ""
    """To withdraw: a campaign's name or run directory."""

    def answer(self, message: str, *, accepted: bool) -> None:
        """Tell whoever waits; a disk that takes no more leaves it waiting for the driver's end."""
        with contextlib.suppress(OSError):
            self.file.unlink(missing_ok=True)  # one that could not be read
            content = json.dumps({"accepted": accepted, "message": message}).encode()
            write_atomically(self.file.with_suffix(".answer"), content)


def ask(allocation: AllocationDirectory, content: dict[str, Any], patience_s: float = PATIENCE_SECONDS) -> str:
    """Leave a request, wait for the answer, and return it.

    Args:
        allocation: whose driver is asked.
        content: of the request; see `to_add` and `to_withdraw`.
        patience_s: longest wait, s.

    Raises:
        RunError: no driver runs there, it refuses, or it does not answer.
    """
    _require_driver(allocation)
    file = allocation.spool / f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    answer, until = file.with_suffix(".answer"), time.monotonic() + patience_s
    write_atomically(file, json.dumps(content).encode())
    try:
        while not answer.exists():
            _require_driver(allocation)
            if time.monotonic() > until:
                raise RunError(f"The driver of {shown(allocation.path)} has not answered within {patience_s:.0f} s.")
            time.sleep(LOOK_SECONDS)
        found = json.loads(answer.read_text(encoding="utf-8"))
    finally:
        for path in (file, answer):
            path.unlink(missing_ok=True)
    if not found["accepted"]:
        raise RunError(str(found["message"]))
    return str(found["message"])


def _require_driver(allocation: AllocationDirectory) -> None:
    state = allocation.status()
    if state.state != "running":
        raise RunError(
            f"Campaigns are added to a driver that runs, or withdrawn from it; that of {shown(allocation.path)} has "
            "ended."
        )


def to_add(request: Request) -> dict[str, Any]:
    """Return the content of a request to add a campaign."""
    settings = request.settings.model_dump(mode="json", exclude_none=True)
    return {
        "action": "add",
        "settings": settings,
        "run": str(request.run),
        "family": request.family,
        "weight": request.weight,
    }


def to_withdraw(name: str) -> dict[str, Any]:
    """Return the content of a request to withdraw a campaign by its name or run directory."""
    return {"action": "withdraw", "name": name}


def look(allocation: AllocationDirectory) -> list[Asked]:
    """Take the requests that wait, the oldest first; one that cannot be read is answered so and left out."""
    found = []
    for file in sorted(allocation.spool.glob("*.json")):
        try:
            found.append(_read(file))
            file.unlink(missing_ok=True)
        except FileNotFoundError:  # whoever asked has gone
            continue
        except (AlflowError, OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            text = (
                str(error) if isinstance(error, AlflowError) else f"A request must be readable; {shown(file)} is not."
            )
            Asked(file, "add").answer(text, accepted=False)
    return found


def _read(file: Path) -> Asked:
    content = json.loads(file.read_text(encoding="utf-8"))
    if content["action"] == "withdraw":
        return Asked(file, "withdraw", name=str(content["name"]))
    if content["action"] != "add":
        raise ConfigError(f"A request is to add or to withdraw a campaign; got {content['action']!r}.")
    settings = validate_campaign(content["settings"], "the request")
    weight = float(content["weight"])
    if not 0.0 < weight < math.inf:
        raise ConfigError(f"A weight must be a number above 0; got {weight}.")
    return Asked(file, "add", Request(settings, Path(content["run"]), str(content["family"]), weight))
