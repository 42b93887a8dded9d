"""Exchange with TorchANI: export of an ensemble, and import of a model."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch

from alflow.errors import InputError
from alflow.files.targets import shown
from alflow.potentials.ani.ensemble import ANIEnsemble
from alflow.potentials.ani.network import Activation, Networks
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.types import FloatArray
from alflow.units import HARTREE_IN_EV

PUBLISHED = {"ani1x": ("H", "C", "N", "O"), "ani2x": ("H", "C", "N", "O", "S", "F", "Cl")}
"""Elements of published models, in the order of their descriptors."""


def to_torchani(ensemble: ANIEnsemble, members: Sequence[int] | None = None) -> Any:
    """Return a ``torchani.arch.ANI`` in double precision, whose own forward gives the same energies (in Hartree).

    Args:
        ensemble: what to export.
        members: which members; all if not given. One member gives a model without an ensemble around it.
    """
    torchani = _torchani()
    chosen = ensemble if members is None else ensemble.select(members)
    functions = chosen.functions
    symbols = tuple(torchani.constants.PERIODIC_TABLE[element] for element in functions.elements)
    shared = chosen.self_energies.mean(axis=0)
    containers = [_container(torchani, chosen, member, symbols, shared) for member in range(chosen.members)]
    model = torchani.arch.ANI(
        symbols=symbols,
        aev_computer=_computer(torchani, functions),
        neural_networks=containers[0] if len(containers) == 1 else torchani.nn.Ensemble(containers),
        energy_shifter=torchani.sae.SelfEnergy(symbols, [0.0] * len(symbols)),
    ).double()
    model.energy_shifter.self_energies.copy_(torch.from_numpy(shared / HARTREE_IN_EV))
    return model.requires_grad_(requires_grad=False)


def from_torchani(model: Any) -> ANIEnsemble:
    """Return the members of a ``torchani.arch.ANI`` with element-specific networks.

    Raises:
        InputError: the model has parts that alflow has no equal of (other potentials, another cutoff function, shared
            or unequal networks).
    """
    torchani = _torchani()
    if model._has_extra_potentials:  # noqa: SLF001 - TorchANI has no public name for it
        _refuse("a potential besides the networks (dispersion or repulsion)")
    functions = _functions(model)
    container = model.neural_networks
    containers = list(container.members) if isinstance(container, torchani.nn.Ensemble) else [container]
    if not all(isinstance(part, torchani.nn.ANINetworks) for part in containers):
        _refuse(f"networks of the kind {type(containers[0]).__name__}")
    networks = [[_dense(network) for network in part.atomics.values()] for part in containers]
    if len({len(element) for member in networks for element in member}) > 1:
        _refuse("networks of different depth")
    elements, layers = range(len(functions.elements)), range(len(networks[0][0]))
    energies = model.energy_shifter.self_energies.detach().double().cpu().numpy() * HARTREE_IN_EV
    stacked = Networks(
        tuple(tuple(np.stack([member[e][h][0] for member in networks]) for h in layers) for e in elements),
        tuple(tuple(np.stack([member[e][h][1] for member in networks]) for h in layers) for e in elements),
        _activation(torchani, containers[0]),
    )
    return ANIEnsemble(functions, stacked, np.tile(energies, (len(networks), 1)))


def read_torchani(path: Path) -> ANIEnsemble:
    """Return the members of a published ANI-1x, ANI-1ccx or ANI-2x model from the file of its state dictionary.

    Raises:
        InputError: the file holds something else.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        names = {name.split(".atomics.")[1].split(".")[0] for name in state if ".atomics." in name}
        members = {name.split(".members.")[1].split(".")[0] for name in state if ".members." in name}
        model = _published(names, max(len(members), 1))
        model.load_state_dict(state)
    except Exception as error:
        raise InputError(
            "Weights to start from are a file that alflow wrote, or the state dictionary of ANI-1x, ANI-1ccx or "
            f"ANI-2x as TorchANI keeps it; {shown(path)} is neither: {' '.join(str(error).split())[:200]}."
        ) from error
    return from_torchani(model)


def _published(symbols: Collection[str], members: int) -> Any:
    """Return a model of the architecture of ANI-1x or ANI-2x, by the elements that it knows, with any weights."""
    torchani = _torchani()
    name = next((name for name, known in PUBLISHED.items() if set(known) == set(symbols)), None)
    if name is None:
        raise ValueError(f"it has networks of {', '.join(sorted(symbols)) or 'no element'}")
    assembler = torchani.arch.Assembler(periodic_table_index=True)
    assembler.set_symbols(PUBLISHED[name])
    assembler.set_global_cutoff_fn("cosine")
    assembler.set_aev_computer(radial=name, angular=name, strategy="pyaev")
    assembler.set_atomic_networks(ctor=name)
    assembler.set_neighborlist("all_pairs")
    assembler.set_gsaes_as_self_energies("wb97x-631gd")  # overwritten by the state
    return assembler.assemble(members)


def _torchani() -> Any:
    """Import TorchANI without its remarks on extensions that were not built."""
    os.environ.setdefault("TORCHANI_NO_WARN_EXTENSIONS", "1")
    import torchani  # noqa: PLC0415 - after the variable is set
    import torchani.arch  # noqa: PLC0415
    import torchani.constants  # noqa: PLC0415
    import torchani.sae  # noqa: PLC0415

    return torchani


def _computer(torchani: Any, functions: SymmetryFunctions) -> Any:
    radial = torchani.aev.ANIRadial(functions.radial_eta, functions.radial_shifts, functions.radial_cutoff)
    angular = torchani.aev.ANIAngular(
        functions.angular_eta, functions.zeta, functions.angular_shifts, functions.sections, functions.angular_cutoff
    )
    return torchani.aev.AEVComputer(radial, angular, len(functions.elements))


def _container(torchani: Any, ensemble: ANIEnsemble, member: int, symbols: tuple[str, ...], shared: FloatArray) -> Any:
    """Return one member's networks; what its self-energies differ from the shared ones goes into the last bias."""
    networks, length = ensemble.networks, ensemble.functions.length
    modules = {}
    for e, symbol in enumerate(symbols):
        activation = networks.activation
        module = torchani.nn.AtomicNetwork((length, *networks.hidden[e], 1), activation, bias=True).double()
        for h, (weight, bias) in enumerate(zip(networks.weights[e], networks.biases[e], strict=True)):
            scale = 1.0 / HARTREE_IN_EV if h == len(networks.weights[e]) - 1 else 1.0
            offset = (ensemble.self_energies[member, e] - shared[e]) if h == len(networks.weights[e]) - 1 else 0.0
            layer = module[h]
            layer.weight.data.copy_(torch.from_numpy(weight[member].T.astype(np.float64) * scale))
            layer.bias.data.copy_(torch.from_numpy((bias[member].astype(np.float64) + offset) * scale))
        modules[symbol] = module
    return torchani.nn.ANINetworks(modules)


def _functions(model: Any) -> SymmetryFunctions:
    computer = model.aev_computer
    radial, angular = computer.radial, computer.angular
    kinds = (type(radial).__name__, type(angular).__name__, type(radial.cutoff_fn).__name__)
    if kinds != ("ANIRadial", "ANIAngular", "CutoffCosine"):
        _refuse(f"symmetry functions of the kind {', '.join(kinds)}")
    return SymmetryFunctions(
        elements=tuple(int(number) for number in model.atomic_numbers),
        radial_cutoff=float(radial.cutoff),
        radial_eta=float(radial.eta),
        radial_shifts=tuple(float(shift) for shift in radial.shifts),
        angular_cutoff=float(angular.cutoff),
        angular_eta=float(angular.eta),
        zeta=float(angular.zeta),
        angular_shifts=tuple(float(shift) for shift in angular.shifts),
        sections=tuple(float(section) for section in angular.sections),
    )


def _dense(network: Any) -> list[tuple[Any, Any]]:
    """Return weights (inputs, outputs) and biases of each layer, the last in eV."""
    layers = []
    for linear in [*network.layers, network.final_layer]:
        scale = HARTREE_IN_EV if linear is network.final_layer else 1.0
        weight = linear.weight.detach().double().cpu().numpy().T * scale
        bias = np.zeros(weight.shape[1]) if linear.bias is None else linear.bias.detach().double().cpu().numpy() * scale
        layers.append((np.ascontiguousarray(weight, np.float32), bias.astype(np.float32)))
    return layers


def _activation(torchani: Any, container: Any) -> Activation:
    kinds = {type(network.activation) for network in container.atomics.values()}
    if kinds == {torch.nn.GELU}:
        return "gelu"
    if kinds != {torchani.nn.TightCELU}:
        _refuse(f"activations of the kind {', '.join(sorted(kind.__name__ for kind in kinds))}")
    return "celu"


def _refuse(part: str) -> NoReturn:
    raise InputError(
        "A TorchANI model can be imported if it is a sum of element-specific networks over ANI symmetry functions, "
        f"with GELU or CELU between layers: this one has {part}. Use it through the ASE engine instead."
    )
