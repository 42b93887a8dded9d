"""The passes of a training on the CPU, step by step: what `passes.DevicePasses` does with torch on a device."""

from __future__ import annotations

import numba
import numpy as np
import torch

from alflow.potentials.ani.kernels.activations import CELU, GELU
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.gemm import panels_size
from alflow.potentials.ani.kernels.jacobian import forces_of_batch, tangents_of_batch
from alflow.potentials.ani.kernels.training_passes import (
    ELEMENT,
    ROWS,
    Shapes,
    backward,
    forward,
    pack_weights,
    reverse,
    row_size,
)
from alflow.potentials.ani.training.data import Batch
from alflow.potentials.ani.training.parameters import Parameters
from alflow.potentials.ani.training.passes import Errors
from alflow.potentials.ani.training.targets import Targets
from alflow.potentials.sharing import Share
from alflow.types import IntArray


def shapes_of(parameters: Parameters) -> Shapes:
    """Return where everything stands in the flat weights and in the panels."""
    members, elements, layers = parameters.weights[0][0].shape[0], len(parameters.weights), len(parameters.weights[0])
    widths = np.array([[layer.shape[1] for layer in element] for element in parameters.weights], np.int64)
    starts = np.empty((2, members, elements, layers), np.int64)
    for kind, everything in enumerate((parameters.weights, parameters.biases)):
        for e, element in enumerate(everything):
            for h, layer in enumerate(element):
                starts[kind, :, e, h] = layer.storage_offset() + np.arange(members) * layer[0].numel()
    panel_start = np.empty((members, elements, layers - 1, 2), np.int64)
    place = 0
    for m in range(members):
        for e in range(elements):
            for h in range(layers - 1):
                wide, narrow = int(widths[e, h]), int(widths[e, h + 1])
                panel_start[m, e, h] = place, place + panels_size(wide, narrow)
                place = int(panel_start[m, e, h, 1]) + panels_size(narrow, wide)
    activation = GELU if parameters.activation == "gelu" else CELU
    return Shapes(activation, widths, starts[0], starts[1], panel_start)


class CompiledPasses:
    """Workspace and jobs of a step: one for each member, element and part of its rows.

    The parts are as many as keep all threads at work; each adds up its gradient in a slot of its own.
    """

    def __init__(
        self, parameters: Parameters, shift: torch.Tensor, scale: torch.Tensor, share: Share, threads: int = 1
    ) -> None:
        """Take the layout of the weights, and (E, L) shift and scale of the descriptors."""
        self._shapes = shapes_of(parameters)
        self._share = share
        self._shift, self._scale = shift.numpy(), scale.numpy()
        members, elements, layers, _ = self._shapes.panel_start.shape
        self._pairs, self._parts = members * elements, -(-threads // members)
        size = 0
        for e in range(elements):
            for h in range(layers):
                wide, narrow = int(self._shapes.widths[e, h]), int(self._shapes.widths[e, h + 1])
                size += panels_size(wide, narrow) + panels_size(narrow, wide)
        self._panels = np.zeros(members * size, np.float32)
        self._slots = np.zeros((self._parts, parameters.flat.numel() if self._parts > 1 else 0), np.float32)
        self._work = np.zeros(0, np.float32)
        self._bounds: bytes = b""
        self._jobs = np.zeros((0, 6), np.int64)

    def run(
        self, parameters: Parameters, batch: Batch, targets: Targets, gradient: Parameters | None, *, forces: bool
    ) -> Errors:
        """Return the errors of a batch, and fill the gradient of each member's loss if one is given."""
        shapes, vectors = self._shapes, batch.vectors
        flat = parameters.flat.detach().numpy()
        self._divide(batch.bounds)
        jobs, work, panels, share = self._jobs, self._work, self._panels, self._share
        share(lambda a, b: pack_weights(shapes, flat, panels, a, b), self._pairs)
        atomic = np.zeros(vectors.shape[:2], np.float32)
        share(
            lambda a, b: forward(shapes, jobs, flat, panels, vectors, self._shift, self._scale, work, atomic, a, b),
            len(jobs),
            singly=True,
        )
        seeds = np.zeros_like(atomic)
        frames = len(batch.places)
        energy_errors, loss = np.empty(frames, np.float32), np.empty(frames, np.float32)
        found = np.empty((len(batch.rows) if forces else 0, 3), np.float32)
        displacements = np.empty_like(found)
        slope = self._fill_forces(flat, batch, found) if forces else vectors
        _weigh(
            batch.offsets,
            batch.rows,
            atomic.reshape(-1),
            *targets.arrays(),
            forces,
            energy_errors,
            loss,
            found,
            displacements,
            seeds.reshape(-1),
        )
        if gradient is not None:
            if forces:
                self._fill_tangents(batch, displacements, slope)
            self._fill_gradient(flat, seeds, slope, gradient.flat.numpy(), forces=forces)
        return Errors(
            torch.from_numpy(energy_errors), torch.from_numpy(found) if forces else None, torch.from_numpy(loss)
        )

    def _fill_forces(self, flat: SingleArray, batch: Batch, found: SingleArray) -> SingleArray:
        """Fill (n, 3) forces after a forward pass, and return (M, R, L) ∂E/∂G."""
        shapes, jobs, work, panels, share = self._shapes, self._jobs, self._work, self._panels, self._share
        slope = np.empty_like(batch.vectors)
        share(lambda a, b: backward(shapes, jobs, flat, panels, self._scale, work, slope, a, b), len(jobs), singly=True)
        lines = slope.reshape(-1, slope.shape[2])
        share(
            lambda a, b: forces_of_batch(batch.jacobian, batch.places, batch.offsets, batch.rows, lines, found, a, b),
            len(batch.places),
        )
        return slope

    def _fill_tangents(self, batch: Batch, displacements: SingleArray, tangents: SingleArray) -> None:
        """Fill (M, R, L) tangents of the descriptors along (n, 3) displacements of the atoms."""
        tangents.fill(0.0)
        lines = tangents.reshape(-1, tangents.shape[2])
        self._share(
            lambda a, b: tangents_of_batch(
                batch.jacobian, batch.places, batch.offsets, batch.rows, displacements, lines, a, b
            ),
            len(batch.places),
        )

    def _fill_gradient(
        self, flat: SingleArray, seeds: SingleArray, tangents: SingleArray, gradient: SingleArray, *, forces: bool
    ) -> None:
        """Fill the flat gradient of each member's loss, from ∂L/∂E of each atom and the tangents of the descriptors."""
        shapes, jobs, work, panels = self._shapes, self._jobs, self._work, self._panels
        slots = self._slots if self._parts > 1 else gradient[None]
        self._share(
            lambda a, b: reverse(shapes, jobs, flat, panels, self._scale, work, seeds, tangents, forces, slots, a, b),
            len(jobs),
            singly=True,
        )
        if self._parts > 1:
            np.sum(slots, axis=0, out=gradient)

    def _divide(self, bounds: IntArray) -> None:
        """Lay out the jobs of a batch, the largest first, if the last had other numbers of rows."""
        key = bounds.tobytes()
        if key == self._bounds:
            return
        members, elements = self._shapes.panel_start.shape[:2]
        sizes = [row_size(self._shapes.widths[e]) for e in range(elements)]
        jobs, base = [], 0
        for part in range(self._parts):
            for m in range(members):
                for e in range(elements):
                    first, stop = (
                        int(bounds[e] + (bounds[e + 1] - bounds[e]) * p // self._parts) for p in (part, part + 1)
                    )
                    jobs.append((m, e, first, stop - first, base, part))
                    base += (stop - first) * sizes[e]
        costs = [job[ROWS] * sizes[job[ELEMENT]] for job in jobs]
        self._bounds, self._jobs = key, np.array(jobs, np.int64)[np.argsort(costs)[::-1]]
        if base > len(self._work):
            self._work = np.zeros(base, np.float32)


@numba.njit(cache=True, nogil=True)
def _weigh(
    offsets: IntArray,
    rows: IntArray,
    atomic: SingleArray,
    energies: SingleArray,
    forces: SingleArray,
    energy_weight: SingleArray,
    force_weight: SingleArray,
    with_forces: bool,
    energy_errors: SingleArray,
    loss: SingleArray,
    found: SingleArray,
    displacements: SingleArray,
    seeds: SingleArray,
) -> None:
    """Fill (B,) energy errors, (B,) loss, (n, 3) -∂L/∂F and (M · R,) ∂L/∂E; turn forces found into errors."""
    for frame in range(len(energies)):
        total = np.float32(0.0)
        for atom in range(offsets[frame], offsets[frame + 1]):
            total += atomic[rows[atom]]
        error = total - energies[frame]
        energy_errors[frame] = error
        loss[frame] = energy_weight[frame] * error * error
        for atom in range(offsets[frame], offsets[frame + 1]):
            seeds[rows[atom]] = np.float32(2.0) * energy_weight[frame] * error
            if with_forces:
                for axis in range(3):
                    found[atom, axis] -= forces[atom, axis]
                    weighted = force_weight[atom] * found[atom, axis]
                    loss[frame] += weighted * found[atom, axis]
                    displacements[atom, axis] = np.float32(-2.0) * weighted
