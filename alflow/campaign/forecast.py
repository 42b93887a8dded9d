"""Forecast of what a campaign will cost, from a short probe on this machine: nothing is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.campaign.basetheory import Base
from alflow.campaign.budget import planned
from alflow.campaign.plan import Plan, segment_lengths
from alflow.campaign.probe import probe_labels, probe_training
from alflow.campaign.startdata import GivenData
from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import POTENTIALS, find
from alflow.farm.chunks import chunk_sizes
from alflow.potentials import PotentialKind
from alflow.runs.records import IterationRecord


@dataclass(frozen=True)
class Start:
    """What a campaign starts from in place of molecular dynamics with the label engine."""

    structures: int = 0
    """To be labelled."""
    labels: int = 0
    """That are there."""
    relax_step_seconds: float = 0.0
    """Of a relaxation by the engine of the base."""
    pull_step_seconds: float = 0.0
    """Of that engine in a pull, where it is added to the ensemble."""

    @classmethod
    def of(cls, settings: CampaignSettings, given: GivenData, base: Base | None) -> Start:
        """Return what a campaign starts from."""
        chosen = settings.base.structures if settings.base is not None else 0
        read = given.labels.structures if given.labels is not None else ()
        labels = sum(one.energy is not None for one in read)
        seconds = base.start_seconds if base is not None else 0.0
        return cls(given.frames + chosen, labels, seconds, seconds if base is not None and base.adds else 0.0)


@dataclass(frozen=True)
class Stage:
    """Tasks of one kind over the whole campaign."""

    name: str
    executor: str
    tasks: int
    units: int
    """Frames, steps or labels, as `name` says."""
    seconds: float
    """Worker-seconds."""
    serial_seconds: float
    """Time on the campaign's critical path with as many workers as tasks."""


@dataclass(frozen=True)
class Forecast:
    """Cost of a campaign by stage."""

    campaign: str
    iterations: int
    stages: tuple[Stage, ...]
    label_seconds: float
    step_seconds: float
    frame_epoch_seconds: float

    def seconds(self, executor: str) -> float:
        """Return the worker-seconds on one executor."""
        return sum(stage.seconds for stage in self.stages if stage.executor == executor)

    def wall_seconds(self, cpu_workers: int, gpu_workers: int) -> float:
        """Return the wall time with so many workers: no stage is quicker than its longest chain of tasks."""
        workers = {"cpu": cpu_workers, "gpu": gpu_workers}
        wall = {stage.name: max(stage.serial_seconds, stage.seconds / workers[stage.executor]) for stage in self.stages}
        # Reference pulls run beside the first training and the first pull; the first iteration waits for their end.
        reference = sum(wall.pop(name) for name in list(wall) if name.startswith("reference"))
        beside = sum(wall[name] for name in wall if name.startswith(("training", "pull"))) / self.iterations
        return sum(wall.values()) + max(0.0, reference - beside)


def forecast(
    plan: Plan,
    say: Callable[[str], None] = lambda _: None,
    measured_label_seconds: float | None = None,
    start: Start = Start(),
) -> Forecast:
    """Probe labels, training and a pull's step on this machine, and multiply.

    Args:
        plan: of the campaign.
        say: told what is going on.
        measured_label_seconds: of a label of the first molecule where the campaign will run; the probe's own if not
            given.
        start: what it starts from.
    """
    say("Probing labels, training and the pull on this machine ...")
    settings = plan.settings
    times, probes = zip(*(probe_labels(settings, molecule) for molecule in plan.molecules), strict=True)
    label_seconds, slowest = float(np.mean(times)), max(times)
    if measured_label_seconds is not None:
        label_seconds, slowest = (each * measured_label_seconds / times[0] for each in (label_seconds, slowest))
    frame_epoch_seconds, step_seconds = probe_training(settings, probes)
    step_seconds += start.pull_step_seconds
    return Forecast(
        settings.name,
        len(_labels(plan, start)),
        _stages(plan, start, label_seconds, step_seconds, frame_epoch_seconds, slowest / label_seconds),
        label_seconds,
        step_seconds,
        frame_epoch_seconds,
    )


def forecast_from_first_iteration(
    plan: Plan,
    label_seconds: float,
    first: IterationRecord,
    events: Iterable[Mapping[str, Any]],
    start: Start = Start(),
) -> Forecast | None:
    """Multiply what the first iteration took; None if it holds no pull or no training.

    Args:
        plan: of the campaign.
        label_seconds: measured time of one label.
        first: record of the first iteration.
        events: lines of the event log.
        start: what it started from.
    """
    settings, seconds = plan.settings, {"train": 0.0, "pull-segment": 0.0, "pull-segments": 0.0}
    for event in events:
        if event["what"] in seconds and event.get("iteration") == 0 and event.get("outcome") == "ok":
            seconds[event["what"]] += event["ended"] - event["started"]
    pulls = seconds["pull-segment"] + seconds["pull-segments"]
    if not pulls or not seconds["train"]:
        return None
    epochs = _epochs(settings, carried_over=_transfers(settings))
    frame_epoch = seconds["train"] / (epochs * first.labels * settings.split.train_fraction)
    step = pulls / (len(first.stopped) * settings.sampling.pull.steps)
    stages = _stages(plan, start, label_seconds, step, frame_epoch)
    return Forecast(settings.name, len(_labels(plan, start)), stages, label_seconds, step, frame_epoch)


def _epochs(settings: CampaignSettings, *, carried_over: bool) -> int:
    """Return the epochs of a training of the campaign's kind of potential."""
    kind: PotentialKind[Any] = find(POTENTIALS, settings.potential.kind)
    return kind.epochs(settings.potential.settings, carried_over=carried_over)


def _transfers(settings: CampaignSettings) -> bool:
    """Say whether the first training starts from weights of another theory."""
    transfers = settings.base is not None and settings.base.use == "transfer"
    return transfers or settings.training.weights is not None


def _first_data(plan: Plan, label_seconds: float, slowest: float) -> Stage:
    """Return the molecular dynamics with the label engine."""
    settings, md, found = plan.settings.first_data, plan.settings.first_data.md, len(plan.molecules)
    steps = md.steps + md.equilibration_steps
    tasks, serial = len(segment_lengths(steps, settings.segment_steps)), steps * label_seconds * slowest
    return Stage("first data (steps)", "cpu", found * tasks, found * steps, found * steps * label_seconds, serial)


def _relaxations(plan: Plan, step_seconds: float) -> Stage:
    """Return the relaxations by the engine of the base."""
    relax, pulls = plan.settings.sampling.relax, len(plan.pulls)
    steps = relax.langevin_steps + relax.berendsen_steps
    return Stage("relaxation (steps)", "cpu", pulls, pulls * steps, pulls * steps * step_seconds, steps * step_seconds)


def _stages(
    plan: Plan,
    start: Start,
    label_seconds: float,
    step_seconds: float,
    frame_epoch_seconds: float,
    slowest: float = 1.0,
) -> tuple[Stage, ...]:
    """Multiply; `slowest`: how much longer a label of the slowest molecule takes than the mean."""
    settings, specs = plan.settings, plan.pulls
    md, dynamics = settings.first_data.md, settings.starts_from_dynamics
    first = len(plan.molecules) * (md.steps // md.stride) if dynamics else start.structures + start.labels
    relax = settings.sampling.relax.langevin_steps + settings.sampling.relax.berendsen_steps
    steps = settings.sampling.pull.steps
    segments = len(segment_lengths(steps, settings.sampling.pull.segment_steps))
    new = _labels(plan, start)
    iterations = len(new)
    chunks = [
        chunk_sizes(each, 8, label_seconds, settings.labels.task_seconds, settings.labels.frames_per_task)
        for each in (start.structures, *new)
    ]
    carried = settings.training.start == "carried-over"
    trained = sum(
        _epochs(settings, carried_over=(carried and iteration > 0) or _transfers(settings))
        * (first + sum(new[:iteration]))
        * settings.split.train_fraction
        for iteration in range(iterations)
    )
    # The ensemble relaxes the molecule in a task of its own before each pull, unless an engine did.
    before = relax if settings.sampling.relax_with == "potential" else 0
    pulls = _pulls(plan, iterations)
    pull_tasks, pull_steps = pulls * (segments + bool(before)), pulls * (steps + before)
    groups = -(-settings.split.members // (settings.training.members_per_task or settings.split.members))
    training = trained * frame_epoch_seconds
    stages = [
        *([_first_data(plan, label_seconds, slowest)] if dynamics else []),
        Stage("training (frames × epochs)", "gpu", groups * iterations, int(trained), training, training / groups),
        Stage(
            "pull (steps)",
            "gpu",
            pull_tasks,
            pull_steps,
            pull_steps * step_seconds,
            (steps + before) * iterations * step_seconds,
        ),
        Stage(
            "labels",
            "cpu",
            sum(map(len, chunks)),
            sum(new) + start.structures,
            (sum(new) + start.structures) * label_seconds,
            sum(max(each, default=0) for each in chunks) * label_seconds,
        ),
    ]
    if settings.sampling.relax_with == "base":
        stages.append(_relaxations(plan, start.relax_step_seconds))
    if settings.sampling.reference or settings.sampling.relax_with == "label-engine":
        pulled = steps if settings.sampling.reference else 0
        each = (relax if settings.sampling.relax_with != "base" else 0) + pulled
        tasks = len(specs) * (1 + (segments if settings.sampling.reference else 0))
        stages.append(
            Stage(
                "reference (steps)",
                "cpu",
                tasks,
                len(specs) * each,
                len(specs) * each * label_seconds,
                # Those of the replicas that only certify come later, at once, too.
                each * label_seconds * slowest * (1 + settings.sampling.replicas.differ),
            )
        )
    return tuple(stages)


def _labels(plan: Plan, start: Start) -> list[int]:
    """Return the labels that each iteration asks for; a budget may end a campaign before its last planned one."""
    if plan.settings.labels.budget is None:
        return [plan.settings.selection.cap * (1 + plan.settings.augmentation.copies)] * plan.settings.iterations
    return [given.labels(plan, iteration) for iteration, given in enumerate(planned(plan, start.structures))]


def _pulls(plan: Plan, iterations: int) -> int:
    """Return the pulls of all iterations, of which as few certify as the goal takes, the last ones."""
    settings, replicas = plan.settings, plan.settings.sampling.replicas
    needed = {"never": 1, "change": settings.stop.iterations + 1}.get(settings.stop.stop_when, settings.stop.iterations)
    certifying = min(needed, iterations)
    each = certifying * replicas.certify + (iterations - certifying) * replicas.search
    return each * len(plan.systems)
