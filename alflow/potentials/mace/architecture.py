"""A network of MACE as plain data, and its making."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from alflow.potentials.mace.library import DTYPES, making, modules, o3
from alflow.potentials.mace.settings import MACESettings

Weights = dict[str, torch.Tensor]
"""Of one member: its parameters and the scale and shift of its energies, by their names in the network."""

PARITY = "eo"
CONSTANTS = ("output_mask", "U_matrix", "_w3j")
"""Parts of a network's state that follow from its architecture, and would fill files."""
CLASSES: dict[str, Mapping[str, Any]] = {
    "interaction_cls": modules.interaction_classes,
    "interaction_cls_first": modules.interaction_classes,
    "readout_cls": modules.readout_classes,
    "gate": modules.gate_dict,
}
"""Arguments of a network that stand by name in plain data."""
IRREPS = ("hidden_irreps", "MLP_irreps", "edge_irreps")
UNUSED = ("cueq_config", "embedding_specs", "heads", "atomic_energies", "atomic_inter_scale", "atomic_inter_shift")
"""Arguments that are not kept: single heads, energies of atoms that alflow adds, scale and shift of the weights."""

_made = threading.local()
"""The network that this thread made last for evaluation: one takes a second to make, and holds any member's weights."""


@dataclass(frozen=True)
class Architecture:
    """What all members share: the arguments of `mace.modules.ScaleShiftMACE` in plain data, and the precision."""

    arguments: Mapping[str, Any]
    precision: str

    @property
    def elements(self) -> tuple[int, ...]:
        """Atomic numbers, ascending."""
        return tuple(self.arguments["atomic_numbers"])

    @property
    def cutoff(self) -> float:
        """Å."""
        return float(self.arguments["r_max"])

    @property
    def dtype(self) -> torch.dtype:
        """Precision as torch calls it."""
        return DTYPES[self.precision]

    def module(self, weights: Weights | None = None, *, seed: int = 0, scripted: bool = False) -> torch.nn.Module:
        """Make the network with given weights, or fresh ones. The energies of its atoms are 0.

        Raises:
            RuntimeError: the weights are of another architecture.
        """
        given = dict(self.arguments)
        for name, known in CLASSES.items():
            given[name] = known[given[name]]
        for name in IRREPS:
            given[name] = None if given[name] is None else o3.Irreps(given[name])
        with making(self.precision, seed, scripted=scripted):
            module: torch.nn.Module = modules.ScaleShiftMACE(
                **given,
                heads=["Default"],
                atomic_energies=np.zeros((1, len(self.elements))),
                atomic_inter_scale=[1.0],
                atomic_inter_shift=[0.0],
            )
        if weights is not None:
            module.load_state_dict({**module.state_dict(), **weights})
        return module

    def network(self, weights: Weights, device: torch.device) -> torch.nn.Module:
        """Return this thread's network for evaluation, with given weights on that device until it is asked for again.

        Nothing is copied: it must not be trained.
        """
        key = (self, device)
        if getattr(_made, "key", None) != key:
            network = self.module().requires_grad_(requires_grad=False).to(device)
            _made.key, _made.network = key, network
            _made.slots = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        for name, value in weights.items():
            _made.slots[name].data = value
        found: torch.nn.Module = _made.network
        return found


def architecture_of(settings: MACESettings, elements: Sequence[int], neighbours: float) -> Architecture:
    """Return the network that the settings ask for.

    Args:
        settings: of the network.
        elements: atomic numbers.
        neighbours: mean number of neighbours of an atom, by which sums over them are divided.
    """
    hidden = "+".join(f"{settings.channels}x{order}{PARITY[order % 2]}" for order in range(settings.max_l + 1))
    arguments = {
        "r_max": settings.cutoff_angstrom,
        "num_bessel": settings.radial_functions,
        "num_polynomial_cutoff": settings.cutoff_power,
        "max_ell": settings.spherical_l,
        "interaction_cls": "RealAgnosticResidualInteractionBlock",
        "interaction_cls_first": "RealAgnosticInteractionBlock",
        "num_interactions": settings.layers,
        "num_elements": len(elements),
        "hidden_irreps": hidden,
        "edge_irreps": None,
        "MLP_irreps": f"{settings.readout_width}x0e",
        "gate": "silu",
        "readout_cls": "NonLinearReadoutBlock",
        "avg_num_neighbors": neighbours,
        "atomic_numbers": [int(number) for number in elements],
        "correlation": settings.correlation,
        "radial_type": settings.radial_basis,
        "radial_MLP": list(settings.radial_layers),
        "pair_repulsion": settings.short_range_repulsion,
    }
    return Architecture(arguments, settings.precision)


def architecture_in(arguments: Mapping[str, Any], precision: str) -> Architecture:
    """Return the architecture of a network whose arguments `mace.tools` has extracted.

    Raises:
        ValueError: an argument cannot be written as plain data.
    """
    plain = {name: _plain(name, value) for name, value in arguments.items() if name not in UNUSED}
    return Architecture(plain, precision)


def weights_of(module: torch.nn.Module) -> Weights:
    """Return copies of the weights of a network, on the CPU."""
    return {
        name: value.detach().cpu().clone()
        for name, value in module.state_dict().items()
        if value.is_floating_point() and not any(part in name for part in CONSTANTS)
    }


def _plain(name: str, value: Any) -> Any:
    if name in CLASSES:
        for known, candidate in CLASSES[name].items():
            if candidate is value:
                return known
        raise ValueError(f"{name} {value!r}")
    if name in IRREPS:
        return None if value is None else str(value)
    if isinstance(value, torch.Tensor | np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [_plain("", item) for item in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{name} {value!r}")
