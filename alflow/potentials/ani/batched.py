"""Energies and forces of many structures of one composition at once, by torch: on a GPU, or on a CPU for the tests.

The functions of `symmetry.py` as tensor arithmetic of fixed shapes: the nearest neighbours of each atom stand in a
padded list, what lies beyond a cutoff adds 0, and no value is asked back from the device. So a call can be captured in
a CUDA graph. The sums over neighbours and over triples are batched matrix products with the elements one-hot:

    radial      G[e, s]      = Σ_j  [j is e] · exp(-η (r_j - r_s)²) fc(r_j) / 4
    angular     G[ee', p, q] = Σ_jk [jk are ee'] · 2 ((1 + cos(θ - θ_q)) / 2)^ζ fc fc · exp(-η (r_jk - r_p)²)

so that the products over shifts and sections of a triple are never stored. Forces come from automatic derivatives with
respect to the displacements in the lists, gathered into the atoms without atomic additions: the same bits in every run.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import celu, gelu

from alflow.potentials.ani.ensemble import ANIEnsemble, Driver
from alflow.potentials.ani.symmetry import SymmetryFunctions
from alflow.potentials.ani.training.parameters import from_networks
from alflow.types import Composition, FloatArray

FAR = 1e12
"""Å², the squared distance of an atom from itself: it is no neighbour."""
MARGIN, ROOM = 1.1, 2
"""A list of neighbours takes this many times those that were found, and this many more."""


class BatchedForceModel:
    """An ensemble bound to one composition: see `alflow.sampling.batched.BatchedForceModel`.

    Displacements are taken in double precision, all else in `precision`: in single, energies are right to about 1e-5 eV
    and forces to about 1e-4 eV/Å. Structures do not meet: one whose positions are not finite gives NaN for itself.
    """

    def __init__(
        self,
        ensemble: ANIEnsemble,
        composition: Composition,
        device: torch.device,
        *,
        driver: Driver = "mean",
        precision: torch.dtype = torch.float32,
        compiled: bool = False,
    ) -> None:
        """Bind to a composition and a device.

        Args:
            ensemble: M members.
            composition: of the molecule, A atoms.
            device: where it runs.
            driver: a member, or the mean of all: whose energies and forces are returned.
            precision: of descriptors and networks.
            compiled: fuse by `torch.compile`. It compiles at the first call for each number of structures and length of
                the lists, some ten seconds each time, and drops what `torch.compile` has made for others in this
                process: worth it where some 10⁴ steps or more follow. `benchmarks/accelerator.py` has both sides.

        Raises:
            StructureError: an element is unknown to the ensemble.
        """
        functions = ensemble.functions
        species = functions.species(composition.numbers)
        order = np.argsort(species, kind="stable")
        elements = len(functions.elements)
        bounds = np.searchsorted(species[order], np.arange(elements + 1))
        mean = np.full(ensemble.members, 1.0 / ensemble.members)
        weights = mean if driver == "mean" else np.eye(ensemble.members)[driver]
        self.device, self._precision, self._atoms = device, precision, len(species)
        self._order, self._back = (torch.from_numpy(rows).to(device) for rows in (order, np.argsort(order)))
        self._spans = [(e, int(bounds[e]), int(bounds[e + 1])) for e in range(elements) if bounds[e] < bounds[e + 1]]
        self._weights = torch.from_numpy(weights).to(device)
        constant = ensemble.self_energies @ np.bincount(species, minlength=elements)
        self._constant = torch.from_numpy(constant)[:, None].to(device)
        self._itself = FAR * torch.eye(len(species), dtype=torch.float64, device=device)
        self._species = torch.from_numpy(species[order]).to(device)
        self._functions = _Functions(functions, device, precision)
        parameters = from_networks(ensemble.networks, device)
        self._parameters = parameters.like(parameters.flat.to(precision))
        self._activate = gelu if ensemble.networks.activation == "gelu" else _celu
        self._cutoffs = functions.radial_cutoff**2, functions.angular_cutoff**2
        self._overflow = torch.zeros((), dtype=torch.bool, device=device)
        self._compiled = compiled
        self._resize(ROOM, ROOM)

    @torch.no_grad()
    def __call__(self, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return energies (R,) eV, forces (R, A, 3) eV/Å and spreads (R,) eV at (R, A, 3) Å, all in double precision.

        They are wrong where a list of neighbours is too short: ask `fits` afterwards.
        """
        x = positions.index_select(1, self._order)
        apart = x[:, None] - x[:, :, None]
        nearest, neighbours = torch.topk((apart * apart).sum(-1) + self._itself, self._radial, dim=2, largest=False)
        self._note(nearest)
        rows = neighbours[..., None].expand(-1, -1, -1, 3)
        near = apart.gather(2, rows).to(self._precision)
        kinds, classes = self._functions.one_hot(self._species[neighbours], self._first, self._second)
        energies, slope = self._slopes(near, kinds, classes)
        pulls = torch.zeros_like(apart).scatter_(2, rows, slope.double())
        forces = (pulls.sum(2) - pulls.sum(1)).index_select(1, self._back)
        energies = energies + self._constant
        spread = energies.std(0, correction=0) if len(energies) > 1 else torch.zeros_like(energies[0])
        return (self._weights[:, None] * energies).sum(0), forces, spread

    def fits(self) -> bool:
        """Say whether the lists have been long enough in all calls so far. Waits for the device."""
        return not bool(self._overflow)

    def make_room(self, positions: FloatArray | None = None) -> None:
        """Lengthen the lists of neighbours: for what was found too long, or for structures (R, A, 3) Å."""
        if positions is None:
            self._resize(*(int(MARGIN * size) + ROOM for size in (self._radial, self._angular)))
            return
        apart = np.linalg.norm(positions[:, :, None] - positions[:, None], axis=3)
        found = [int((apart**2 < cutoff).sum(2).max(initial=1)) - 1 for cutoff in self._cutoffs]
        self._resize(*(int(MARGIN * size) + ROOM for size in found))

    def _resize(self, radial: int, angular: int) -> None:
        most = self._atoms - 1
        self._radial, self._angular = min(radial, most), min(angular, most)
        self._radial = max(self._radial, self._angular)
        pairs = torch.triu_indices(self._angular, self._angular, 1, device=self.device)
        self._first, self._second = pairs[0], pairs[1]
        self._flat = pairs[0] * self._angular + pairs[1]
        self._overflow.zero_()
        if self._compiled:  # from nothing for these shapes: torch 2.11 failed at the second, which it takes as dynamic
            torch.compiler.reset()
        slopes = torch.compile(self._differentiate, dynamic=False) if self._compiled else self._differentiate_eagerly
        self._slopes: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]] = slopes

    def _note(self, nearest: Tensor) -> None:
        """Note whether a list is full of neighbours within the cutoff, where it could be longer."""
        for size, cutoff in zip((self._radial, self._angular), self._cutoffs, strict=True):
            if size < self._atoms - 1:
                self._overflow.logical_or_((nearest[..., size - 1] < cutoff).any())

    def _differentiate_eagerly(self, near: Tensor, kinds: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return energies (M, R), and the derivative (R, A, K, 3) of the driving energy along displacements."""
        with torch.enable_grad():
            near.requires_grad_()
            driving, energies = self._energies(near, kinds, classes)
            (slope,) = torch.autograd.grad(driving, near)
        return energies.detach(), slope

    def _differentiate(self, near: Tensor, kinds: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same in the form that `torch.compile` takes."""
        slope, energies = torch.func.grad(self._energies, has_aux=True)(near, kinds, classes)
        return energies, slope

    def _energies(self, near: Tensor, kinds: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Return the sum over structures of the driving energy, and the energies (M, R) of the members."""
        vectors = self._functions.descriptors(near, kinds, classes, self._angular, self._flat)
        parts = [self._networks(e, vectors[:, start:stop]) for e, start, stop in self._spans]
        energies = torch.stack(parts).sum(0)
        return (self._weights[:, None] * energies).sum(), energies

    def _networks(self, element: int, vectors: Tensor) -> Tensor:
        """Return the energies (M, R) of the atoms of one element, whose descriptors are (R, n, L)."""
        weights, biases = self._parameters.weights[element], self._parameters.biases[element]
        structures, atoms, length = vectors.shape
        hidden = vectors.reshape(1, structures * atoms, length).expand(len(weights[0]), -1, -1)
        for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
            hidden = self._activate(torch.baddbmm(bias, hidden, weight))
        atomic = torch.baddbmm(biases[-1], hidden, weights[-1])
        return atomic.view(-1, structures, atoms).double().sum(-1)


class _Functions:
    """The symmetry functions as tensors. E elements, C pairs of elements, S radial shifts, P shifts, Q sections."""

    def __init__(self, functions: SymmetryFunctions, device: torch.device, precision: torch.dtype) -> None:
        packed, elements = functions.packed, len(functions.elements)
        steps = (functions.radial_eta, functions.angular_eta, functions.zeta)
        self._radial_eta, self._angular_eta, self._zeta = (float(np.float32(value)) for value in steps)
        self._radial_cutoff, self._angular_cutoff = functions.radial_cutoff, functions.angular_cutoff
        self._radial_shifts, self._angular_shifts, self._sections = (
            torch.from_numpy(values).to(device, precision)
            for values in (packed.radial_shifts, packed.angular_shifts, packed.sections)
        )
        classes = (functions.pair_columns() - functions.radial_length) // functions.angular_block
        self._elements = elements
        self._kinds = torch.eye(elements, device=device, dtype=precision)
        count = elements * (elements + 1) // 2
        self._classes = torch.eye(count, device=device, dtype=precision)[torch.from_numpy(classes.ravel()).to(device)]

    def one_hot(self, species: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Return the elements (R, A, K, E) of neighbours (R, A, K), and the pairs (R, A, T, C) of triples (T,)."""
        pair = species.index_select(2, first) * self._elements + species.index_select(2, second)
        return self._kinds[species], self._classes[pair]

    def descriptors(self, near: Tensor, kinds: Tensor, classes: Tensor, angular: int, flat: Tensor) -> Tensor:
        """Return (R, A, L) descriptors.

        Args:
            near: (R, A, K, 3) Å, displacements to the neighbours, the nearest first.
            kinds: (R, A, K, E) the neighbours' elements.
            classes: (R, A, T, C) the pairs of elements of the triples.
            angular: how many of the neighbours form triples.
            flat: (T,) the triples in the square of those.
        """
        distance = (near * near).sum(-1).sqrt()
        gaussians = (-self._radial_eta * (distance[..., None] - self._radial_shifts) ** 2).exp()
        shells = gaussians * (0.25 * _fade(distance, self._radial_cutoff))[..., None]
        radial = torch.matmul(kinds.transpose(-1, -2), shells)
        distance = distance[..., :angular]
        unit = near[..., :angular, :] / distance[..., None]
        fade = _fade(distance, self._angular_cutoff)
        square = torch.stack(
            (
                0.95 * torch.matmul(unit, unit.transpose(-1, -2)),
                0.5 * (distance[..., :, None] + distance[..., None, :]),
                2.0 * fade[..., :, None] * fade[..., None, :],
            ),
            dim=-3,
        )
        cosine, middle, both = square.flatten(-2).index_select(-1, flat).unbind(-2)
        sine = (1.0 - cosine * cosine).sqrt()
        turned = cosine[..., None] * self._sections[0] + sine[..., None] * self._sections[1]
        sections = (0.5 + 0.5 * turned).clamp(min=0.0) ** self._zeta * both[..., None]
        shells = (-self._angular_eta * (middle[..., None] - self._angular_shifts) ** 2).exp()
        sorted_sections = (classes[..., :, None] * sections[..., None, :]).flatten(-2)
        blocks = torch.matmul(sorted_sections.transpose(-1, -2), shells)
        shape = (*blocks.shape[:2], classes.shape[-1], self._sections.shape[1], -1)
        blocks = blocks.view(shape).transpose(-1, -2)
        return torch.cat((radial.flatten(2), blocks.flatten(2)), dim=2)


def _fade(distance: Tensor, cutoff: float) -> Tensor:
    """Return the cutoff function; 0 with slope 0 beyond the cutoff."""
    return 0.5 * (distance.clamp(max=cutoff) * (math.pi / cutoff)).cos() + 0.5


def _celu(values: Tensor) -> Tensor:
    """Return the CELU of the published models."""
    return celu(values, 0.1)
