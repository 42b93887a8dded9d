"""Self-energies: what an atom of each element contributes to the energy before the networks do, by a linear fit."""

from __future__ import annotations

import numpy as np

from alflow.types import FloatArray, IntArray


def fit_self_energies(counts: IntArray, energies: FloatArray) -> FloatArray:
    """Return (E,) energies of the elements, eV, by least squares.

    Where the compositions do not tell the elements apart (a single composition, say), the solution of least norm is
    taken: the constant is shared out over the atoms.

    Args:
        counts: (F, E) atoms of each element.
        energies: (F,) eV.
    """
    compositions, inverse = np.unique(counts, axis=0, return_inverse=True)
    means = np.bincount(inverse.ravel(), energies) / np.bincount(inverse.ravel())
    weights = np.sqrt(np.bincount(inverse.ravel()))
    solution = np.linalg.lstsq(compositions * weights[:, None], means * weights, rcond=1e-10)[0]
    return np.asarray(solution, dtype=np.float64)
