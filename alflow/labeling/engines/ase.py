"""Labels by any calculator that follows ASE's interface, named in the campaign file."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from pydantic import JsonValue

from alflow.errors import InputError, LabelError
from alflow.labeling.engines.calculators import (
    anchored,
    check_directory,
    close,
    failure_of,
    forget,
    load,
    package_version,
    program_version,
    put_into,
    require_calculator,
)
from alflow.labeling.engines.convergence import require_converged
from alflow.labeling.engines.evaluate import evaluate
from alflow.labeling.engines.folders import Keeping, WorkFolder, new_label_folder, remove, scratch
from alflow.labeling.engines.given import (
    arguments_for,
    atoms_for,
    require_elements_of_magmoms,
    require_given,
    require_spin,
)
from alflow.labeling.engines.outputs import require_converged_output, said_in
from alflow.labeling.frames import sound, theory_hash, told
from alflow.labeling.kinds.ase import ASECalculatorSettings
from alflow.types import Composition, Evaluation, FloatArray

_CHANGES_NUMBERS = (
    "charge_argument", "multiplicity_argument", "unpaired_argument", "magmoms", "box_angstrom", "box_periodic",
)  # fmt: skip
"""Settings that are in the theory where they are given, beside the calculator and its arguments."""
_NUDGE_ANGSTROM = 0.05
"""How far atoms are moved for the other structure that a calculator computes to prove that it has no memory."""


@dataclass(frozen=True)
class _Kept:
    """A calculator that is used again."""

    arguments: dict[str, JsonValue]
    calculator: Any


class ASEEngine:
    """A calculator class, or a function that returns a calculator, and its keyword arguments.

    A calculator is made anew for each structure, in a clean folder: many start from what they computed last or find
    in their folder, and a label must depend on its structure alone. One that has no memory may be kept (`reuse`).
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
        require_elements_of_magmoms(settings)
        self._start = _working_directory()
        self._keeping = Keeping.of(settings)
        self._kept: _Kept | None = None
        self._class = load(settings.calculator)
        self._version = program_version(settings.version_command, self._start) if settings.version_command else ""
        if work is not None:
            _move_into(work)
        try:
            made = self._make(arguments_for(settings, None))
        except (Exception, SystemExit) as error:
            raise InputError(
                f"A calculator must accept its arguments; {settings.calculator} refused {settings.arguments}: "
                f"{told(error)}"
            ) from error
        require_calculator(settings.calculator, made)
        close(made)

    @property
    def theory(self) -> str:
        """Fingerprint of the class, its arguments, its package's version and that of its program."""
        chosen = self._settings.model_dump(mode="json", include=set(_CHANGES_NUMBERS), exclude_defaults=True)
        if self._version:
            chosen["program"] = self._version
        parts = {"calculator": self._settings.calculator, "arguments": self._settings.arguments, **chosen}
        return theory_hash({"engine": "ase", "version": package_version(self._settings.calculator), **parts})

    def compute(
        self,
        composition: Composition,
        positions: FloatArray,
        start: FloatArray | None = None,  # noqa: ARG002 - always a cold start
    ) -> Evaluation:
        """Return energy and forces of one structure.

        Args:
            composition: of A atoms; a charge, or a spin other than the lowest, only if the settings hand it over or the
                calculator's arguments (`charge`, `multiplicity`) say the same.
            positions: (A, 3) Å.
            start: not used.

        Raises:
            LabelError: the calculator does not converge, fails, was not given this charge or spin, or gives no energy
                and forces of this structure. Names the folder with its files.
        """
        require_given(self._settings, composition)
        atoms, arguments = atoms_for(self._settings, composition, positions), arguments_for(self._settings, composition)
        if self._settings.reuse and (self._kept is None or self._kept.arguments != arguments):
            self._prove(composition, atoms, arguments)
        return self._in_a_folder(composition, atoms, arguments)

    def close(self) -> None:
        """End a calculator that is kept."""
        kept, self._kept = self._kept, None
        if kept is not None:
            close(kept.calculator)

    def _prove(self, composition: Composition, atoms: Atoms, arguments: dict[str, JsonValue]) -> None:
        """Make sure that a calculator that is to be kept gives the same again after another structure.

        Raises:
            LabelError: "engine-error" where it does not; or what `compute` raises.
        """
        self.close()
        other = atoms.copy()
        other.positions += _NUDGE_ANGSTROM * np.cos(np.arange(3.0 * len(atoms))).reshape(-1, 3)
        labels = []
        for structure in (atoms, other, atoms, atoms, other, atoms):  # the first three warm up what compiles itself
            try:
                label = self._in_a_folder(composition, structure, arguments)
            except LabelError:
                if structure is atoms:
                    raise
            else:
                labels += [label] if structure is atoms else []
        before, after = labels[2:]
        change = max(abs(after.energy - before.energy), np.abs(after.forces - before.forces).max(initial=0.0))
        if not change <= self._settings.reuse_tolerance:
            self.close()
            raise LabelError(
                "engine-error",
                f"A calculator that is kept (labels.settings.reuse) gives a structure the same label again; after "
                f"another structure {self._settings.calculator} gave one that differs by {change:.3g} (eV, eV/Å), and "
                f"reuse_tolerance is {self._settings.reuse_tolerance:g}. Set reuse = false.",
            )

    def _in_a_folder(self, composition: Composition, atoms: Atoms, arguments: dict[str, JsonValue]) -> Evaluation:
        """Compute one structure in a new folder, which is removed, or kept elsewhere where that fails."""
        folder = new_label_folder(self._work_folder())
        try:
            with self._inside(folder):
                label = self._label(composition, atoms, arguments, folder)
            require_converged_output(self._settings.calculator, folder, self._settings.unconverged_texts)
        except LabelError as error:
            self.close()
            said = said_in(folder, self._settings.unconverged_texts) if error.reason == "engine-error" else ""
            detail = f"{error.detail} ({said})" if said else error.detail
            reason = "not-converged" if said else error.reason
            raise LabelError(reason, detail + self._keeping.keep(folder)) from error
        else:
            return label
        finally:
            remove(folder)

    def _label(
        self, composition: Composition, atoms: Atoms, arguments: dict[str, JsonValue], folder: Path
    ) -> Evaluation:
        """Compute one structure in its folder; keep the calculator where that is wanted and all went well."""
        name, calculator = self._settings.calculator, None
        try:
            calculator = self._take(arguments)
            put_into(Path() if self._alone else folder, calculator)  # relative: CP2K takes 80 characters of a path
            evaluation = evaluate(atoms, calculator)
            require_converged(name, calculator)
            require_spin(self._settings, composition, calculator)
            evaluation = sound(evaluation, composition.numbers)
            if self._settings.reuse:
                self._kept = _Kept(arguments, calculator)
        except LabelError:
            raise
        except BaseException as error:
            if not self._alone and not isinstance(error, (Exception, SystemExit)):
                raise  # Ctrl-C
            raise LabelError(*failure_of(name, error)) from error
        finally:
            if self._kept is None:
                close(calculator)
        return evaluation

    def _take(self, arguments: dict[str, JsonValue]) -> Any:
        """Return the calculator that is kept, without what it computed, or a new one."""
        kept, self._kept = self._kept, None
        if kept is not None and kept.arguments == arguments:
            forget(kept.calculator)
            return kept.calculator
        return self._make(arguments)

    def _make(self, arguments: dict[str, JsonValue]) -> Any:
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
