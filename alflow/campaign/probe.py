"""Probes of what labels, training and a step of a pull take on this machine."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from alflow.acquisition.augmentation import jitter
from alflow.acquisition.seeds import generator
from alflow.acquisition.splits import random_split
from alflow.campaign.plan import Molecule
from alflow.config.campaign import CampaignSettings
from alflow.config.plugins import POTENTIALS, find_installed
from alflow.errors import LabelError
from alflow.labeling.frames import compute_checked
from alflow.labeling.guard import single_engine
from alflow.potentials import PotentialKind, Training
from alflow.types import Dataset, Frames, Group, Labels

PROBE_FRAMES = 48
PROBE_SECONDS = 20.0
PROBE_STEPS = 50


def probe_labels(settings: CampaignSettings, molecule: Molecule) -> tuple[float, Group]:
    """Label jittered copies of a molecule for a while; return the time of one label, s, and the labels."""
    engine = single_engine(settings.labels.engine, settings.labels.settings)
    rng = generator(settings.seed, 0, "probe")
    positions = jitter(molecule.positions, PROBE_FRAMES, 0.05, rng)
    compute_checked(engine, molecule.composition, molecule.positions)
    rows, energies, forces, times = [], [], [], []
    began = time.perf_counter()
    for row, structure in enumerate(positions):
        started = time.perf_counter()
        try:
            evaluation = compute_checked(engine, molecule.composition, structure)
        except LabelError:
            continue
        times.append(time.perf_counter() - started)
        rows.append(row)
        energies.append(evaluation.energy)
        forces.append(evaluation.forces)
        if len(rows) > 1 and time.perf_counter() - began > PROBE_SECONDS:
            break
    frames = Frames(molecule.composition, positions[rows])
    return float(np.median(times)), Group(frames, Labels(np.array(energies), np.array(forces)))


def probe_training(settings: CampaignSettings, probes: Sequence[Group]) -> tuple[float, float]:
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
        model = ensemble.force_model(probe.frames.composition, "mean", threads=1)
        model(probe.frames.positions[0])
        started = time.perf_counter()
        for step in range(PROBE_STEPS):
            model(probe.frames.positions[step % len(probe.frames)])
        steps.append((time.perf_counter() - started) / PROBE_STEPS + 2e-5)
    trained = len(splits[0].train)
    return max(times[2] - times[1], 1e-6) / (5 * trained), float(np.mean(steps))
