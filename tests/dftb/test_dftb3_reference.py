"""Frames computed with DFTB+ 24.1: energies, forces, charges, eigenvalues. Maxima by tag with ``pytest -s``."""

import os
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from ase.io import read

from alflow.labeling.engines.dftb3 import DFTB3Engine
from alflow.labeling.kinds.dftb import DFTB3Settings
from alflow.types import Composition

SLICE = Path(__file__).parent.parent / "data" / "dftb3_reference.extxyz"


def maxima_by_tag(path):
    engines, maxima = {}, defaultdict(lambda: np.zeros(5))
    for atoms in read(path, ":"):
        temperature = float(atoms.info["electronic_temperature_K"])
        if temperature not in engines:
            engines[temperature] = DFTB3Engine(DFTB3Settings(electronic_temperature_k=temperature))
        details = engines[temperature].details(Composition(atoms.numbers, int(atoms.info["charge"])), atoms.positions)
        errors = (
            details.energy - atoms.info["mermin_energy_eV"],
            details.energy - details.parts.entropy - atoms.info["total_energy_eV"],
            details.forces - atoms.arrays["dftb_forces"],
            details.charges - atoms.arrays["mulliken_charges"],
            details.eigenvalues - atoms.info["eigenvalues_eV"],
        )
        tag = atoms.info["tag"].split(":")[0]
        maxima[tag] = np.maximum(maxima[tag], [np.abs(error).max() for error in errors])
    return maxima


def check(maxima):
    table = f"\n{'tag':20s}{'Mermin eV':>12s}{'total eV':>12s}{'force eV/Å':>12s}{'charge e':>12s}{'level eV':>12s}\n"
    for tag, errors in maxima.items():
        table += f"{tag:20s}" + "".join(f"{error:12.1e}" for error in errors) + "\n"
    sys.stdout.write(table)
    for tag, (mermin, total, force, charge, level) in maxima.items():
        assert mermin <= 1e-5, tag
        assert total <= 1e-4, tag  # first order in the occupations, unlike the free energy
        assert force <= 1e-4, tag
        assert charge <= 1e-5, tag
        assert level <= 1e-4, tag


WHOLE = os.environ.get("ALFLOW_DFTB_REFERENCE")
"""A file with more reference frames, if there is one."""


@pytest.mark.parametrize("path", [SLICE, *([WHOLE] if WHOLE else [])], ids=lambda path: Path(path).stem)
def test_reference_frames_are_met(path):
    maxima = maxima_by_tag(path)
    assert len(maxima) == 9
    check(maxima)
