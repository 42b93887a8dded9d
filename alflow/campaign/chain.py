"""A trajectory as a chain of tasks, each of which takes the state that the one before returned."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.runs.directory import load_segment, load_state, save_segment, save_state
from alflow.types import MDState, Segment
from alflow.workers.result import Call, Outcome
from alflow.workers.tasks import State


@dataclass
class SegmentChain:
    """Submits the segments of one trajectory, stores each as it comes, and goes on from the last stored one."""

    graph: TaskGraph
    folder: Path
    lengths: tuple[int, ...]
    """Steps of each segment."""
    call: Callable[[State, int], Call[Segment]]
    """From (state to start from, steps) to the task."""
    on_segment: Callable[[Segment], None] = lambda _: None
    detail: dict[str, Any] = field(default_factory=dict)
    segments: list[Segment] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False

    def stored(self) -> list[Segment]:
        """Read the segments of an earlier run of this trajectory."""
        found = []
        for index in range(len(self.lengths)):
            path = self._path(index)
            if not path.exists():
                break
            found.append(load_segment(path))
        return found

    def start(self, state: State) -> None:
        """Replay what is stored, and submit the rest."""
        for segment in self.stored():
            self._take(segment)
        if self.done:
            return
        previous: State = self.segments[-1].end if self.segments else state
        for index in range(len(self.segments), len(self.lengths)):
            call = self.call(previous, self.lengths[index])
            previous = self.graph.submit(call, self._handle, segment=index, **self.detail).promise

    def _handle(self, result: Outcome[Segment] | BaseException) -> None:
        if isinstance(result, BaseException):
            self.error = self.error or result
            self.done = True
        elif not self.done:
            save_segment(self._path(len(self.segments)), result.value)
            self._take(result.value)

    def _take(self, segment: Segment) -> None:
        self.segments.append(segment)
        self.done = bool(segment.stopped) or len(self.segments) == len(self.lengths)
        self.on_segment(segment)

    def _path(self, index: int) -> Path:
        return self.folder / f"segment-{index:03d}.npz"

    def raise_error(self, name: str) -> None:
        """Raise a CampaignError if the trajectory failed."""
        if self.error is not None:
            raise CampaignError(f"{name} could not be run: {type(self.error).__name__}: {self.error}") from self.error


@dataclass
class StoredState:
    """A state that one task makes once a run: an initial or a relaxed structure."""

    graph: TaskGraph
    path: Path
    value: MDState | None = None
    error: BaseException | None = None

    def get(self, call: Call[MDState], **detail: Any) -> State:
        """Return the stored state, or the promise of the task that makes it."""
        if self.path.exists():
            self.value = load_state(self.path)
            return self.value
        return self.graph.submit(call, self._handle, **detail).promise

    def _handle(self, result: Outcome[MDState] | BaseException) -> None:
        if isinstance(result, BaseException):
            self.error = result
        else:
            save_state(self.path, result.value)
            self.value = result.value
