"""Labels by any calculator that follows ASE's interface, named in the campaign file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from alflow.errors import InputError, LabelError
from alflow.labeling.engines.calculators import (
    anchored,
    check_directory,
    close,
    failure_of,
    load,
    package_version,
    put_into,
    require_calculator,
)
from alflow.labeling.engines.convergence import unconverged
from alflow.labeling.engines.folders import Keeping, WorkFolder, new_label_folder, remove, scratch
from alflow.labeling.frames import sound, theory_hash, told
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.types import Composition, Evaluation, FloatArray

SAME_ANGSTROM = 1e-3
"""Largest distance of an atom from where it was asked for; programs print and read back rounded coordinates."""


class ASEEngine:
    """A calculator class, or a function that returns a calculator, and its keyword arguments.

    A calculator is made anew for each structure, in a clean folder: many start from what they computed last or find
    in their folder, and a label must depend on its structure alone.
    """

    def __init__(self, settings: ASECalculatorSettings, work: Path | None = None) -> None:
        """Find the class and make a calculator once.

        Args:
            settings: what is made, and where it works.
            work: a folder of this process alone, whose working directory is then this engine's to change. None where
                the process has other threads: calculators get a folder by their attribute `directory` only.

        Raises:
            InputError: there is no such calculator, or it refuses its arguments.
        """
        self._settings = settings
        self._alone = work is not None
        self._work = work
        self._own_work: WorkFolder | None = None
        check_directory(settings.arguments)
        self._start = _working_directory()
        self._keeping = Keeping.of(settings)
        self._class = load(settings.calculator)
        if work is not None:
            _move_into(work)
        try:
            made = self._make()
        except (Exception, SystemExit) as error:
            raise InputError(
                f"A calculator must accept its arguments; {settings.calculator} refused {settings.arguments}: "
                f"{told(error)}"
            ) from error
        require_calculator(settings.calculator, made)
        close(made)

    @property
    def theory(self) -> str:
        """Fingerprint of the class, its arguments and its package's version."""
        settings = self._settings.model_dump(mode="json", include={"calculator", "arguments"})
        return theory_hash({"engine": "ase", "version": package_version(self._settings.calculator), **settings})

    def compute(
        self,
        composition: Composition,
        positions: FloatArray,
        start: FloatArray | None = None,  # noqa: ARG002 - always a cold start
    ) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms; a charge, or a spin other than the lowest, only if the calculator's arguments
                (`charge`, `multiplicity`) say the same.
            positions: (A, 3) Å.
            start: not used.

        Raises:
            LabelError: the calculator does not converge, fails, was not given this charge or spin, or gives no energy
                and forces of this structure. Names the folder with its files.
        """
        self._check(composition)
        folder = new_label_folder(self._work_folder())
        try:
            with self._inside(folder):
                return self._label(Atoms(numbers=composition.numbers, positions=positions), folder)
        except LabelError as error:
            raise LabelError(error.reason, error.detail + self._keeping.keep(folder)) from error
        finally:
            remove(folder)

    def _label(self, atoms: Atoms, folder: Path) -> Evaluation:
        """Compute one structure in its folder."""
        name, calculator = self._settings.calculator, None
        try:
            calculator = self._make()
            put_into(folder, calculator)
            evaluation = _evaluate(atoms, calculator)
            flag = unconverged(calculator)
        except LabelError:
            raise
        except BaseException as error:
            if not self._alone and not isinstance(error, (Exception, SystemExit)):
                raise  # Ctrl-C
            raise LabelError(*failure_of(name, error)) from error
        finally:
            close(calculator)
        if flag:
            raise LabelError("not-converged", f"{name} says that it did not converge: {flag}.")
        return sound(evaluation, np.asarray(atoms.numbers))

    def _check(self, composition: Composition) -> None:
        arguments = self._settings.arguments
        given = arguments.get("charge", 0)
        if given != composition.charge:
            raise LabelError(
                "bad-charge",
                f"An ASE calculator takes the charge from its arguments; they say {given!r}, the structure "
                f"{composition.charge:+d}. Set the argument `charge`.",
            )
        spin = arguments.get("multiplicity", composition.lowest_multiplicity)
        if spin != composition.multiplicity:
            raise LabelError(
                "bad-multiplicity",
                f"An ASE calculator takes the multiplicity from its arguments; they say {spin!r}, the structure "
                f"{composition.multiplicity}. Set the argument `multiplicity`.",
            )

    def _make(self) -> Any:
        arguments = self._settings.arguments
        return self._class(**{key: anchored(value, self._start) for key, value in arguments.items()})

    def _work_folder(self) -> Path:
        if self._work is not None:
            return self._work
        if self._own_work is None:
            self._own_work = WorkFolder(scratch(self._settings))
        return self._own_work.path

    @contextlib.contextmanager
    def _inside(self, folder: Path) -> Iterator[None]:
        """Make a folder the working directory, where the process is this engine's alone."""
        if not self._alone:
            yield
            return
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(self._work_folder())


def _working_directory() -> Path:
    try:
        return Path.cwd()
    except OSError:  # it was removed
        return Path("/")


def _move_into(work: Path) -> None:
    """Make a work folder the working directory and the temporary folder of this process and its programs."""
    (work / "tmp").mkdir(exist_ok=True)
    os.chdir(work)
    os.environ["TMPDIR"] = str(work / "tmp")
    tempfile.tempdir = None


def _evaluate(asked: Atoms, calculator: Any) -> Evaluation:
    """Return forces and the energy that they derive from, and make sure that they are of this structure."""
    atoms, again = asked.copy(), asked.copy()  # a calculator may move what it is given
    atoms.calc = again.calc = calculator
    forces = atoms.get_forces()
    evaluation = Evaluation(_consistent_energy(again), forces)
    for computed in (atoms, again, getattr(calculator, "atoms", None)):
        _require_same(asked, computed)
    return evaluation


def _consistent_energy(atoms: Atoms) -> Any:
    """Return the energy that the forces derive from, where the calculator tells it from the other."""
    try:
        energy = atoms.get_potential_energy(force_consistent=True)
    except (PropertyNotImplementedError, TypeError):  # not every calculator knows the argument
        energy = None
    return atoms.get_potential_energy() if energy is None else energy


def _require_same(asked: Atoms, computed: object) -> None:
    """Refuse what was computed for another structure: relaxed, turned, or left over from an earlier one.

    Raises:
        LabelError: "engine-error".
    """
    if not isinstance(computed, Atoms):
        return
    if sorted(computed.numbers) != sorted(asked.numbers):
        raise LabelError(
            "engine-error",
            f"A calculator must label the structure that it is given, {asked.get_chemical_formula()}; it labelled "
            f"{computed.get_chemical_formula()}.",
        )
    shift = computed.positions - asked.positions
    moved = float(np.abs(shift - shift.mean(axis=0)).max(initial=0.0))
    if np.array_equal(computed.numbers, asked.numbers) and not moved < SAME_ANGSTROM:
        raise LabelError(
            "engine-error",
            f"A calculator must label the structure that it is given; it labelled one whose atoms are up to "
            f"{moved:.3g} Å from there (does it relax, or keep an earlier structure?).",
        )
