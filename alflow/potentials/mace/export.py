"""A member of an ensemble as a file of mace-torch's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import torch

from alflow.files.whole import whole_file
from alflow.potentials.bounds import check_driver
from alflow.potentials.mace.architecture import Architecture
from alflow.potentials.mace.ensemble import MACEEnsemble
from alflow.potentials.mace.foundation import ENERGIES_OF_ATOMS


def write_model(ensemble: MACEEnsemble, member: int, path: Path) -> None:
    """Write a member as `mace.calculators.MACECalculator` reads it: the network whole, in double precision.

    Energies of atoms are in it, so what it gives are total energies. In double precision nothing of them is lost.

    Raises:
        InputError: there is no such member.
    """
    check_driver(member, ensemble.members)
    architecture = Architecture(ensemble.architecture.arguments, "double")
    weights = {name: value.double() for name, value in ensemble.weights[member].items()}
    weights[ENERGIES_OF_ATOMS] = torch.from_numpy(np.array(ensemble.self_energies[member])[None])
    made = io.BytesIO()
    torch.save(architecture.module(weights, scripted=True), made)
    with whole_file(path) as file:
        file.write(made.getbuffer())
