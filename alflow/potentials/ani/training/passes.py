"""Forward and backward passes of all members at once, and the gradient of the force-matching loss, written out.

Fitting forces needs the derivative of a derivative. With g = ∂E/∂G and F = -g · ∂G/∂r, the force part of the loss
changes with the weights as the derivative of E along v = -∂G/∂r · ∂L/∂F does, with v held fixed. So after the pass
forward (values) and the pass backward (g), a tangent pass carries v forward, and one reverse pass gives the gradient of
the energy part and the force part together: six matrix products a layer, all members in one batched product.

Trainings on a device take these passes. They are also the specification of `kernels.training_passes` and
`kernels.networks`, which trainings on a CPU and trajectories take, and which are tested against them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from alflow.potentials.ani.network import Activation
from alflow.potentials.ani.training.activation import ACTIVATIONS, Activate
from alflow.potentials.ani.training.contraction import Contract, DenseContraction
from alflow.potentials.ani.training.data import Batch
from alflow.potentials.ani.training.parameters import Parameters
from alflow.potentials.ani.training.targets import Targets


@dataclass(frozen=True)
class Tape:
    """What the pass forward through one element's networks leaves. R rows, H hidden layers."""

    inputs: torch.Tensor
    """(M, R, L)."""
    values: list[torch.Tensor]
    """(M, R, width) after each activation."""
    slopes: list[torch.Tensor]
    curvatures: list[torch.Tensor]


def forward(
    parameters: Parameters, activate: Activate, element: int, inputs: torch.Tensor
) -> tuple[torch.Tensor, Tape]:
    """Return the energies (M, R) of the rows of one element, and the tape."""
    weights, biases = parameters.weights[element], parameters.biases[element]
    tape = Tape(inputs, [], [], [])
    hidden = inputs
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden, slope, curvature = activate(torch.baddbmm(bias, hidden, weight))
        tape.values.append(hidden)
        tape.slopes.append(slope)
        tape.curvatures.append(curvature)
    return torch.baddbmm(biases[-1], hidden, weights[-1])[:, :, 0], tape


def backward(
    parameters: Parameters, element: int, tape: Tape
) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
    """Return ∂E/∂G (M, R, L), and for each hidden layer ∂E/∂a and ∂E/∂z, after and before the activation."""
    weights = parameters.weights[element]
    after = weights[-1].transpose(1, 2).expand(-1, tape.inputs.shape[1], -1)
    afters, befores = [], []
    for layer in range(len(tape.values) - 1, -1, -1):
        before = after * tape.slopes[layer]
        afters.append(after)
        befores.append(before)
        after = torch.bmm(before, weights[layer].transpose(1, 2))
    return after, afters[::-1], befores[::-1]


def accumulate(
    parameters: Parameters,
    gradient: Parameters,
    element: int,
    tape: Tape,
    afters: list[torch.Tensor],
    befores: list[torch.Tensor],
    energy_seed: torch.Tensor,
    direction: torch.Tensor | None,
) -> None:
    """Fill the gradient of Σ seed · E + (∂E along `direction`) with respect to one element's weights.

    Args:
        parameters: weights and biases.
        gradient: of the loss, 0 for this element before the call.
        element: row of the element.
        tape: of the pass forward.
        afters: of the pass backward.
        befores: of the pass backward.
        energy_seed: (M, R, 1) ∂L/∂E of each row; 0 in padding.
        direction: (M, R, L) v; None if the loss has no force part.
    """
    weights = parameters.weights[element]
    weight_gradient, bias_gradient = gradient.weights[element], gradient.biases[element]
    tangents: list[torch.Tensor] = []
    bends: list[torch.Tensor] = []
    tangent = direction
    for layer in range(len(tape.values)):
        if tangent is None:
            break
        tangents.append(tangent)
        rise = torch.bmm(tangent, weights[layer])
        bends.append(rise * tape.curvatures[layer] * afters[layer])
        tangent = rise * tape.slopes[layer]
    last = tape.values[-1]
    torch.bmm(last.transpose(1, 2), energy_seed, out=weight_gradient[-1])
    if tangent is not None:
        weight_gradient[-1].add_(tangent.sum(dim=1)[:, :, None])
    torch.sum(energy_seed, dim=1, keepdim=True, out=bias_gradient[-1])
    after = torch.bmm(energy_seed, weights[-1].transpose(1, 2))
    for layer in range(len(tape.values) - 1, -1, -1):
        before = after.mul_(tape.slopes[layer])
        if direction is not None:
            before += bends[layer]
        below = tape.values[layer - 1] if layer else tape.inputs
        weight_gradient[layer].baddbmm_(below.transpose(1, 2), before)
        if direction is not None:
            weight_gradient[layer].baddbmm_(tangents[layer].transpose(1, 2), befores[layer])
        torch.sum(before, dim=1, keepdim=True, out=bias_gradient[layer])
        if layer:
            after = torch.bmm(before, weights[layer].transpose(1, 2))


@dataclass(frozen=True)
class Errors:
    """Of one batch."""

    energies: torch.Tensor
    """(B,) predicted less reference, eV."""
    forces: torch.Tensor | None
    """(n, 3) eV/Å."""
    loss: torch.Tensor
    """(B,) what each frame adds to its member's loss."""


class DevicePasses:
    """The passes on a device, all members in one batched product."""

    def __init__(
        self,
        activation: Activation,
        shift: torch.Tensor,
        scale: torch.Tensor,
        contraction: Contract = DenseContraction,
    ) -> None:
        """Take the activation, (E, L) shift and scale of the descriptors, and what multiplies by the Jacobian."""
        self._activate, self._shift, self._scale = ACTIVATIONS[activation], shift, scale
        self._contraction = contraction

    def run(
        self, parameters: Parameters, batch: Batch, targets: Targets, gradient: Parameters | None, *, forces: bool
    ) -> Errors:
        """Return the errors of a batch, and fill the gradient of each member's loss if one is given.

        Args:
            parameters: weights and biases of M members.
            batch: how the rows are laid out.
            targets: energies, forces, weights of the loss.
            gradient: where ∂L/∂(weights) goes; None for validation.
            forces: whether the loss has a force part.
        """
        device, scale = parameters.flat.device, self._scale
        vectors, rows = torch.from_numpy(batch.vectors).to(device), torch.from_numpy(batch.rows).to(device)
        energies, reference, energy_weight, force_weight = (
            torch.from_numpy(array).to(device) for array in targets.arrays()
        )
        contraction = self._contraction(batch, device) if forces else None
        members, height, _ = vectors.shape
        elements = [(e, batch.bounds[e], batch.bounds[e + 1]) for e in range(len(batch.bounds) - 1)]
        present = [(e, int(start), int(stop)) for e, start, stop in elements if stop > start]
        atomic, slope = vectors.new_zeros(members, height), torch.empty_like(vectors)
        kept: dict[int, tuple[Tape, list[torch.Tensor], list[torch.Tensor]]] = {}
        for e, start, stop in present:
            scaled = (vectors[:, start:stop] - self._shift[e]) * scale[e]
            atomic[:, start:stop], tape = forward(parameters, self._activate, e, scaled)
            kept[e] = (tape, [], [])
            if contraction is not None:
                scaled_slope, afters, befores = backward(parameters, e, tape)
                torch.mul(scaled_slope, scale[e], out=slope[:, start:stop])
                kept[e] = (tape, afters, befores)
        padded_rows = torch.from_numpy(batch.padded_rows).to(device)
        energy_errors = torch.cat([atomic.view(-1), atomic.new_zeros(1)])[padded_rows].sum(dim=1) - energies
        loss = energy_weight * energy_errors**2
        force_errors, direction = None, None
        if contraction is not None:
            force_errors = contraction.forces(slope) - reference
            weighted = force_weight[:, None] * force_errors
            real = np.flatnonzero(batch.padded_rows != members * height)  # here, so that nothing waits for the device
            by_frame = torch.zeros(batch.padded_rows.shape, dtype=loss.dtype, device=device)
            by_frame.view(-1)[torch.from_numpy(real).to(device)] = (weighted * force_errors).sum(dim=1)
            loss = loss + by_frame.sum(dim=1)
            if gradient is not None:
                direction = contraction.tangents(-2.0 * weighted)
        if gradient is not None:
            gradient.flat.zero_()
            seed = atomic.new_zeros(members * height)
            frame_of = np.repeat(np.arange(len(batch.frames)), np.diff(batch.offsets))
            seed[rows] = (2.0 * energy_weight * energy_errors)[torch.from_numpy(frame_of).to(device)]
            seed = seed.view(members, height, 1)
            for e, start, stop in present:
                part = None if direction is None else direction[:, start:stop] * scale[e]
                accumulate(parameters, gradient, e, *kept[e], seed[:, start:stop], part)
        return Errors(energy_errors, force_errors, loss)
