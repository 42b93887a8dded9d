"""Forecast of what a campaign will cost, from a short probe on this machine: nothing is submitted."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.campaign.budget import planned
from alflow.campaign.plan import Plan, segment_lengths
from alflow.campaign.probe import probe_labels, probe_training
from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import POTENTIALS, find
from alflow.farm.chunks import chunk_sizes
from alflow.potentials import PotentialKind
from alflow.runs.records import IterationRecord


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
) -> Forecast:
    """Probe labels, training and a pull's step on this machine, and multiply.

    Args:
        plan: of the campaign.
        say: told what is going on.
        measured_label_seconds: of a label of the first molecule where the campaign will run; the probe's own if not
            given.
    """
    say("Probing labels, training and the pull on this machine ...")
    settings = plan.settings
    times, probes = zip(*(probe_labels(settings, molecule) for molecule in plan.molecules), strict=True)
    label_seconds, slowest = float(np.mean(times)), max(times)
    if measured_label_seconds is not None:
        label_seconds, slowest = (each * measured_label_seconds / times[0] for each in (label_seconds, slowest))
    frame_epoch_seconds, step_seconds = probe_training(settings, probes)
    return Forecast(
        settings.name,
        len(_labels(plan)),
        _stages(plan, label_seconds, step_seconds, frame_epoch_seconds, slowest / label_seconds),
        label_seconds,
        step_seconds,
        frame_epoch_seconds,
    )


def forecast_from_first_iteration(
    plan: Plan, label_seconds: float, first: IterationRecord, events: Iterable[Mapping[str, Any]]
) -> Forecast | None:
    """Multiply what the first iteration took; None if it holds no pull or no training.

    Args:
        plan: of the campaign.
        label_seconds: measured time of one label.
        first: record of the first iteration.
        events: lines of the event log.
    """
    settings, seconds = plan.settings, {"train": 0.0, "pull-segment": 0.0, "pull-segments": 0.0}
    for event in events:
        if event["what"] in seconds and event.get("iteration") == 0 and event.get("outcome") == "ok":
            seconds[event["what"]] += event["ended"] - event["started"]
    pulls = seconds["pull-segment"] + seconds["pull-segments"]
    if not pulls or not seconds["train"]:
        return None
    epochs = _epochs(settings, carried_over=False)
    frame_epoch = seconds["train"] / (epochs * first.labels * settings.split.train_fraction)
    step = pulls / (len(first.stopped) * settings.sampling.pull.steps)
    stages = _stages(plan, label_seconds, step, frame_epoch)
    return Forecast(settings.name, len(_labels(plan)), stages, label_seconds, step, frame_epoch)


def _epochs(settings: CampaignSettings, *, carried_over: bool) -> int:
    """Return the epochs of a training of the campaign's kind of potential."""
    kind: PotentialKind[Any] = find(POTENTIALS, settings.potential.kind)
    return kind.epochs(settings.potential.settings, carried_over=carried_over)


def _stages(
    plan: Plan,
    label_seconds: float,
    step_seconds: float,
    frame_epoch_seconds: float,
    slowest: float = 1.0,
) -> tuple[Stage, ...]:
    """Multiply; `slowest`: how much longer a label of the slowest molecule takes than the mean."""
    settings, specs, found = plan.settings, plan.pulls, len(plan.molecules)
    md = settings.first_data.md
    md_steps = md.steps + md.equilibration_steps
    md_tasks = len(segment_lengths(md_steps, settings.first_data.segment_steps))
    first = found * (md.steps // md.stride)
    relax = settings.sampling.relax.langevin_steps + settings.sampling.relax.berendsen_steps
    steps = settings.sampling.pull.steps
    segments = len(segment_lengths(steps, settings.sampling.pull.segment_steps))
    new = _labels(plan)
    iterations = len(new)
    chunks = [
        chunk_sizes(each, 8, label_seconds, settings.labels.task_seconds, settings.labels.frames_per_task)
        for each in new
    ]
    carried = settings.training.start == "carried-over"
    trained = sum(
        _epochs(settings, carried_over=carried and iteration > 0)
        * (first + sum(new[:iteration]))
        * settings.split.train_fraction
        for iteration in range(iterations)
    )
    # The ensemble relaxes the molecule in a task of its own before each pull, unless the label engine did.
    before = relax if settings.sampling.relax_with == "potential" else 0
    pulls = _pulls(plan, iterations)
    pull_tasks, pull_steps = pulls * (segments + bool(before)), pulls * (steps + before)
    groups = -(-settings.split.members // (settings.training.members_per_task or settings.split.members))
    training = trained * frame_epoch_seconds
    stages = [
        Stage(
            "first data (steps)",
            "cpu",
            found * md_tasks,
            found * md_steps,
            found * md_steps * label_seconds,
            md_steps * label_seconds * slowest,
        ),
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
            sum(new),
            sum(new) * label_seconds,
            sum(max(each, default=0) for each in chunks) * label_seconds,
        ),
    ]
    if settings.sampling.reference or settings.sampling.relax_with == "label-engine":
        pulled = steps if settings.sampling.reference else 0
        each = relax + pulled
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


def _labels(plan: Plan) -> list[int]:
    """Return the labels that each iteration asks for; a budget may end a campaign before its last planned one."""
    if plan.settings.labels.budget is None:
        return [plan.settings.selection.cap * (1 + plan.settings.augmentation.copies)] * plan.settings.iterations
    return [given.labels(plan, iteration) for iteration, given in enumerate(planned(plan))]


def _pulls(plan: Plan, iterations: int) -> int:
    """Return the pulls of all iterations, of which as few certify as the goal takes, the last ones."""
    settings, replicas = plan.settings, plan.settings.sampling.replicas
    needed = {"never": 1, "change": settings.stop.iterations + 1}.get(settings.stop.stop_when, settings.stop.iterations)
    certifying = min(needed, iterations)
    each = certifying * replicas.certify + (iterations - certifying) * replicas.search
    return each * len(plan.systems)
