"""Array types and compiler flags that the kernels share."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
"""Of double or single precision."""
SingleArray = npt.NDArray[np.float32]

FAST = {"reassoc", "contract", "nsz", "arcp"}
"""Allow vector sums and fused products; NaN and infinity keep their meaning. Only for kernels that no other calls."""
