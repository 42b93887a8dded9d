"""Selection of the frames of a pull that are labelled: a streaming reducer, and the same over a whole pull at once.

A frame is looked at in the order of time:

1. *uncertain*: its spread is above the threshold;
2. *plausible*: no atom lost, no two atoms on top of each other, all numbers finite;
3. *distinct*: coordinate and energy both differ from those of the last frame that was kept
   (Jung, Choi, Lee, Digital Discovery 2024, 3, 514, section 2.3.3: the reference moves on only when a frame is kept);
4. *cap*: of the candidates that remain, at most `cap` are picked.

Each frame is looked at once and by itself, and candidates are decided on at steps that the rule alone determines.
So the result does not depend on how the pull was cut into segments.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from alflow.acquisition.plausibility import PlausibilityRule, plausible
from alflow.acquisition.progress import PULLED_APART, Progress, Way, advance, start_progress
from alflow.acquisition.uncertainty import lower, threshold_first_steps
from alflow.types import FloatArray, IntArray, Segment, SelectedFrame
from alflow.units import KCAL_PER_MOL_IN_EV

CapOrder = Literal["first", "spread", "progress", "most-uncertain", "diverse", "random"]
"""`diverse` and `random` are of all pulls together (`alflow.acquisition.batch`), not of this selector."""
BY_WINDOW = ("spread", "progress")
NO_BONDS = np.empty((0, 2), dtype=np.int64)


@dataclass(frozen=True)
class SelectionRule:
    """How frames are picked from one pull."""

    planned_steps: int
    """Steps of the pull if nothing ends it early."""
    cap: int = 50
    """Frames picked at most."""
    cap_order: CapOrder = "spread"
    """Which candidates are picked when there are more than the cap: see `_decide`."""
    windows: int = 10
    """Windows that the planned steps (order `spread`) or the planned progress (`progress`) are cut into."""
    turn: int = 0
    """Which windows get a place more where the cap does not divide by their number; see `window_turn`."""
    bonds: IntArray = field(default_factory=lambda: NO_BONDS, repr=False)
    """(B, 2) atoms of the bonds that may break (order `progress`)."""
    way: Way = field(default=PULLED_APART, repr=False)
    """What counts as progress beside them (order `progress`)."""
    planned_progress: float = 1.0
    """Progress of a pull that goes as planned, Å (order `progress`); see `alflow.acquisition.progress`."""
    threshold: float | None = None
    """Spread above which a frame counts as new, known before the pull; None if there is none."""
    first_steps: int | None = None
    """Length of the beginning of the pull that gives a threshold (mean + sigmas · standard deviation); None: not used.
    Where both are given, the lower counts; where neither is, every frame is uncertain enough."""
    sigmas: float = 3.0
    """Standard deviations above the mean."""
    similarity_distance_angstrom: float = 0.01
    """A frame is distinct only if the coordinate differs by more. Ignored where nothing steers."""
    similarity_energy_ev: float = KCAL_PER_MOL_IN_EV
    """A frame is distinct only if the energy differs by more."""
    plausibility: PlausibilityRule = field(default_factory=PlausibilityRule)
    """Bounds on distances between atoms."""


@dataclass(frozen=True)
class SelectionCounts:
    """Frames that reached each stage so far."""

    looked_at: int = 0
    uncertain: int = 0
    plausible: int = 0
    """Uncertain and plausible."""
    distinct: int = 0
    """Candidates for the cap."""
    picked: int = 0


@dataclass(frozen=True)
class Candidate:
    """A frame that may be picked."""

    frame: SelectedFrame
    place: float
    """Where on its way the pull was, by steps or by progress, in windows."""


@dataclass(frozen=True)
class SelectorState:
    """All that the selector remembers of one pull between two segments."""

    rule: SelectionRule
    pull: int
    threshold: float | None
    """None until it is known."""
    waiting: tuple[Segment, ...] = ()
    """Segments that wait for the threshold."""
    last_step: int = -1
    """Last step received. Frames at or before it are ignored: a segment may repeat the last frame of the one before."""
    kept: tuple[float, float] | None = None
    """Coordinate (in its unit) and energy (eV) of the last distinct frame."""
    progress: Progress | None = None
    """How far the pull has come (order `progress`)."""
    window: int = 0
    """Window that is open (orders `spread` and `progress`)."""
    pending: tuple[Candidate, ...] = ()
    """Candidates that are not decided on."""
    passed_over: tuple[Candidate, ...] = ()
    """Candidates of closed windows that found no place; budget that is left at the end goes to them."""
    counts: SelectionCounts = field(default_factory=SelectionCounts)


def share_budget(cap: int, replicas: Sequence[int]) -> tuple[int, ...]:
    """Return the cap of each of several pulls that share one: equal, with the remainder to the lowest replicas.

    So each molecule and rate gets its first frames before any gets more.

    Args:
        cap: frames in all.
        replicas: (P,) number of the replica of each pull.
    """
    pulls = len(replicas)
    turn = {pull: place for place, pull in enumerate(sorted(range(pulls), key=lambda pull: (replicas[pull], pull)))}
    return tuple(cap // pulls + (turn[pull] < cap % pulls) for pull in range(pulls))


def window_turn(replica: int, replicas: int, windows: int, iteration: int) -> int:
    """Return the turn of a pull, so that pulls with fewer places than windows take turns at the windows.

    The replicas of one molecule and rate spread over the windows. Where they are fewer than the windows, the turns move
    on from iteration to iteration: otherwise some windows would never have a place.

    Args:
        replica: Number of the pull among its like.
        replicas: How many of them have places at all.
        windows: Of the rule.
        iteration: Of the campaign.
    """
    if replicas >= windows:
        return replica % windows
    return (replica * (windows // max(replicas, 1)) + iteration) % windows


def start(rule: SelectionRule, pull: int = 0) -> SelectorState:
    """Return the state before the first segment of a pull."""
    known = None if rule.first_steps is not None else _threshold(rule, np.empty(0), np.empty(0, dtype=np.int64))
    return SelectorState(rule, pull, known)


def step(state: SelectorState, chunk: Segment) -> tuple[SelectorState, tuple[SelectedFrame, ...]]:
    """Take the next segment of the pull; return the new state and the frames that can be decided on now.

    Args:
        state: State after the segment before.
        chunk: Next segment, its steps ascending.
    """
    fresh = _after(chunk, state.last_step)
    if not len(fresh.steps):
        return state, ()
    state = replace(state, last_step=int(fresh.steps[-1]), waiting=(*state.waiting, fresh))
    if state.threshold is None:
        first_steps = state.rule.first_steps
        if first_steps is not None and state.last_step < first_steps:
            return state, ()
        state = _with_threshold(state)
    return _drain(state)


def finish(state: SelectorState) -> tuple[SelectorState, tuple[SelectedFrame, ...]]:
    """End the pull, at its last planned step or before; return the final state and the remaining picks."""
    state, picked = _drain(_with_threshold(state) if state.threshold is None else state)
    rule, left = state.rule, places_left(state)
    if rule.cap_order == "most-uncertain":
        last = _most_uncertain(state.pending, left)
    elif rule.cap_order in BY_WINDOW:
        last = _share_out(rule, state.pending, left)
        rest = (*state.passed_over, *_without(state.pending, last))
        last = (*last, *_evenly(rest, left - len(last)))
    else:
        last = ()
    counts = replace(state.counts, picked=state.counts.picked + len(last))
    return replace(state, pending=(), passed_over=(), counts=counts), (*picked, *last)


def select(rule: SelectionRule, segments: Iterable[Segment], pull: int = 0) -> tuple[SelectedFrame, ...]:
    """Return what the reducer picks from a whole pull, by step."""
    state, picked = start(rule, pull), list[SelectedFrame]()
    for segment in segments:
        state, some = step(state, segment)
        picked.extend(some)
    picked.extend(finish(state)[1])
    return tuple(sorted(picked, key=lambda frame: frame.step))


def places_left(state: SelectorState) -> int:
    """Return how many frames may still be picked."""
    return state.rule.cap - state.counts.picked


def _threshold(rule: SelectionRule, spread: FloatArray, steps: IntArray) -> float:
    known = [] if rule.threshold is None else [rule.threshold]
    if rule.first_steps is not None:
        known.append(threshold_first_steps(spread, steps, rule.first_steps, rule.sigmas))
    return lower(*known) if known else float("-inf")


def _with_threshold(state: SelectorState) -> SelectorState:
    """Settle the threshold from the beginning of the pull."""
    spread = np.concatenate([np.empty(0), *(chunk.spread for chunk in state.waiting)])
    steps = np.concatenate([np.empty(0, dtype=np.int64), *(chunk.steps for chunk in state.waiting)])
    return replace(state, threshold=_threshold(state.rule, spread, steps))


def _drain(state: SelectorState) -> tuple[SelectorState, tuple[SelectedFrame, ...]]:
    """Look at all frames that waited."""
    chunks, picked = state.waiting, list[SelectedFrame]()
    state = replace(state, waiting=())
    for chunk in chunks:
        state, some = _look_at(state, chunk)
        picked.extend(some)
    return state, tuple(picked)


def _look_at(state: SelectorState, chunk: Segment) -> tuple[SelectorState, list[SelectedFrame]]:
    assert state.threshold is not None
    uncertain = ~(chunk.spread <= state.threshold)
    fit = np.zeros(len(uncertain), dtype=np.bool_)
    fit[uncertain] = plausible(chunk.frames.positions[uncertain], state.rule.plausibility)
    fit &= np.isfinite(chunk.energy) & np.isfinite(chunk.spread)
    counts = replace(
        state.counts,
        looked_at=state.counts.looked_at + len(uncertain),
        uncertain=state.counts.uncertain + int(uncertain.sum()),
        plausible=state.counts.plausible + int(fit.sum()),
    )
    state, places, reached = _places(replace(state, counts=counts), chunk)
    picked = list[SelectedFrame]()
    for row in np.flatnonzero(fit):
        state, some = _close_windows(state, float(places[row]))
        distinct = _distinct(state, chunk, int(row))
        state, more = _decide(state, chunk, int(row), float(places[row])) if distinct else (state, ())
        picked.extend((*some, *more))
    state, some = _close_windows(state, reached)
    return state, [*picked, *some]


def _places(state: SelectorState, chunk: Segment) -> tuple[SelectorState, FloatArray, float]:
    """Return where on its way each frame is, (F,) in windows, and from where on the next ones will be."""
    rule = state.rule
    if rule.cap_order != "progress":
        places = chunk.steps * rule.windows / rule.planned_steps
        return state, places, float(chunk.steps[-1] + 1) * rule.windows / rule.planned_steps
    before = state.progress or start_progress(
        rule.bonds, float(chunk.coordinate[0]), chunk.frames.positions[0], rule.way
    )
    progress, way = advance(before, chunk.coordinate, chunk.frames.positions)
    places = way * rule.windows / rule.planned_progress
    return replace(state, progress=progress), places, float(places[-1])


def _distinct(state: SelectorState, chunk: Segment, row: int) -> bool:
    if state.kept is None:
        return True
    coordinate, energy = state.kept
    moved = not abs(chunk.coordinate[row] - coordinate) <= state.rule.similarity_distance_angstrom
    return bool(moved and abs(chunk.energy[row] - energy) > state.rule.similarity_energy_ev)


def _decide(
    state: SelectorState, chunk: Segment, row: int, place: float
) -> tuple[SelectorState, tuple[SelectedFrame, ...]]:
    """Take a candidate in.

    - `first`: picked at once while there is budget. Spends the budget where the ensemble first fails.
    - `spread`: waits until its window of the planned steps closes. Each window may spend an equal share of the cap and
      what the windows before left over, evenly over its candidates. Covers the whole path.
    - `progress`: the same with windows of the planned progress, and within one evenly over the progress. Covers what
      passes quickly, such as a bond that breaks. Assumes that the bonds of the first frame are those that may break.
    - `most-uncertain`: waits for the end; the largest spreads are picked. Assumes that the spread ranks errors.
    """
    frame = SelectedFrame(
        pull=state.pull,
        step=int(chunk.steps[row]),
        positions=chunk.frames.positions[row].copy(),
        energy=float(chunk.energy[row]),
        coordinate=float(chunk.coordinate[row]),
        spread=float(chunk.spread[row]),
    )
    counts = replace(state.counts, distinct=state.counts.distinct + 1)
    state = replace(state, kept=(frame.coordinate, frame.energy), counts=counts)
    if state.rule.cap_order != "first":
        return replace(state, pending=(*state.pending, Candidate(frame, place))), ()
    if places_left(state) <= 0:
        return state, ()
    return replace(state, counts=replace(counts, picked=counts.picked + 1)), (frame,)


def _close_windows(state: SelectorState, place: float) -> tuple[SelectorState, tuple[SelectedFrame, ...]]:
    """Decide on the open window if the pull has gone beyond it. The last window stays open until the end."""
    rule = state.rule
    window = min(int(place), rule.windows - 1)
    if rule.cap_order not in BY_WINDOW or window <= state.window:
        return state, ()
    share = (rule.cap * (state.window + 1) + rule.turn % rule.windows) // rule.windows - state.counts.picked
    picked = _share_out(rule, state.pending, share)
    passed_over = (*state.passed_over, *_without(state.pending, picked))
    counts = replace(state.counts, picked=state.counts.picked + len(picked))
    return replace(state, window=window, pending=(), passed_over=passed_over, counts=counts), picked


def _share_out(rule: SelectionRule, pending: tuple[Candidate, ...], places: int) -> tuple[SelectedFrame, ...]:
    """Return at most `places` of a window's candidates: evenly in number, or over the progress."""
    if rule.cap_order == "progress":
        return _evenly_over_places(pending, places)
    return _evenly(pending, places)


def _evenly(candidates: tuple[Candidate, ...], places: int) -> tuple[SelectedFrame, ...]:
    """Return at most `places` frames, evenly spaced: the middle one of each of as many equal stretches."""
    places = min(max(places, 0), len(candidates))
    return tuple(candidates[(2 * place + 1) * len(candidates) // (2 * places)].frame for place in range(places))


def _evenly_over_places(candidates: tuple[Candidate, ...], places: int) -> tuple[SelectedFrame, ...]:
    """Return at most `places` frames: the middle one of those in each of as many equal stretches of the way.

    What empty stretches leave over goes to the other candidates, evenly.
    """
    if places <= 0 or not candidates:
        return ()
    way = np.array([candidate.place for candidate in candidates])
    length = max(float(way[-1] - way[0]), np.finfo(np.float64).tiny)
    stretch = np.minimum(((way - way[0]) / length * places).astype(np.int64), places - 1)
    inside = [np.flatnonzero(stretch == number) for number in range(places)]
    picked = tuple(candidates[rows[len(rows) // 2]].frame for rows in inside if len(rows))
    more = _evenly(_without(candidates, picked), places - len(picked))
    return tuple(sorted((*picked, *more), key=lambda frame: frame.step))


def _without(candidates: tuple[Candidate, ...], picked: tuple[SelectedFrame, ...]) -> tuple[Candidate, ...]:
    chosen = {frame.step for frame in picked}
    return tuple(candidate for candidate in candidates if candidate.frame.step not in chosen)


def _most_uncertain(candidates: tuple[Candidate, ...], places: int) -> tuple[SelectedFrame, ...]:
    """Return at most `places` frames of the largest spread (the earlier of equals), by step."""
    ranked = sorted((candidate.frame for candidate in candidates), key=lambda frame: (-frame.spread, frame.step))
    return tuple(sorted(ranked[: max(places, 0)], key=lambda frame: frame.step))


def _after(chunk: Segment, last_step: int) -> Segment:
    """Return the frames of a segment after a step."""
    rows = np.flatnonzero(chunk.steps > last_step)
    if len(rows) == len(chunk.steps):
        return chunk
    return chunk.take(rows)
