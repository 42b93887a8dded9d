"""Neural network potentials: one protocol, one package a kind."""

from __future__ import annotations

from pathlib import Path

from alflow.types import Potential


def load_potential(path: Path) -> Potential:
    """Read an ensemble from its file of weights (read as tensors and plain data; nothing in it is executed)."""
    from alflow.potentials.ani.ensemble import ANIEnsemble  # noqa: PLC0415 - torch is heavy

    return ANIEnsemble.load(path)
