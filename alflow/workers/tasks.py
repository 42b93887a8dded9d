"""Tasks that run on workers: thin functions whose arguments and results can be pickled."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from alflow.config.campaign import PotentialSettings
from alflow.config.sampling import MDSettings, PullSettings, RelaxSettings
from alflow.errors import InputError
from alflow.types import Assessment, Composition, Dataset, FloatArray, MDState, Member, Segment, Split
from alflow.workers import heartbeat
from alflow.workers.models import (
    LOST,
    EngineModel,
    EnsembleModel,
    ModelReference,
    batched_force_model,
    engine_of,
    ensemble_of,
    force_model,
    verify_again,
    with_base,
)
from alflow.workers.reply import LabelReply
from alflow.workers.result import App, Outcome, reported

if TYPE_CHECKING:
    from alflow.acquisition.stopping import EarlyStop
    from alflow.sampling.steering import SteeringReference


State = MDState | Outcome[MDState] | Outcome[Segment]
"""Where a stretch of a trajectory starts: a state, or what the task before returned."""
Batched = State | Segment | Outcome[tuple[Segment, ...]]
"""Where one of several goes on: a state or a segment; or what the task before returned for all of them."""


def threads() -> int:
    """Return how many threads the site gives this worker (OMP_NUM_THREADS; 1 if unset)."""
    return max(1, int(os.environ.get("OMP_NUM_THREADS", "1").split(",")[0]))


@reported
def label(
    engine: str,
    settings: dict[str, Any],
    composition: Composition,
    positions: FloatArray,
    timeout_s: float = 0.0,
    memory_gb: float | None = None,
    canary: tuple[Any, ...] | None = None,
) -> dict[str, Any]:
    """Label frames of one composition; the result is plain, so that it travels between versions.

    Args:
        engine: name of the label engine.
        settings: of the engine.
        composition: of A atoms.
        positions: (F, A, 3) Å.
        timeout_s: see `EngineModel`.
        memory_gb: see `EngineModel`.
        canary: see `EngineModel`.

    Returns:
        What `LabelReply.unpack` takes.

    Raises:
        CanaryError: this worker labels a known structure wrongly, far too slowly or not at all.
    """
    from alflow.labeling.frames import label_frames  # noqa: PLC0415
    from alflow.types import Frames  # noqa: PLC0415

    model = EngineModel(engine, settings, timeout_s, memory_gb, canary)
    worker = engine_of(model)
    frames = Frames(composition, np.ascontiguousarray(positions, dtype=np.float64))
    batch = label_frames(worker, frames)
    if batch.failures and not len(batch.rows) and all(failure.reason in LOST for failure in batch.failures):
        verify_again(model)
    return LabelReply(batch, worker.theory).pack()


@reported
def first_state(
    composition: Composition, positions: FloatArray, temperature_k: float, seed: tuple[int, ...]
) -> MDState:
    """Draw velocities for a structure."""
    from alflow.sampling.md import initial_state  # noqa: PLC0415
    from alflow.types import Frames  # noqa: PLC0415

    return initial_state(Frames(composition, positions[None]), temperature_k, np.random.default_rng(seed))


@reported
def md_segment(
    model: ModelReference,
    composition: Composition,
    previous: State,
    settings: MDSettings,
    steps: int,
    seed: int,
) -> Segment:
    """Run one segment of molecular dynamics from where the last one ended."""
    from alflow.sampling.md import run_md  # noqa: PLC0415

    forces = force_model(model, composition)
    return run_md(forces, composition, _state(previous), settings, steps=steps, seed=seed)


@reported
def relax(
    model: ModelReference,
    composition: Composition,
    positions: FloatArray,
    steered: tuple[int, ...],
    settings: RelaxSettings,
    seed: tuple[int, ...],
) -> MDState:
    """Relax a structure before it is pulled; one that is relaxed with the label engine must reach its end."""
    from alflow.sampling.md import relax as run_relax  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    forces, forgiving = force_model(model, composition), isinstance(model, EnsembleModel)
    return run_relax(forces, composition, positions, settings, rng, steered=steered, forgiving=forgiving)


@reported
def relax_for_others(
    model: ModelReference,
    composition: Composition,
    positions: FloatArray,
    steered: tuple[int, ...],
    settings: RelaxSettings,
    seed: tuple[int, ...],
) -> MDState:
    """Relax a structure from which another theory goes on, which can make nothing of where this one's engine stood."""
    from alflow.sampling.md import relax as run_relax  # noqa: PLC0415

    rng = np.random.default_rng(seed)
    forces = force_model(model, composition)
    return replace(run_relax(forces, composition, positions, settings, rng, steered=steered), start=None)


@reported
def pull_segment(
    model: ModelReference,
    composition: Composition,
    previous: State,
    steering: SteeringReference,
    settings: PullSettings,
    steps: int,
    early_stop: EarlyStop | None = None,
    noise: int = 0,
) -> Segment:
    """Run one segment of a pull from where the last one ended; an ended pull stays ended."""
    from alflow.acquisition.stopping import EarlyStopCounter  # noqa: PLC0415
    from alflow.sampling.steered import pull_segment as run_segment  # noqa: PLC0415
    from alflow.sampling.steered import start_pull  # noqa: PLC0415

    if isinstance(previous, Outcome) and isinstance(previous.value, Segment) and previous.value.stopped:
        last = previous.value
        return replace(empty_segment(last), end=last.end, stopped=last.stopped)
    state, acting = _state(previous), steering.bind(settings)
    if state.steering is None:
        state = start_pull(state, acting)
    watch = EarlyStopCounter(early_stop, state.above) if early_stop is not None else None
    forces = force_model(model, composition)
    segment = run_segment(forces, composition, state, acting, settings, steps=steps, stop=watch, noise=noise)
    if watch is not None:
        segment = replace(segment, end=replace(segment.end, above=watch.above))
    return segment if isinstance(model, EngineModel) else replace(segment, forces=None)


@reported
def pull_segments(
    model: EnsembleModel,
    composition: Composition,
    steering: SteeringReference,
    settings: PullSettings,
    steps: int,
    *previous: Batched,
) -> tuple[Segment, ...]:
    """Run one segment of several pulls together, on this worker's GPU if it has one; an ended pull stays ended.

    Args:
        model: drives them.
        composition: of the molecule.
        steering: along the coordinate `distance`.
        settings: of the pulls.
        steps: number of steps.
        previous: where each pull goes on; or, alone, what the segment before returned for all of them.

    Raises:
        InputError: the steering is along another coordinate.
    """
    from alflow.potentials.devices import accelerator  # noqa: PLC0415
    from alflow.potentials.threads import torch_threads  # noqa: PLC0415
    from alflow.sampling.batched import pull_together  # noqa: PLC0415
    from alflow.sampling.coordinates.distance import Distance  # noqa: PLC0415
    from alflow.sampling.steered import start_pull  # noqa: PLC0415

    acting = steering.bind(settings)
    if not isinstance(acting, Distance):
        raise InputError(f"Pulls advance together along the coordinate 'distance' alone; got {type(acting).__name__}.")
    starts = _each(previous)
    going = [item for item in starts if not (isinstance(item, Segment) and item.stopped)]
    states = [item.end if isinstance(item, Segment) else item for item in going]
    states = [start_pull(state, acting) if state.steering is None else state for state in states]
    pulled: Iterator[Segment] = iter(())
    if states:
        with torch_threads(threads()):
            forces = batched_force_model(model, composition, accelerator())
            done = pull_together(forces, composition, states, acting, settings, steps=steps, alive=heartbeat.beat)
        pulled = iter(done.segments)
    return tuple(
        replace(empty_segment(item), end=item.end, stopped=item.stopped)
        if isinstance(item, Segment) and item.stopped
        else replace(next(pulled), forces=None)
        for item in starts
    )


def _each(previous: tuple[Batched, ...]) -> list[MDState | Segment]:
    """Return where each of several pulls goes on."""
    values = [item.value if isinstance(item, Outcome) else item for item in previous]
    if len(values) == 1 and isinstance(values[0], tuple):
        return list(values[0])
    return [value for value in values if not isinstance(value, tuple)]


def empty_segment(like: Segment) -> Segment:
    """Return a segment without frames, of the same molecule."""
    return replace(like.take(slice(0)), forces=None)


def _state(previous: State) -> MDState:
    value = previous.value if isinstance(previous, Outcome) else previous
    return value.end if isinstance(value, Segment) else value


@reported
def train(
    dataset: str,
    splits: Sequence[Split],
    members: Sequence[int],
    potential: PotentialSettings,
    seed: tuple[int, ...],
    initial: str | None,
    target: str,
) -> tuple[Member, ...]:
    """Train some members of an ensemble on a dataset file; write weights to `target`, and errors beside it (.json)."""
    from alflow.config.plugins import POTENTIALS, find_installed  # noqa: PLC0415
    from alflow.files.whole import write_atomically  # noqa: PLC0415
    from alflow.potentials import PotentialKind, Training  # noqa: PLC0415
    from alflow.runs.directory import load_dataset, save_members  # noqa: PLC0415

    data: Dataset = load_dataset(Path(dataset))
    file = Path(target)
    note = file.with_suffix(".progress")

    def show(epoch: int, epochs: int) -> None:
        heartbeat.beat()
        write_atomically(note, f"{epoch} {epochs}".encode())

    training = Training(
        seed=seed,
        members=tuple(members),
        initial=Path(initial) if initial else None,
        checkpoint=file.with_suffix(".checkpoint"),
        threads=threads(),
        progress=show,
    )
    kind: PotentialKind[Any] = find_installed(POTENTIALS, potential.kind)
    ensemble, trained = kind.train(data, splits, potential.settings, training)
    temporary = file.with_name(file.name + ".part")
    ensemble.save(temporary)
    save_members(file.with_suffix(".json"), trained)
    temporary.replace(file)
    note.unlink(missing_ok=True)
    return trained


@reported
def assess(model: EnsembleModel, composition: Composition, positions: FloatArray) -> Assessment:
    """Evaluate frames of one composition, (F, A, 3) Å, that are known already: each member, and the features."""
    from alflow.potentials.uncertainty import features_of  # noqa: PLC0415
    from alflow.types import Frames  # noqa: PLC0415

    ensemble, frames = ensemble_of(model), Frames(composition, positions)
    energies, forces = with_base(model, frames, *ensemble.evaluate(frames, threads()))
    heartbeat.beat()
    features = features_of(ensemble, frames)
    return Assessment(energies, forces, features.values, linear=features.linear)


LABEL = App("label", "cpu", label, retried_by_caller=True, priority=0)
MD_SEGMENT = App("md-segment", "cpu", md_segment)
FIRST_STATE = App("first-state", "cpu", first_state)
RELAX = App("relax", "cpu", relax)
RELAX_WITH_BASE = App("relax-with-base", "cpu", relax_for_others)
REFERENCE_SEGMENT = App("reference-segment", "cpu", pull_segment, priority=2)  # no iteration waits to go on for it
RELAX_WITH_POTENTIAL = RELAX.on("gpu", "relax-with-potential")
PULL_SEGMENT = REFERENCE_SEGMENT.on("gpu", "pull-segment")
PULL_SEGMENTS = App("pull-segments", "gpu", pull_segments)
TRAIN = App("train", "gpu", train)
ASSESS = App("assess", "gpu", assess, priority=0)
