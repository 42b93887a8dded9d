"""The library mace-torch, imported so that the process stays as it was.

A word that it prints about absent extras, and what it changes in how torch reads files, are taken back.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from alflow.potentials.threads import torch_threads

_READS_ANYTHING = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
"""MACE sets this environment variable for e3nn, which then reads its own constants."""

_before = os.environ.get(_READS_ANYTHING)
with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
    warnings.simplefilter("ignore")
    import mace  # noqa: F401, I001 - first: see above
    import e3nn
    from e3nn import o3
    from mace import data, modules
    from mace.modules.loss import WeightedEnergyForcesL1L2Loss, WeightedEnergyForcesLoss
    from mace.tools import AtomicNumberTable
    from mace.tools.finetuning_utils import load_foundations_elements
    from mace.tools.scripts_utils import extract_config_mace_model, get_optimizer, get_params_options, remove_pt_head
    from mace.tools.torch_geometric.dataloader import DataLoader
    from mace.tools.train import evaluate, train_one_epoch
    from torch_ema import ExponentialMovingAverage
if _before is None:
    os.environ.pop(_READS_ANYTHING, None)
else:
    os.environ[_READS_ANYTHING] = _before

__all__ = [
    "DTYPES",
    "AtomicNumberTable",
    "DataLoader",
    "ExponentialMovingAverage",
    "WeightedEnergyForcesL1L2Loss",
    "WeightedEnergyForcesLoss",
    "data",
    "evaluate",
    "extract_config_mace_model",
    "get_optimizer",
    "get_params_options",
    "load_foundations_elements",
    "making",
    "modules",
    "o3",
    "remove_pt_head",
    "same_bits",
    "train_one_epoch",
]

DTYPES = {"single": torch.float32, "double": torch.float64}
"""Of the settings' `precision`."""


def same_bits() -> contextlib.AbstractContextManager[None]:
    """Have the functions that MACE and e3nn compile by TorchScript run as they are written meanwhile.

    Otherwise their first calls in a process are watched and later ones rewritten, with other last bits: what goes on
    in a new process would not go on as if nothing had happened.
    """
    compiler: Any = torch.jit
    found: contextlib.AbstractContextManager[None] = compiler.optimized_execution(False)
    return found


@contextlib.contextmanager
def making(precision: str, seed: int = 0, *, scripted: bool = False) -> Iterator[None]:
    """Have MACE's objects made in a precision, with weights drawn from a seed; then all is as it was.

    Torch's default precision and e3nn's options are the process's: who sets them has torch to itself meanwhile.

    Args:
        precision: "single" or "double".
        seed: of the fresh weights.
        scripted: let e3nn compile its products by TorchScript, as models in files have them. Without, the same
            operations run in Python: a training step is quicker, nothing is compiled anew in each process, and the
            same bits come out at the first call and at the hundredth.
    """
    dtype, options = torch.get_default_dtype(), e3nn.get_optimization_defaults()
    with torch_threads(torch.get_num_threads()), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        torch.set_default_dtype(DTYPES[precision])
        e3nn.set_optimization_defaults(jit_script_fx=scripted)
        try:
            yield
        finally:
            torch.set_default_dtype(dtype)
            e3nn.set_optimization_defaults(**options)
