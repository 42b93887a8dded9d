"""A trajectory as a chain of tasks, each of which takes the state that the one before returned."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from alflow.errors import CampaignError
from alflow.execution.graph import TaskGraph
from alflow.runs.directory import load_segment, load_state, save_segment, save_state
from alflow.types import MDState, Segment
from alflow.workers.result import Call, Outcome
from alflow.workers.tasks import Batched, State


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

    def replay(self) -> None:
        """Take what is stored."""
        for segment in self.stored():
            self._take(segment)

    def start(self, state: State) -> None:
        """Replay what is stored, and submit the rest."""
        self.replay()
        if self.done:
            return
        previous: State = self.segments[-1].end if self.segments else state
        for index in range(len(self.segments), len(self.lengths)):
            call = self.call(previous, self.lengths[index])
            previous = self.graph.submit(call, self._handle, segment=index, **self.detail).promise

    def _handle(self, result: Outcome[Segment] | BaseException) -> None:
        if isinstance(result, BaseException):
            self.fail(result)
        elif not self.done:
            self.keep(result.value)

    def fail(self, error: BaseException) -> None:
        """End with an error."""
        self.error = self.error or error
        self.done = True

    def keep(self, segment: Segment) -> None:
        """Store the next segment, and take it."""
        save_segment(self._path(len(self.segments)), segment)
        self._take(segment)

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


@dataclass(frozen=True)
class JointChains:
    """Trajectories of the same lengths whose segments are made together, one task for the next segment of all."""

    graph: TaskGraph
    chains: tuple[SegmentChain, ...]
    call: Callable[[tuple[Batched, ...], int], Call[tuple[Segment, ...]]]
    """From (where each goes on, or what the task before returned for all; steps) to the task."""
    detail: dict[str, Any] = field(default_factory=dict)

    def start(self, states: Sequence[State]) -> None:
        """Replay what is stored, and submit the rest from the first segment that one of them lacks.

        A chain whose later segments are stored keeps them: made again, they would be the same.
        """
        for chain in self.chains:
            chain.replay()
        going = [len(chain.segments) for chain in self.chains if not chain.done]
        if not going:
            return
        first, lengths = min(going), self.chains[0].lengths
        previous: tuple[Batched, ...] = tuple(map(partial(_goes_on, first), self.chains, states))
        for index in range(first, len(lengths)):
            call = self.call(previous, lengths[index])
            task = self.graph.submit(call, partial(self._handle, index), segment=index, **self.detail)
            previous = (task.promise,)

    def _handle(self, index: int, result: Outcome[tuple[Segment, ...]] | BaseException) -> None:
        if isinstance(result, BaseException):
            for chain in self.chains:
                if not chain.done:
                    chain.fail(result)
            return
        for chain, segment in zip(self.chains, result.value, strict=True):
            if not chain.done and len(chain.segments) == index:
                chain.keep(segment)


def _goes_on(first: int, chain: SegmentChain, state: State) -> Batched:
    """Return where a chain goes on with a segment; one that has stopped stays where it is."""
    if chain.segments and chain.segments[-1].stopped:
        return chain.segments[-1]
    return chain.segments[first - 1] if first else state


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
