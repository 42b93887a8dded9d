"""Recipes of docs/programs.md, as they stand there, on molecules of two or three atoms and with smaller bases."""

from __future__ import annotations

import os
import shutil
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from docpages import ROOT, blocks

from alflow.errors import LabelError
from alflow.labeling.engines.calculators import load
from alflow.labeling.guard import GuardedEngine
from alflow.types import Composition

H2 = np.array([1, 1])
HYDROGEN = np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 0.80]])
H2O = np.array([8, 1, 1])
WATER = np.array([[0.0, 0.0, 0.12], [0.0, 0.80, -0.48], [0.0, -0.76, -0.48]])
PSEUDOPOTENTIALS = Path("/usr/share/espresso/pseudo")
STEP_ANGSTROM = 0.01


@dataclass(frozen=True)
class Recipe:
    """How a recipe is tried."""

    by_hand: Callable[[int, int], dict[str, Any]]
    """Returns the arguments, beside those of the recipe, with which ASE is given a charge and a multiplicity."""
    program: str = ""
    """What has to be on the PATH."""
    numbers: np.ndarray = field(default_factory=lambda: H2)
    positions: np.ndarray = field(default_factory=lambda: HYDROGEN)
    smaller: dict[str, Any] = field(default_factory=dict)
    """Arguments in the place of those of the recipe, for speed."""
    box_angstrom: float | None = None
    moments: bool = False
    """Whether the spin is that of the moments."""
    spins: tuple[tuple[int, int], ...] = ((0, 1), (1, 2), (0, 3))
    """Charges and multiplicities."""


PWSCF = {
    "control": {"tprnfor": True},
    "system": {"ecutwfc": 16.0, "ecutrho": 64.0, "nspin": 2, "assume_isolated": "martyna-tuckerman"},
    "electrons": {"conv_thr": 1e-9},
}


def espresso(charge: int, multiplicity: int) -> dict[str, Any]:
    spin = {"tot_charge": charge, "tot_magnetization": multiplicity - 1}
    return {"input_data": PWSCF | {"system": PWSCF["system"] | spin}}


DFT = {"xc": "hfexch", "grid": "coarse", "convergence": {"energy": 1e-8}}
RECIPES = {
    "ase.calculators.nwchem.NWChem": Recipe(
        lambda charge, multiplicity: {"charge": charge, "dft": {**DFT, "mult": multiplicity}},
        "nwchem", smaller={"basis": "sto-3g", "dft": DFT},
    ),
    "ase.calculators.cp2k.CP2K": Recipe(
        lambda charge, multiplicity: {"charge": charge, "multiplicity": multiplicity},
        "cp2k_shell.psmp", box_angstrom=5.0, spins=((0, 1), (1, 2)),
        smaller={"basis_set": "SZV-MOLOPT-SR-GTH", "cutoff": 1800.0},
    ),
    "ase.calculators.espresso.Espresso": Recipe(
        espresso, "pw.x", box_angstrom=5.0, spins=((0, 1), (1, 2)),
        smaller={"pseudopotentials": {"H": "H.blyp-vbc.UPF"}, "input_data": PWSCF},
    ),
    "ase.calculators.mopac.MOPAC": Recipe(
        lambda charge, _: {"charge": charge}, "mopac", numbers=H2O, positions=WATER, moments=True,
    ),
    "tblite.ase.TBLite": Recipe(
        lambda charge, multiplicity: {"charge": charge, "multiplicity": multiplicity}, numbers=H2O, positions=WATER,
    ),
    "mace.calculators.MACECalculator": Recipe(lambda *_: {}, numbers=H2O, positions=WATER, spins=((0, 1),)),
}  # fmt: skip
WRITTEN = {
    tomllib.loads(block.text)["labels"]["settings"]["calculator"]: tomllib.loads(block.text)["labels"]["settings"]
    for block in blocks(ROOT / "docs" / "programs.md")
    if block.language == "toml"
}


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Iterator[Path]:
    """Make a folder with what ASE and the programs want to find, and stay there."""
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "tmp").mkdir()
    (folder / "config.ini").write_text(f"[espresso]\ncommand = pw.x\npseudo_dir = {PSEUDOPOTENTIALS}\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ASE_CONFIG_PATH", str(folder / "config.ini"))
        patch.setenv("TMPDIR", str(folder / "tmp"))
        patch.setattr("tempfile.tempdir", None)
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setattr("ase.calculators.genericfileio.GenericFileIOCalculator.cfg", own_configuration())
        patch.chdir(folder)
        yield folder


def own_configuration() -> Any:
    from ase.config import Config

    return Config.read()


def require(name: str, recipe: Recipe) -> None:
    pytest.importorskip(name.partition(".")[0])
    if recipe.program and shutil.which(recipe.program) is None:
        pytest.skip(f"the program {recipe.program} is not on the PATH")
    if recipe.program == "pw.x" and not PSEUDOPOTENTIALS.is_dir():
        pytest.skip(f"the pseudopotentials of quantum-espresso-data are not in {PSEUDOPOTENTIALS}")
    if name.startswith("mace"):
        write_teacher(Path("teacher.model"))


def write_teacher(path: Path) -> None:
    """Write a small MACE model with weights at random."""
    import torch
    from e3nn import o3
    from mace import modules

    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        blocks_of = modules.interaction_classes
        model = modules.ScaleShiftMACE(
            r_max=3.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=1, num_interactions=1, num_elements=2,
            interaction_cls=blocks_of["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=blocks_of["RealAgnosticInteractionBlock"],
            hidden_irreps=o3.Irreps("4x0e"), MLP_irreps=o3.Irreps("4x0e"), gate=torch.nn.functional.silu,
            atomic_energies=np.array([-13.0, -430.0]), avg_num_neighbors=2.0, atomic_numbers=[1, 8], correlation=1,
            atomic_inter_scale=1.0, atomic_inter_shift=0.0,
        )  # fmt: skip
        torch.save(model, path)
    finally:
        torch.set_default_dtype(before)


def by_hand(settings: dict[str, Any], recipe: Recipe, charge: int, multiplicity: int, folder: Path) -> Atoms:
    """Return the molecule with ASE's calculator, given a charge and a spin as one does without alflow."""
    atoms = Atoms(recipe.numbers, recipe.positions)
    if recipe.box_angstrom:
        atoms.cell, atoms.pbc = [recipe.box_angstrom] * 3, settings.get("box_periodic", False)
        atoms.positions += recipe.box_angstrom / 2 - atoms.positions.mean(axis=0)
    if recipe.moments:
        atoms.set_initial_magnetic_moments([multiplicity - 1, *[0] * (len(atoms) - 1)])
    arguments = settings["arguments"] | recipe.by_hand(charge, multiplicity)
    folder.mkdir()
    os.chdir(folder)
    atoms.calc = load(settings["calculator"])(**arguments)
    return atoms


def settings_of(name: str, place: Path, **others: Any) -> dict[str, Any]:
    """Return the settings of a recipe, with smaller arguments and others in their place."""
    recipe, written = RECIPES[name], WRITTEN[name]
    require(name, recipe)
    settings = written | {"arguments": written["arguments"] | recipe.smaller | others, "kept_failures": 0}
    if recipe.box_angstrom:
        settings["box_angstrom"] = recipe.box_angstrom
    if name.startswith("mace"):
        settings["arguments"]["model_paths"] = str(place / "teacher.model")
    return settings


HOPELESS = {
    "ase.calculators.nwchem.NWChem": {"dft": DFT | {"iterations": 1}},
    "ase.calculators.cp2k.CP2K": {"max_scf": 1},
    "ase.calculators.espresso.Espresso": {"input_data": PWSCF | {"electrons": {"electron_maxstep": 1}}},
    "ase.calculators.mopac.MOPAC": {"task": "1SCF GRADIENTS ITRY=1"},
    "tblite.ase.TBLite": {"max_iterations": 2},
}
"""Arguments with which a program cannot converge."""


@pytest.mark.parametrize("name", HOPELESS)
def test_a_program_that_did_not_converge_gives_no_label(place, name):
    recipe = RECIPES[name]
    engine = GuardedEngine("ase", settings_of(name, place, **HOPELESS[name]), 300.0)
    with pytest.raises(LabelError) as caught:
        engine.compute(Composition(recipe.numbers), recipe.positions)
    engine.close()
    assert caught.value.reason == "not-converged", caught.value


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_gives_what_the_program_gives_by_hand(place, name):
    recipe, settings = RECIPES[name], settings_of(name, place)
    engine = GuardedEngine("ase", settings, 300.0)
    energies = []
    for charge, multiplicity in recipe.spins:
        composition = Composition(recipe.numbers, charge, multiplicity)
        label = engine.compute(composition, recipe.positions)
        folder = place / f"{name}-{charge}-{multiplicity}"
        try:
            atoms = by_hand(settings, recipe, charge, multiplicity, folder)
            assert label.forces == pytest.approx(atoms.get_forces(), abs=1e-4)
            assert label.energy == pytest.approx(consistent(atoms), abs=1e-5)
        finally:
            os.chdir(place)
        energies.append(label.energy)
        if (charge, multiplicity) == (0, 1):
            require_slope(engine, composition, recipe.positions, label.forces)
    engine.close()
    assert len({round(energy, 2) for energy in energies}) == len(energies)


def consistent(atoms: Atoms) -> float:
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except Exception:  # noqa: BLE001 - calculators without a free energy say so in several ways
        return float(atoms.get_potential_energy())


def require_slope(engine: GuardedEngine, composition: Composition, positions: np.ndarray, forces: np.ndarray) -> None:
    """Hold the force along the last coordinate of the last atom against a central difference."""
    sides = []
    for step in (STEP_ANGSTROM, -STEP_ANGSTROM):
        moved = positions.copy()
        moved[-1, 2] += step
        sides.append(engine.compute(composition, moved).energy)
    slope = (sides[0] - sides[1]) / (2 * STEP_ANGSTROM)
    assert forces[-1, 2] == pytest.approx(-slope, abs=0.03 + 0.01 * abs(slope))


def test_every_recipe_is_run_or_stands_among_those_that_are_not():
    page = (ROOT / "docs" / "programs.md").read_text()
    run, not_run = page.split("## Recipes that are not run")
    for name in WRITTEN:
        assert (f'"{name}"' in run) == (name in RECIPES), name
        assert (f'"{name}"' in not_run) == (name not in RECIPES), name
    assert RECIPES.keys() <= WRITTEN.keys()
