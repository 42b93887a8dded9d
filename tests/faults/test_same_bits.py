"""The same bits whether kernels are compiled now or come from the cache, and whatever a process did before.

A campaign that is gone on with runs in other processes than the undisturbed one: its first training may already be
done, its kernels are compiled by then.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import hashlib, sys
from pathlib import Path
import numpy as np
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.potentials.ani.settings import ANISettings, ANITrainingSettings
from alflow.labeling import make_engine
from alflow.labeling.engines.sleep import pair_model
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.training.trainer import train_ensemble
from alflow.structures import alkane
from alflow.types import Dataset, Frames, Group, Labels, Split

ethane = alkane(2)
shifts = np.random.default_rng(0).uniform(-0.1, 0.1, (40, *ethane.positions[0].shape))
frames = Frames(ethane.composition, ethane.positions[0] + shifts)
saved = Path(sys.argv[1])
hashes = {}

def note(name, *arrays):
    hashes[name] = hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()

def train():
    energies, forces = zip(*(pair_model(frames.numbers, positions) for positions in frames.positions))
    data = Dataset((Group(frames, Labels(np.array(energies), np.array(forces))),))
    split = Split(np.arange(32), np.arange(32, 40))
    ensemble, _ = train_ensemble(
        data, [split, split], ANITrainingSettings(epochs=2, device="cpu"), ANISettings(), seed=(1, 2), members=[0, 1],
        initial=None, checkpoint=None, threads=1,
    )
    if not saved.exists():
        ensemble.save(saved)
    model = ensemble.force_model(frames.composition, "mean", threads=1)
    note("trained", *(model(positions).forces for positions in frames.positions))

def pull():
    model = ANIEnsemble.load(saved).force_model(frames.composition, "mean", threads=1)
    found = [model(positions) for positions in frames.positions]
    note("pulled", [one.energy for one in found], [one.forces for one in found], [one.spread for one in found])

def label():
    engine = make_engine("dftb3", DFTB3Settings())
    found = [engine.compute(frames.composition, positions) for positions in frames.positions[:5]]
    note("labels", [one.energy for one in found], [one.forces for one in found])

for step in sys.argv[2:]:
    {"train": train, "pull": pull, "label": label}[step]()
for name in sorted(hashes):
    print(name, hashes[name])
"""


def run(folder: Path, *steps: str) -> dict[str, str]:
    variables = {**os.environ, "NUMBA_CACHE_DIR": str(folder / "cache"), "TORCHANI_NO_WARN_EXTENSIONS": "1"}
    variables |= dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")
    command = [sys.executable, "-c", SCRIPT, str(folder / "ensemble.pt"), *steps]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    return dict(line.split() for line in done.stdout.splitlines())


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_fresh_cached_and_in_another_order(tmp_path) -> None:
    fresh = run(tmp_path, "train", "pull", "label")
    assert sorted(fresh) == ["labels", "pulled", "trained"]
    assert run(tmp_path, "train", "pull", "label") == fresh
    assert run(tmp_path, "label", "pull", "train") == fresh
    assert run(tmp_path, "pull") == {"pulled": fresh["pulled"]}
