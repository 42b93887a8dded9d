"""Labels that are finite and cannot be right: far from all that the engine gave for this molecule."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from alflow.types import LabelBatch, LabelFailure


def refuse_outliers(batch: LabelBatch, usual_ev: float, bound_ev: float, host: str) -> LabelBatch:
    """Turn labels whose energy is too far from the usual one into failures.

    Args:
        batch: what labelling gave.
        usual_ev: energy that labels of this composition lie around, eV.
        bound_ev: largest accepted distance from it, eV.
        host: named in the failures.
    """
    far = np.abs(batch.labels.energies - usual_ev) > bound_ev
    if not far.any():
        return batch
    failures = tuple(
        LabelFailure(
            int(row),
            "energy-outlier",
            f"An energy must lie within {bound_ev:g} eV of {usual_ev:.3f} eV, the median of the first data "
            f"(labels.max_energy_offset_ev); found {energy:.6g} eV.",
            host,
        )
        for row, energy in zip(batch.rows[far], batch.labels.energies[far], strict=True)
    )
    every = sorted((*batch.failures, *failures), key=lambda failure: failure.frame)
    kept = np.flatnonzero(~far)
    return replace(batch, rows=batch.rows[kept], labels=batch.labels.take(kept), failures=tuple(every))
