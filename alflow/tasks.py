"""What runs on workers: thin functions whose arguments and results can be pickled.

Each is wrapped so that it reports where and when it ran. Engines and potentials are made once a worker and kept.
"""

from __future__ import annotations

import functools
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

import numpy as np

from alflow import lifeline
from alflow.canary import Canary, prove
from alflow.config.campaign import PotentialSettings
from alflow.config.sampling import MDSettings, PullSettings, RelaxSettings
from alflow.config.training import TrainingSettings
from alflow.errors import EngineLostError, LabelError
from alflow.types import (
    Dataset,
    Evaluation,
    FloatArray,
    ForceModel,
    IntArray,
    LabelEngine,
    MDState,
    Member,
    Segment,
    Split,
)

LOST = ("timeout", "engine-crash", "out-of-memory")
"""Reasons that say nothing of a structure when they come once."""

GUARD_START_S = 900.0
"""Longest time that a guarded engine may need beside a label: to end a child and to make another, s."""

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Report:
    """Where and when a task ran."""

    host: str
    pid: int
    started: float
    """Unix time, s."""
    ended: float


@dataclass(frozen=True)
class Outcome:
    """What a task returned, and its report."""

    value: Any
    report: Report


@dataclass(frozen=True)
class EngineModel:
    """A label engine as the driver of a trajectory, and what its worker has to know to make it."""

    engine: str
    settings: dict[str, Any]
    timeout_s: float = 0.0
    """Longest time of one structure, in a child process that can be ended, s; 0: no child process."""
    memory_gb: float | None = None
    """Largest address space of the child process, GB."""
    canary: tuple[Any, ...] | None = None
    """Fields of the `Canary` that the engine has to pass before it is used."""


@dataclass(frozen=True)
class EnsembleModel:
    """A trained ensemble as the driver of a trajectory."""

    path: str
    driver: int | Literal["mean"]


ModelReference = EngineModel | EnsembleModel


@dataclass(frozen=True)
class EarlyStop:
    """Ends a pull whose spread has left all that the ensemble knows."""

    spread_ev: float
    records: int
    """Records in a row that have to lie above `spread_ev`."""


@dataclass
class _Kept:
    """Engines and potentials of one worker thread."""

    engines: dict[str, LabelEngine] = field(default_factory=dict)
    ensembles: dict[tuple[str, int], Any] = field(default_factory=dict)


_kept = threading.local()


def reported(function: Callable[P, T]) -> Callable[P, Outcome]:
    """Wrap a task so that it returns an `Outcome`, and takes `silence_s`: see `lifeline.watched`."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> Outcome:
        silence_s = float(str(kwargs.pop("silence_s", 0.0)))
        started = time.time()
        with lifeline.watched(silence_s):
            value = function(*args, **kwargs)
        return Outcome(value, Report(socket.gethostname(), os.getpid(), started, time.time()))

    run.watched = True  # type: ignore[attr-defined]
    return run


def threads() -> int:
    """Return how many threads the site gives this worker (OMP_NUM_THREADS; 1 if unset)."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))


def engine_of(model: EngineModel) -> LabelEngine:
    """Return this worker's engine; it is made, and has to prove itself, at the first call.

    Raises:
        CanaryError: it labels a known structure wrongly, or far too slowly.
    """
    kept = _keep()
    if model.timeout_s:
        lifeline.at_least(model.timeout_s + GUARD_START_S)
    key = json.dumps([model.engine, model.settings, model.timeout_s, model.memory_gb], sort_keys=True)
    if key not in kept.engines:
        engine = lifeline.LivelyEngine(_make_engine(model))
        if model.canary is not None:
            prove(engine, Canary(*model.canary))
        kept.engines[key] = engine
    return kept.engines[key]


def insist(
    engine: LabelEngine, numbers: IntArray, positions: FloatArray, charge: int, start: FloatArray | None
) -> Evaluation:
    """Compute one structure of a trajectory; ask once more where the engine hung or died.

    A crowded node is not the structure's fault, and a trajectory that ended there would not be the undisturbed one.

    Raises:
        EngineLostError: it hung or died both times.
        LabelError: what the engine says of the structure.
    """
    try:
        return engine.compute(numbers, positions, charge, start)
    except LabelError as error:
        if error.reason not in LOST:
            raise
    try:
        return engine.compute(numbers, positions, charge, start)
    except LabelError as error:
        if error.reason not in LOST:
            raise
        raise EngineLostError(
            f"A trajectory needs every structure; one could not be had in two tries: {error}"
        ) from error


def _make_engine(model: EngineModel) -> LabelEngine:
    from alflow.config.campaign import ENGINE_SETTINGS  # noqa: PLC0415
    from alflow.labeling import make_engine  # noqa: PLC0415
    from alflow.labeling.guard import GuardedEngine  # noqa: PLC0415

    if model.timeout_s:
        return GuardedEngine(model.engine, model.settings, model.timeout_s, model.memory_gb)
    return make_engine(model.engine, ENGINE_SETTINGS[model.engine].model_validate(model.settings))


def _keep() -> _Kept:
    if not hasattr(_kept, "value"):
        _kept.value = _Kept()
    value: _Kept = _kept.value
    return value


def _ensemble(path: str) -> Any:
    from alflow.potentials import load_potential  # noqa: PLC0415

    kept = _keep()
    key = (path, os.stat(path).st_mtime_ns)  # noqa: PTH116
    if key not in kept.ensembles:
        kept.ensembles.clear()
        kept.ensembles[key] = load_potential(Path(path))
    return kept.ensembles[key]


def _force_model(model: ModelReference, numbers: IntArray, charge: int) -> ForceModel:
    if isinstance(model, EngineModel):
        engine = engine_of(model)

        def forces(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
            return insist(engine, numbers, positions, charge, start)

        return forces
    return lifeline.lively(_ensemble(model.path).force_model(numbers, model.driver, threads=1))


@reported
def label(
    engine: str,
    settings: dict[str, Any],
    numbers: Sequence[int],
    positions: FloatArray,
    charge: int = 0,
    timeout_s: float = 0.0,
    memory_gb: float | None = None,
    canary: tuple[Any, ...] | None = None,
) -> dict[str, Any]:
    """Label (F, A, 3) Å; plain arguments and a plain result, so that it travels between versions.

    Args:
        engine: name of the label engine.
        settings: of the engine.
        numbers: (A,) atomic numbers.
        positions: (F, A, 3) Å.
        charge: total charge.
        timeout_s: see `EngineModel`.
        memory_gb: see `EngineModel`.
        canary: see `EngineModel`.

    Returns:
        rows (N,), energies (N,) eV, forces (N, A, 3) eV/Å, failures [(frame, reason, detail, host)], seconds (F,),
        cycles (F,), theory.
    """
    from alflow.labeling import label_frames  # noqa: PLC0415
    from alflow.types import Frames  # noqa: PLC0415

    worker = engine_of(EngineModel(engine, settings, timeout_s, memory_gb, canary))
    frames = Frames(np.asarray(numbers, dtype=np.int64), np.ascontiguousarray(positions, dtype=np.float64), int(charge))
    batch = label_frames(worker, frames)
    return {
        "rows": batch.rows,
        "energies": batch.labels.energies,
        "forces": batch.labels.forces,
        "failures": [(f.frame, f.reason, f.detail, f.host) for f in batch.failures],
        "seconds": batch.seconds,
        "cycles": batch.cycles,
        "theory": worker.theory,
    }


@reported
def first_state(numbers: IntArray, positions: FloatArray, temperature_k: float, seed: tuple[int, ...]) -> MDState:
    """Draw velocities for a structure."""
    from alflow.sampling.md import initial_state  # noqa: PLC0415
    from alflow.types import Frames  # noqa: PLC0415

    return initial_state(Frames(numbers, positions[None]), temperature_k, np.random.default_rng(seed))


@reported
def md_segment(
    model: ModelReference,
    numbers: IntArray,
    previous: Outcome | MDState,
    settings: MDSettings,
    steps: int,
    seed: int,
    charge: int = 0,
) -> Segment:
    """Run one segment of molecular dynamics from where the last one ended."""
    from alflow.sampling.md import run_md  # noqa: PLC0415

    return run_md(
        _force_model(model, numbers, charge), numbers, _state(previous), settings, steps=steps, seed=seed, charge=charge
    )


@reported
def relax(
    model: ModelReference,
    numbers: IntArray,
    positions: FloatArray,
    pair: tuple[int, int],
    settings: RelaxSettings,
    seed: tuple[int, ...],
    charge: int = 0,
) -> MDState:
    """Relax a structure before it is pulled."""
    from alflow.sampling.md import relax as run_relax  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    return run_relax(_force_model(model, numbers, charge), numbers, positions, settings, rng, pair=pair)


@reported
def pull_segment(
    model: ModelReference,
    numbers: IntArray,
    previous: Outcome | MDState,
    pair: tuple[int, int],
    settings: PullSettings,
    steps: int,
    early_stop: EarlyStop | None = None,
    charge: int = 0,
) -> Segment:
    """Run one segment of a pull from where the last one ended; an ended pull stays ended."""
    from alflow.sampling.smd import pull_segment as run_segment  # noqa: PLC0415
    from alflow.sampling.smd import start_pull  # noqa: PLC0415

    if isinstance(previous, Outcome) and isinstance(previous.value, Segment) and previous.value.stopped:
        last = previous.value
        return replace(empty_segment(last), end=last.end, stopped=last.stopped)
    state = _state(previous)
    if state.spring is None:
        state = start_pull(state, pair, settings)
    watch = _SpreadWatch(early_stop, state.above) if early_stop is not None else None
    segment = run_segment(
        _force_model(model, numbers, charge), numbers, state, pair, settings, steps=steps, stop=watch, charge=charge
    )
    if watch is not None:
        segment = replace(segment, end=replace(segment.end, above=watch.above))
    return segment if isinstance(model, EngineModel) else replace(segment, forces=None)


@dataclass
class _SpreadWatch:
    """Ends a pull once the spread was above the bound for so many records in a row, through all its segments."""

    rule: EarlyStop
    above: int

    def __call__(self, step: int, evaluation: Evaluation) -> str:
        from alflow.learning.stopping import StopRule, leaves_the_known  # noqa: PLC0415

        bound = StopRule(self.rule.spread_ev, self.rule.records)
        ends, self.above = leaves_the_known(np.array([evaluation.spread]), bound, self.above)
        if ends is None:
            return ""
        return f"at step {step} the spread was above {bound.bound:.3f} eV for {bound.consecutive} records in a row"


def empty_segment(like: Segment) -> Segment:
    """Return a segment without frames, of the same molecule."""
    none = slice(0, 0)
    arrays = {name: getattr(like, name)[none] for name in SEGMENT_ARRAYS}
    return replace(like, frames=like.frames.take(none), forces=None, **arrays)


SEGMENT_ARRAYS = ("steps", "time", "target_distance", "distance", "energy", "work", "spread", "temperature")


def _state(previous: Outcome | MDState) -> MDState:
    value = previous.value if isinstance(previous, Outcome) else previous
    state: MDState = value.end if isinstance(value, Segment) else value
    return state


@reported
def train(
    dataset: str,
    splits: Sequence[Split],
    members: Sequence[int],
    potential: PotentialSettings,
    training: TrainingSettings,
    seed: tuple[int, ...],
    initial: str | None,
    target: str,
) -> tuple[Member, ...]:
    """Train some members of an ensemble on a dataset file; write weights to `target`, and errors beside it (.json)."""
    from alflow.potentials import train_potential  # noqa: PLC0415
    from alflow.rundir import load_dataset, save_members, write_atomically  # noqa: PLC0415

    data: Dataset = load_dataset(Path(dataset))
    file = Path(target)
    note = file.with_suffix(".progress")

    def show(epoch: int, epochs: int) -> None:
        lifeline.alive()
        write_atomically(note, f"{epoch} {epochs}".encode())

    ensemble, trained = train_potential(
        data,
        splits,
        potential,
        training,
        seed=seed,
        members=members,
        initial=Path(initial) if initial else None,
        checkpoint=file.with_suffix(".checkpoint"),
        threads=threads(),
        progress=show,
    )
    temporary = file.with_name(file.name + ".part")
    ensemble.save(temporary)
    save_members(file.with_suffix(".json"), trained)
    temporary.replace(file)
    note.unlink(missing_ok=True)
    return trained
