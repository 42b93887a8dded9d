"""Programs that say in the files that they write, and nowhere else, that they did not converge."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from alflow.errors import LabelError

SAYINGS = (
    "SCF run NOT converged",  # CP2K, which goes on with what it has
    "Calculation failed to converge",  # NWChem
    "UNABLE TO ACHIEVE SELF-CONSISTENCE",  # MOPAC
    "FAILED TO ACHIEVE SCF",
    "SCF NOT CONVERGED AFTER",  # ORCA
    "This wavefunction IS NOT CONVERGED",
    "This wavefunction IS NOT FULLY CONVERGED",
    "Convergence failure -- run terminated",  # Gaussian
    "convergence NOT achieved after",  # Quantum ESPRESSO
    "SELF-CONSISTENCY CYCLE DID NOT CONVERGE",  # FHI-aims
    "self-consistency cycle did not converge",
    "The electronic self-consistency was not achieved",  # VASP
    "SCF failed to converge",  # Q-Chem
    "SCF IS UNCONVERGED",  # GAMESS
    "SCC is NOT converged",  # DFTB+
    "Could not converge SCF iterations",  # Psi4
)
"""What they write; none of it stands in the output of a calculation that converged after all."""
MOST_FILES = 200
"""That are read, in the order of their names."""
MOST_BYTES = 4_000_000
"""That are read of a file, its end: what is larger holds orbitals, or ends with what matters."""


def said_in(folder: Path, others: Iterable[str] = ()) -> str:
    """Return the first saying that is found in a folder's files, with the file's name; empty where there is none.

    Args:
        folder: of a label.
        others: sayings beside the known ones.
    """
    sayings = [text.encode() for text in (*SAYINGS, *others)]
    for path in islice(_files(folder), MOST_FILES):
        content = _end_of(path)
        if found := next((saying for saying in sayings if saying in content), None):
            return f"{path.name} says {found.decode()!r}"
    return ""


def require_converged_output(path: str, folder: Path, others: Iterable[str]) -> None:
    """Refuse what a program says that it did not converge.

    Args:
        path: dotted one of the calculator.
        folder: of the label.
        others: as of `said_in`.

    Raises:
        LabelError: "not-converged".
    """
    if said := said_in(folder, others):
        raise LabelError("not-converged", f"{path} did not converge: {said}.")


def _files(folder: Path) -> Iterable[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        yield from (Path(parent) / name for name in sorted(names))


def _end_of(path: Path) -> bytes:
    """Return the last bytes of a file; nothing of what is none, or cannot be read."""
    with contextlib.suppress(OSError):
        if path.is_file():
            with path.open("rb") as file:
                file.seek(max(0, path.stat().st_size - MOST_BYTES))
                return file.read(MOST_BYTES)
    return b""
