"""Self-energies: what an atom of each element contributes to the energy before the networks do, by a linear fit."""

from __future__ import annotations

import numpy as np

from alflow.types import Dataset, FloatArray, IntArray


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


def shifts_between(dataset: Dataset, predicted: FloatArray) -> dict[int, FloatArray]:
    """Return what atoms of each element have to give more so that predictions fit labels on average, (M,) eV.

    Args:
        dataset: F labelled frames.
        predicted: (M, F) energies of the members of an ensemble, eV, in the order of the dataset's rows.
    """
    elements = np.unique(np.concatenate([group.frames.numbers for group in dataset.groups]))
    counts = np.concatenate(
        [
            np.tile([np.count_nonzero(group.frames.numbers == element) for element in elements], (len(group.frames), 1))
            for group in dataset.groups
        ]
    )
    labelled = np.concatenate([group.labels.energies for group in dataset.groups])
    shifts = np.array([fit_self_energies(counts, labelled - energies) for energies in predicted])
    return {int(element): shifts[:, place] for place, element in enumerate(elements)}
