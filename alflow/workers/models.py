"""Force models of trajectories: a label engine or a trained ensemble, made once a worker and kept."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from alflow.errors import EngineLostError, InputError, LabelError
from alflow.labeling.frames import label_frames, sound
from alflow.labeling.protocol import LabelEngine
from alflow.types import Composition, Evaluation, FloatArray, ForceModel, Frames
from alflow.workers import heartbeat
from alflow.workers.selftest import Canary, self_test_error, verify

if TYPE_CHECKING:
    import torch

    from alflow.potentials import Ensemble
    from alflow.sampling.batched import Batchable, BatchedForceModel

LOST = ("timeout", "engine-crash", "out-of-memory", "engine-error")
"""Reasons that say nothing of a structure when they come once."""

GUARD_START_S = 900.0
"""Longest time that a guarded engine may need beside a label: to end a child and to make another, s."""


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
    base: EngineModel | None = None
    """A label engine whose difference to the labels the ensemble learnt: it is added."""


ModelReference = EngineModel | EnsembleModel


@dataclass
class _Kept:
    """Engines and potentials of one worker thread."""

    engines: dict[str, LabelEngine] = field(default_factory=dict)
    ensembles: dict[tuple[str, int], Any] = field(default_factory=dict)


_kept = threading.local()


def engine_of(model: EngineModel) -> LabelEngine:
    """Return this worker's engine; it is made, and has to verify itself, at the first call.

    Raises:
        CanaryError: it labels a known structure wrongly, or far too slowly.
    """
    kept = _keep()
    if model.timeout_s:
        heartbeat.at_least(model.timeout_s + GUARD_START_S)
    key = json.dumps([model.engine, model.settings, model.timeout_s, model.memory_gb], sort_keys=True)
    if key not in kept.engines:
        try:
            engine = heartbeat.HeartbeatEngine(_make_engine(model))
        except (InputError, OSError) as error:
            if model.canary is None:
                raise
            raise self_test_error(f"no engine ({error})") from error  # the driver could make one
        if model.canary is not None:
            verify(engine, Canary(*model.canary))
        kept.engines[key] = engine
    return kept.engines[key]


def verify_again(model: EngineModel) -> None:
    """Have this worker's engine label the known structure once more: nothing it was asked for had a label.

    Raises:
        CanaryError: the fault is the worker's.
    """
    if model.canary is not None:
        verify(engine_of(model), Canary(*model.canary))


def compute_with_retry(
    engine: LabelEngine, composition: Composition, positions: FloatArray, start: FloatArray | None
) -> Evaluation:
    """Compute one structure of a trajectory; ask once more where the engine hung, died or failed by itself.

    A crowded node is not the structure's fault, and a trajectory that ended there would not be the undisturbed one.

    Raises:
        EngineLostError: it hung, died or failed both times.
        LabelError: what the engine says of the structure.
    """
    try:
        return sound(engine.compute(composition, positions, start), composition.numbers)
    except LabelError as error:
        if error.reason not in LOST:
            raise
    try:
        return sound(engine.compute(composition, positions, start), composition.numbers)
    except LabelError as error:
        if error.reason not in LOST:
            raise
        raise EngineLostError(
            f"A trajectory needs every structure; one could not be had in two tries: {error}"
        ) from error


def _make_engine(model: EngineModel) -> LabelEngine:
    from alflow.labeling import launch, make_engine  # noqa: PLC0415
    from alflow.labeling.guard import GuardedEngine  # noqa: PLC0415

    if model.timeout_s:
        return GuardedEngine(model.engine, model.settings, model.timeout_s, model.memory_gb)
    launch.settle()
    return make_engine(model.engine, model.settings)


def _keep() -> _Kept:
    if not hasattr(_kept, "value"):
        _kept.value = _Kept()
    value: _Kept = _kept.value
    return value


def ensemble_of(model: EnsembleModel) -> Ensemble:
    """Return this worker's ensemble; it is read at the first call."""
    from alflow.potentials import load_potential  # noqa: PLC0415

    kept = _keep()
    key = (model.path, os.stat(model.path).st_mtime_ns)  # noqa: PTH116
    if key not in kept.ensembles:
        kept.ensembles.clear()
        kept.ensembles[key] = load_potential(Path(model.path))
    found: Ensemble = kept.ensembles[key]
    return found


def force_model(model: ModelReference, composition: Composition) -> ForceModel:
    """Return a function from positions to energy and forces that gives a sign of life at each call."""
    if isinstance(model, EngineModel):
        return _engine_forces(model, composition)
    learnt = heartbeat.with_heartbeat(ensemble_of(model).force_model(composition, model.driver, threads=1))
    return learnt if model.base is None else _sum_of(learnt, _engine_forces(model.base, composition))


def _engine_forces(model: EngineModel, composition: Composition) -> ForceModel:
    engine = engine_of(model)

    def forces(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        try:
            return compute_with_retry(engine, composition, positions, start)
        except EngineLostError:
            verify_again(model)
            raise

    return forces


def _sum_of(learnt: ForceModel, base: ForceModel) -> ForceModel:
    """Return the sum of an ensemble and an engine; it starts from what the engine starts from."""

    def forces(positions: FloatArray, start: FloatArray | None = None) -> Evaluation:
        own, more = base(positions, start), learnt(positions)
        return replace(own, energy=own.energy + more.energy, forces=own.forces + more.forces, spread=more.spread)

    return forces


def with_base(model: EnsembleModel, frames: Frames, energies: FloatArray, forces: FloatArray) -> tuple[FloatArray, ...]:
    """Return the members' energies (M, F) and forces (M, F, A, 3) with those of the engine that the ensemble adds to.

    Raises:
        LabelError: the engine has none of a frame.
    """
    if model.base is None:
        return energies, forces
    batch = label_frames(engine_of(model.base), frames)
    for failure in batch.failures:
        raise LabelError(failure.reason, failure.detail)
    return energies + batch.labels.energies, forces + batch.labels.forces


def batched_force_model(
    model: EnsembleModel, composition: Composition, device: torch.device | None
) -> BatchedForceModel:
    """Return what drives several trajectories together, on a device or, without one, on the CPU."""
    import torch  # noqa: PLC0415 - torch is heavy

    ensemble = cast("Batchable", ensemble_of(model))  # the settings refuse a kind that has no such route
    return ensemble.batched_force_model(composition, model.driver, device or torch.device("cpu"))
