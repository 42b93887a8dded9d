"""What a campaign will cost, from a short probe on this machine: nothing is submitted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alflow.acquisition.augmentation import jitter
from alflow.acquisition.seeds import generator
from alflow.acquisition.splits import random_split
from alflow.campaign.plan import Molecule, molecules, pulls, segment_lengths
from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import POTENTIALS, find, find_installed
from alflow.display.tables import Sheet
from alflow.errors import LabelError
from alflow.execution.sites import Capacity
from alflow.farm.chunks import chunk_sizes
from alflow.labeling import make_engine
from alflow.labeling.frames import compute_checked
from alflow.potentials import PotentialKind, Training
from alflow.types import Dataset, Frames, Group, Labels

PROBE_FRAMES = 48
PROBE_SECONDS = 20.0
PROBE_STEPS = 50


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
    settings: CampaignSettings,
    say: Callable[[str], None] = lambda _: None,
    measured_label_seconds: float | None = None,
) -> Forecast:
    """Probe labels, training and a pull's step on this machine, and multiply.

    Args:
        settings: of the campaign.
        say: told what is going on.
        measured_label_seconds: of a label of the first molecule where the campaign will run; the probe's own if not
            given.
    """
    say("Probing labels, training and the pull on this machine ...")
    times, probes = zip(*(_probe_labels(settings, molecule) for molecule in molecules(settings)), strict=True)
    label_seconds, slowest = float(np.mean(times)), max(times)
    if measured_label_seconds is not None:
        label_seconds, slowest = (each * measured_label_seconds / times[0] for each in (label_seconds, slowest))
    frame_epoch_seconds, step_seconds = _probe_training(settings, probes)
    return Forecast(
        settings.name,
        settings.iterations,
        _stages(settings, label_seconds, step_seconds, frame_epoch_seconds, slowest / label_seconds),
        label_seconds,
        step_seconds,
        frame_epoch_seconds,
    )


def forecast_from_first_iteration(
    settings: CampaignSettings, label_seconds: float, labels: int, events: Iterable[Mapping[str, Any]]
) -> Forecast | None:
    """Multiply what the first iteration took; None if it holds no pull or no training.

    Args:
        settings: of the campaign.
        label_seconds: measured time of one label.
        labels: that the first ensemble learnt from.
        events: lines of the event log.
    """
    seconds = {"train": 0.0, "pull-segment": 0.0}
    for event in events:
        if event["what"] in seconds and event.get("iteration") == 0 and event.get("outcome") == "ok":
            seconds[event["what"]] += event["ended"] - event["started"]
    if not all(seconds.values()):
        return None
    epochs = _epochs(settings, carried_over=False)
    frame_epoch = seconds["train"] / (epochs * labels * settings.split.train_fraction)
    step = seconds["pull-segment"] / (len(pulls(settings)) * settings.sampling.pull.steps)
    stages = _stages(settings, label_seconds, step, frame_epoch)
    return Forecast(settings.name, settings.iterations, stages, label_seconds, step, frame_epoch)


def _probe_labels(settings: CampaignSettings, molecule: Molecule) -> tuple[float, Group]:
    engine = make_engine(settings.labels.engine, settings.labels.settings)
    rng = generator(settings.seed, 0, "probe")
    positions = jitter(molecule.positions, PROBE_FRAMES, 0.05, rng)
    compute_checked(engine, molecule.numbers, molecule.positions, molecule.charge)
    rows, energies, forces, times = [], [], [], []
    began = time.perf_counter()
    for row, structure in enumerate(positions):
        started = time.perf_counter()
        try:
            evaluation = compute_checked(engine, molecule.numbers, structure, molecule.charge)
        except LabelError:
            continue
        times.append(time.perf_counter() - started)
        rows.append(row)
        energies.append(evaluation.energy)
        forces.append(evaluation.forces)
        if len(rows) > 1 and time.perf_counter() - began > PROBE_SECONDS:
            break
    frames = Frames(molecule.numbers, positions[rows], molecule.charge)
    return float(np.median(times)), Group(frames, Labels(np.array(energies), np.array(forces)))


def _epochs(settings: CampaignSettings, *, carried_over: bool) -> int:
    """Return the epochs of a training of the campaign's kind of potential."""
    kind: PotentialKind[Any] = find(POTENTIALS, settings.potential.kind)
    return kind.epochs(settings.potential.settings, carried_over=carried_over)


def _probe_training(settings: CampaignSettings, probes: Sequence[Group]) -> tuple[float, float]:
    """Return seconds a frame and epoch for the whole ensemble, and seconds a step of the pull, means over molecules."""
    dataset = Dataset(tuple(probes))
    rng = generator(settings.seed, 0, "probe", 1)
    splits = [random_split(len(dataset), settings.split.train_fraction, rng) for _ in range(settings.split.members)]
    kind: PotentialKind[Any] = find_installed(POTENTIALS, settings.potential.kind)
    times, ensemble = [], None
    for epochs in (1, 1, 6):
        chosen = kind.with_epochs(settings.potential.settings, epochs)
        started = time.perf_counter()
        ensemble, _ = kind.train(dataset, splits, chosen, Training())
        times.append(time.perf_counter() - started)
    assert ensemble is not None
    steps = []
    for probe in probes:
        model = ensemble.force_model(probe.frames.numbers, "mean", threads=1)
        model(probe.frames.positions[0])
        started = time.perf_counter()
        for step in range(PROBE_STEPS):
            model(probe.frames.positions[step % len(probe.frames)])
        steps.append((time.perf_counter() - started) / PROBE_STEPS + 2e-5)
    trained = len(splits[0].train)
    return max(times[2] - times[1], 1e-6) / (5 * trained), float(np.mean(steps))


def _stages(
    settings: CampaignSettings,
    label_seconds: float,
    step_seconds: float,
    frame_epoch_seconds: float,
    slowest: float = 1.0,
) -> tuple[Stage, ...]:
    """Multiply; `slowest`: how much longer a label of the slowest molecule takes than the mean."""
    specs, md = pulls(settings), settings.first_data.md
    found = len(molecules(settings))
    md_steps = md.steps + md.equilibration_steps
    md_tasks = len(segment_lengths(md_steps, settings.first_data.segment_steps))
    first = found * (md.steps // md.stride)
    relax = settings.sampling.relax.langevin_steps + settings.sampling.relax.berendsen_steps
    steps = settings.sampling.pull.steps
    segments = len(segment_lengths(steps, settings.sampling.pull.segment_steps))
    new = settings.selection.cap * (1 + settings.augmentation.copies)
    iterations = settings.iterations
    chunks = chunk_sizes(new, 8, label_seconds, settings.labels.task_seconds, settings.labels.frames_per_task)
    carried = settings.training.start == "carried-over"
    trained = sum(
        _epochs(settings, carried_over=carried and iteration > 0)
        * (first + iteration * new)
        * settings.split.train_fraction
        for iteration in range(iterations)
    )
    # The ensemble relaxes the molecule in a task of its own before each pull, unless the label engine did.
    before = relax if settings.sampling.relax_with == "potential" else 0
    pull_tasks, pull_steps = len(specs) * (segments + bool(before)), len(specs) * (steps + before)
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
            pull_tasks * iterations,
            pull_steps * iterations,
            pull_steps * iterations * step_seconds,
            (steps + before) * iterations * step_seconds,
        ),
        Stage(
            "labels",
            "cpu",
            len(chunks) * iterations,
            new * iterations,
            new * iterations * label_seconds,
            iterations * max(chunks, default=0) * label_seconds,
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
                each * label_seconds * slowest,
            )
        )
    return tuple(stages)


def forecast_table(found: Forecast, capacity: Mapping[str, Capacity]) -> Sheet:
    """Return the plan and its cost on a site as a table.

    Args:
        found: the forecast.
        capacity: workers and nodes of the executors "cpu" and "gpu".
    """
    wall = found.wall_seconds(capacity["cpu"].workers, capacity["gpu"].workers)
    table = Sheet(
        ("stage", "executor"),
        ("tasks", "an iteration", "amount", "worker-seconds", "node-hours"),
        title=f"Plan of {found.campaign}: {found.iterations} iterations",
        caption=(
            f"probe: {found.label_seconds * 1e3:.1f} ms a label, {found.step_seconds * 1e3:.2f} ms a pull step, "
            f"{found.frame_epoch_seconds * 1e6:.0f} µs a frame and epoch (ensemble).\n"
            f"Wall time about {wall / 60:.1f} min with {capacity['cpu'].workers} cpu and {capacity['gpu'].workers} gpu "
            "workers like this one. Nothing was submitted."
        ),
    )
    for stage in found.stages:
        once = stage.name.startswith(("first", "reference"))
        each = "once" if once else f"{stage.tasks / found.iterations:.0f}"
        hours = capacity[stage.executor].node_hours(stage.seconds)
        table.add(
            stage.name,
            stage.executor,
            str(stage.tasks),
            each,
            str(stage.units),
            f"{stage.seconds:.0f}",
            f"{hours:.3g}",
        )
    return table
