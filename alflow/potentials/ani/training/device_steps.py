"""The steps of a training on a device, each one launch of a CUDA graph: batch, passes, optimiser, running average.

On a GPU a step in small batches waits for its launches, some two hundred of them, and not for its arithmetic. Here all
that a step reads is on the device before an epoch begins: which frames, learning rates, and what else depends on its
number. The graph finds its row of these by a counter that it moves on itself. Shapes are fixed: all frames have the
same slots for atoms, sorted by element (`contraction.Slots`), all members the same number of frames; what is too much
has no weight. The passes are those of `passes`, so that the weights are those of step after step to rounding.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from alflow.cudagraph import captured
from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.activation import ACTIVATIONS
from alflow.potentials.ani.training.contraction import ResidentJacobians
from alflow.potentials.ani.training.data import TrainingData
from alflow.potentials.ani.training.device_optimiser import DeviceOptimiser
from alflow.potentials.ani.training.parameters import Parameters
from alflow.potentials.ani.training.passes import Tape, accumulate, backward, forward
from alflow.potentials.ani.training.schedule import average_weight
from alflow.types import FloatArray, IntArray

CUDA = "cuda"
"""The kind of device where a step that is no graph is worth a warning."""

if TYPE_CHECKING:
    Passed = tuple[Tape, list[Tensor], list[Tensor]]


class ResidentFrames:
    """Descriptors and labels of a whole dataset on a device, F frames of P slots; 0 where a frame has no atom."""

    def __init__(
        self, data: TrainingData, references: FloatArray, jacobians: ResidentJacobians, shift: Tensor, scale: Tensor
    ) -> None:
        """Take all frames; `references` are (M, F) energies less the self-energies, eV."""
        device, slots = shift.device, jacobians.slots
        frames, size, length = len(data), len(slots), data.functions.length
        rows = torch.from_numpy(np.repeat(np.arange(frames) * size, data.atoms) + slots.of_atoms).to(device)
        vectors, _, _ = data.pieces(np.arange(frames))
        whole, real, forces = (torch.zeros(frames * size, width, device=device) for width in (length, 1, 3))
        whole[rows], real[rows] = torch.from_numpy(vectors).to(device), 1.0
        forces[rows] = torch.from_numpy(data.forces).to(device)
        bounds = slots.bounds.tolist()
        self.spans = [(e, bounds[e], bounds[e + 1]) for e in range(len(bounds) - 1) if bounds[e] < bounds[e + 1]]
        """Element, and its first and last slots."""
        whole, real = whole.view(frames, size, length), real.view(frames, size)
        self.vectors = {e: ((whole[:, a:b] - shift[e]) * scale[e]).contiguous() for e, a, b in self.spans}
        """(F, slots of the element, L), scaled."""
        self.real = {e: real[:, a:b].contiguous() for e, a, b in self.spans}
        """(F, slots of the element) 1 for atoms."""
        self.jacobians, self.scale = jacobians.dense, scale
        """(F, P · L, P · 3), and (E, L)."""
        self.forces = forces.view(frames, size * 3)
        """(F, P · 3) eV/Å."""
        self.references = torch.from_numpy(references.astype(np.float32)).to(device)
        """(M, F) eV."""
        atoms = data.atoms.astype(np.float64)
        self.energy_weights, self.force_weights = (
            torch.from_numpy(weights.astype(np.float32)).to(device) for weights in (atoms**-0.5, 1.0 / atoms)
        )
        """(F,) of a frame in the energy part and the force part of the loss."""


class DeviceSteps:
    """The steps of an epoch, for M members and S frames a member."""

    def __init__(
        self,
        frames: ResidentFrames,
        settings: ANITrainingSettings,
        parameters: Parameters,
        gradient: Parameters,
        optimiser: DeviceOptimiser,
        average: Tensor,
    ) -> None:
        """Take what is changed in place: parameters, gradient, the optimiser's moments, the average of the weights."""
        self._data, self._settings, self._optimiser, self._average = frames, settings, optimiser, average
        self._parameters, self._gradient = parameters, gradient
        self._activate = ACTIVATIONS[parameters.activation]
        self._shape: tuple[int, ...] = ()
        self._epoch: list[Tensor] = []
        self._call: Callable[[], None] = self._step
        self.eager = ""
        """Why steps are no CUDA graphs; empty if they are."""

    @torch.no_grad()
    def run(self, batches: Sequence[Sequence[IntArray]], rates: Sequence[Sequence[float]], done: int) -> Tensor:
        """Do the steps of an epoch.

        Args:
            batches: for each step, for each member, rows of the dataset.
            rates: for each step, for each member, its learning rate.
            done: steps before this epoch.

        Returns:
            (M, S) what each frame of the last step adds to its member's loss.
        """
        size = max(len(rows) for step in batches for rows in step)
        chosen = np.zeros((len(batches), len(batches[0]), size), np.int64)
        shares = np.zeros(chosen.shape, np.float32)
        for step, parts in enumerate(batches):
            for member, rows in enumerate(parts):
                chosen[step, member, : len(rows)] = rows
                shares[step, member, : len(rows)] = 1.0 / max(1, len(rows))
        averaging = self._settings.averaging
        numbers = [
            [*rates[step], *self._optimiser.count(), average_weight(averaging, done + step) if averaging else 0.0]
            for step in range(len(batches))
        ]
        self._take(chosen, shares, np.array(numbers, np.float32))
        for _ in batches:
            self._call()
        return self._loss

    def _take(self, chosen: IntArray, *others: SingleArray) -> None:
        """Put what an epoch reads where the graph finds it; record the graph if the shape is a new one."""
        arrays = (chosen, *others)
        device = self._average.device
        if chosen.shape == self._shape:
            for old, new in zip(self._epoch, arrays, strict=True):
                old.copy_(torch.from_numpy(new))
            return
        self._shape = chosen.shape
        self._epoch = [torch.from_numpy(array).to(device) for array in arrays]
        self._row = torch.zeros(1, dtype=torch.int64, device=device)
        self._loss = torch.zeros(chosen.shape[1:], device=device)
        changed = [self._parameters.flat, self._average, *self._optimiser.tensors(), self._row]
        before = [value.clone() for value in changed]
        self._call, self.eager = captured(self._step, device)
        for value, old in zip(changed, before, strict=True):
            value.copy_(old)
        if self.eager and device.type == CUDA:
            warnings.warn(f"{self.eager} Training goes on without, more slowly.", RuntimeWarning, stacklevel=2)

    def _step(self) -> None:
        """Do one step; nothing here waits for the device."""
        chosen, shares, numbers = (values.index_select(0, self._row)[0] for values in self._epoch)
        members, data = len(chosen), self._data
        frames = chosen.view(-1)
        passed, atomic = self._forward(frames, members)
        errors = sum(atomic[1:], atomic[0]) - data.references.gather(1, chosen)
        weights = shares * data.energy_weights[chosen]
        loss, directions = weights * errors**2, None
        if self._settings.force_weight > 0:
            added, directions = self._forces(passed, frames, shares)
            loss = loss + added
        self._gradient.flat.zero_()
        seeds = (2.0 * weights * errors).view(-1, 1)
        for e, start, stop in data.spans:
            seed = (seeds * data.real[e].index_select(0, frames)).view(members, -1, 1)
            direction = None
            if directions is not None:
                direction = (directions[:, start:stop] * data.scale[e]).view(members, -1, directions.shape[2])
            accumulate(self._parameters, self._gradient, e, *passed[e], seed, direction)
        self._optimiser.change(numbers[:members], numbers[members], numbers[members + 1])
        if self._settings.averaging:
            self._average.lerp_(self._parameters.flat, numbers[members + 2])
        self._loss.copy_(loss)
        self._row.add_(1).remainder_(self._shape[0])

    def _forward(self, frames: Tensor, members: int) -> tuple[dict[int, Passed], list[Tensor]]:
        """Return the passes forward and backward of each element, and its energies (M, S)."""
        passed: dict[int, Passed] = {}
        atomic = []
        for e, _, _ in self._data.spans:
            vectors = self._data.vectors[e].index_select(0, frames)
            energies, tape = forward(self._parameters, self._activate, e, vectors.view(members, -1, vectors.shape[2]))
            passed[e] = (tape, [], [])
            real = self._data.real[e].index_select(0, frames)
            atomic.append((energies.reshape(real.shape) * real).sum(1).view(members, -1))
        return passed, atomic

    def _forces(self, passed: dict[int, Passed], frames: Tensor, shares: Tensor) -> tuple[Tensor, Tensor]:
        """Add the pass backward to what is passed; return the force part of the loss (M, S), and v (M · S, P, L)."""
        data, slopes = self._data, []
        for e, _, _ in data.spans:
            tape, _, _ = passed[e]
            slope, afters, befores = backward(self._parameters, e, tape)
            passed[e] = (tape, afters, befores)
            slopes.append((slope * data.scale[e]).view(len(frames), -1, slope.shape[2]))
        slope = torch.cat(slopes, dim=1)
        jacobians = data.jacobians.index_select(0, frames)
        forces = -torch.bmm(slope.view(len(frames), 1, -1), jacobians)[:, 0]
        errors = forces - data.forces.index_select(0, frames)
        weights = self._settings.force_weight * shares.view(-1) * data.force_weights[frames]
        weighted = weights[:, None] * errors
        directions = torch.bmm(jacobians, (-2.0 * weighted)[:, :, None]).view(slope.shape)
        return (weighted * errors).sum(1).view(shares.shape), directions
