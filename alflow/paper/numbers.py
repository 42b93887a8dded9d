"""Numbers and data of the paper: Jung, Choi, Lee, Digital Discovery 2024, 3, 514 (doi:10.1039/d3dd00216k)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from alflow.report.figures import WorkCurve

DATA = Path(__file__).resolve().parent / "data"

DFTB_BARRIER_EV = 6.34
"""Section 3: work of the spring in the DFTB pull."""
MD_TRAINED_BARRIER_EV = 1.0
"""Section 3, Fig. 2c: network trained on 2000 frames of dynamics at 500 K."""
SMD_TRAINED_BARRIER_EV = 5.5
"""Section 3, Fig. 2d: network trained on the 6500 frames of the DFTB pull."""
FIG3_LAST_ERROR_EV = 0.007
"""Section 3, Fig. 3b: after ten iterations, 3350 data points."""
FIG3_LABELS = 3350
FIG3_UNSEEN_MAE_EV = 0.0434
"""Section 3, Fig. 3d: fluctuates around 1 kcal/mol after the third iteration."""
INHERITED_THREE_ERROR_EV = 0.2
"""Section 3, Fig. 5b: converged error of three members with inherited rows."""
SCHNET_FIRST_BARRIER_EV = 2.0
"""Section 3, Fig. 4a: SchNet trained on the first data."""


def dftb_pull() -> WorkCurve:
    """Return the paper's own DFTB pull, every tenth step: target distance in Å, work in eV."""
    table = np.loadtxt(DATA / "pull.csv", delimiter=",", skiprows=2)
    return WorkCurve("paper, DFTB", np.ascontiguousarray(table[:, 0]), np.ascontiguousarray(table[:, 2]))
