"""A folder in which the commands of the documentation can be typed: short campaigns, a finished run, structures."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import ase.io
import commandline
import pytest
from ase import Atoms
from ase.build import molecule
from shortcampaigns import CONFIGS, campaign_files, write_short

from alflow.structures import alkane


@dataclass(frozen=True)
class Desk:
    """The folder, and the command line in it."""

    folder: Path

    def alflow(self, *words: str) -> str:
        """Run a command that has to succeed; return what it printed."""
        with mock.patch.dict(os.environ, {"PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}"}):
            code, out, err = commandline.alflow(self.folder, *words)
        assert code == 0, f"alflow {' '.join(words)} ended with {code}: {err or out}"
        return out

    def python(self, code: str, place: str) -> dict[str, object]:
        """Run a piece of Python in the folder, with hexane as its `atoms`; return its names."""
        names: dict[str, object] = {"atoms": hexane()}
        with contextlib.chdir(self.folder):
            exec(compile(code, place, "exec"), names)
        return names


def hexane() -> Atoms:
    """Return hexane as ASE has it."""
    frames = alkane(6)
    return Atoms(frames.numbers, frames.positions[0])


@pytest.fixture(scope="session")
def desk(tmp_path_factory) -> Desk:
    """Return the folder: campaigns in configs/, frames.xyz, molecule.xyz, and the finished run runs/quickstart."""
    folder = tmp_path_factory.mktemp("desk")
    for source in campaign_files():
        iterations = 4 if source.stem == "quickstart" else 1  # pages name a file of its iteration 3
        overrides = ("sampling.replicas=2", f"iterations={iterations}")
        write_short(source, folder / "configs" / source.relative_to(CONFIGS), *overrides)
    stretched = hexane()
    stretched.rattle(0.02, seed=1)
    ase.io.write(folder / "frames.xyz", [hexane(), stretched], format="extxyz")
    for scheduler in ("qdel", "qstat", "qsub", "sbatch", "scancel", "squeue"):  # a plan looks whether they are there
        program = folder / "bin" / scheduler
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    ase.io.write(folder / "molecule.xyz", molecule("C6H6"), format="extxyz")
    found = Desk(folder)
    found.alflow("run", "configs/quickstart.toml", "--site", "local")
    return found
