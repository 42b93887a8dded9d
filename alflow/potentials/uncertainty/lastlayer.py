"""Estimators in the last hidden layer: covariance of its weights, and distance to what was learnt from.

The covariance is the last-layer prediction rigidity of F. Bigi, S. Chong, M. Ceriotti and F. Grasselli, Mach. Learn.:
Sci. Technol. (2024), arXiv 2403.02251. A prediction that is linear in the last layer's weights, y = f · w, has after a
regression on rows f_t the variance

    σ² = α² fᵀ (F + s 1)⁻¹ f,    F = Σ_t f_t f_tᵀ,

f: `values`, one row a frame; F: `gram`; α: `scale`; s: `prior`. An energy has a constant beside, whatever it be: then f
is taken from the mean of the rows, f - `centre`, in F and in σ², and σ² has α² / T more, T being the `count` of the
rows. With the derivatives of f in place of f it is the variance of a force. Neither α nor s is known beforehand: both
are those under which the errors of labelled frames that were not learnt from are likeliest, taken as independent draws
from N(0, σ); errors of energies for the energy, errors of force components for the forces.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from alflow.types import FloatArray, Frames

PRIORS = 10.0 ** np.arange(-12.0, 0.5, 0.5)
"""Values of s that are tried, in units of the largest eigenvalue of F."""
CHECKED_FOR_FORCES = 200
"""Frames at most whose force components α and s are taken from: 3 A rows each."""


class CheckedErrors(NamedTuple):
    """F frames of one composition that were not learnt from, and by how much the potential errs there."""

    frames: Frames
    energies: FloatArray
    """(F,) eV."""
    forces: FloatArray
    """(F, A, 3) eV/Å."""


class LastLayer(Protocol):
    """N features that the energy of a potential is linear in, for fixed weights of the layers before."""

    def values(self, frames: Frames) -> FloatArray:
        """Return the features of the frames, (F, N), summed over atoms."""
        ...

    def slopes(self, frames: Frames, directions: FloatArray | None = None) -> FloatArray:
        """Return the derivatives of the features along (F, D, A, 3) directions, (F, D, N).

        Without directions, along the 3 A positions one by one, atom by atom.
        """
        ...


@dataclass(frozen=True)
class Gram:
    """F, and what it was taken from."""

    matrix: FloatArray
    """(N, N)."""
    centre: FloatArray
    """(N,) mean of the rows of energies."""
    count: float
    """T, rows of energies, each as often as it weighs."""


@dataclass(frozen=True)
class Covariance:
    """Of N weights: α² (F + s 1)⁻¹ = α² · factor · factorᵀ."""

    factor: FloatArray
    """(N, N)."""
    scale: float
    """α, in the unit of what the errors were of."""
    prior: float
    """s, in the unit of F."""

    def deviation(self, rows: FloatArray, offset: float = 0.0) -> FloatArray:
        """Return σ, (...), of what is linear in the weights with coefficients (..., N); σ² has α² · `offset` more."""
        found = rows @ self.factor
        squares = np.einsum("...n,...n->...", found, found)
        return np.asarray(self.scale * np.sqrt(squares + offset), dtype=np.float64)


def fit_covariance(matrix: FloatArray, rows: FloatArray, errors: FloatArray, offset: float = 0.0) -> Covariance:
    """Return the covariance under which errors are likeliest.

    For each s of `PRIORS` the likeliest scale is α² = mean(e² / v) with v = fᵀ (F + s 1)⁻¹ f + offset, and twice the
    negative logarithm of the likelihood of one error is then mean(log v) + log α² and a constant.

    Args:
        matrix: (N, N) F.
        rows: (n, N) f of what was not learnt from.
        errors: (n,) of the same rows.
        offset: added to v: 1 / T where a constant is free, 0 otherwise.
    """
    eigenvalues, vectors = np.linalg.eigh(matrix)
    eigenvalues = np.maximum(eigenvalues, 0.0)
    squares = (rows @ vectors) ** 2
    best: tuple[float, float, float] | None = None
    for prior in PRIORS * eigenvalues[-1]:
        variance = squares @ (1.0 / (eigenvalues + prior)) + offset
        scale2 = float(np.mean(errors**2 / variance))
        loss = float(np.mean(np.log(variance)) + np.log(scale2))
        if best is None or loss < best[0]:
            best = loss, float(prior), float(np.sqrt(scale2))
    assert best is not None
    _, prior, scale = best
    return Covariance(vectors / np.sqrt(eigenvalues + prior), scale, prior)


def gram_of(layer: LastLayer, trained: Sequence[Frames], force_weight: float = 0.0) -> Gram:
    """Return F of what a potential learnt from.

    Without forces, the sum of f fᵀ over the frames. With them, each frame weighs as in the loss that is trained
    (`docs/ani.md`): f fᵀ / √A, and force_weight / A for each of the 3 A rows of derivatives of f.

    Args:
        layer: the features.
        trained: frames, of one composition each.
        force_weight: weight of the forces in the loss, Å²; 0 for energies alone.
    """
    values = [layer.values(frames) for frames in trained]
    weights = [1.0 if force_weight == 0.0 else frames.positions.shape[1] ** -0.5 for frames in trained]
    count = float(sum(weight * len(rows) for weight, rows in zip(weights, values, strict=True)))
    centre = np.sum([w * rows.sum(axis=0) for w, rows in zip(weights, values, strict=True)], axis=0) / count
    matrix = np.sum([w * (rows - centre).T @ (rows - centre) for w, rows in zip(weights, values, strict=True)], axis=0)
    for frames in trained if force_weight else ():
        for frame in range(len(frames)):
            slopes = layer.slopes(frames.take(slice(frame, frame + 1)))[0]
            matrix += force_weight / frames.positions.shape[1] * (slopes.T @ slopes)
    return Gram(matrix, centre, count)


@dataclass(frozen=True)
class LastLayerCovariance:
    """The last layer's weights as a regression leaves them."""

    layer: LastLayer
    gram: Gram
    energies: Covariance
    """For energies, scale in eV."""
    forces: Covariance
    """For forces, scale in eV."""
    name: str = "last-layer covariance"

    @classmethod
    def fit(
        cls,
        layer: LastLayer,
        trained: Sequence[Frames],
        checked: Sequence[CheckedErrors],
        force_weight: float = 0.0,
        name: str = "last-layer covariance",
    ) -> LastLayerCovariance:
        """Take F from what was learnt from, α and s from errors.

        Args:
            layer: the features.
            trained: frames, of one composition each.
            checked: what was not learnt from.
            force_weight: see `gram_of`.
            name: for people.
        """
        gram = gram_of(layer, trained, force_weight)
        rows = np.concatenate([layer.values(one.frames) for one in checked]) - gram.centre
        errors = np.concatenate([one.energies for one in checked])
        energies = fit_covariance(gram.matrix, rows, errors, 1.0 / gram.count)
        stride = max(1, -(-len(rows) // CHECKED_FOR_FORCES))
        slopes, gaps = [], []
        for one in checked:
            part = one.frames.take(slice(None, None, stride))
            slopes.append(layer.slopes(part).reshape(-1, rows.shape[1]))
            gaps.append(one.forces[::stride].ravel())
        forces = fit_covariance(gram.matrix, np.concatenate(slopes), np.concatenate(gaps))
        return cls(layer, gram, energies, forces, name)

    def energy(self, frames: Frames) -> FloatArray:
        """Return σ of the energy, (F,) eV."""
        return self.energies.deviation(self.layer.values(frames) - self.gram.centre, 1.0 / self.gram.count)

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return σ of the force on the least certain atom, (F,) eV/Å."""
        found = np.zeros(len(frames))
        for frame in range(len(frames)):  # all derivatives of one frame are 60 rows for hexane
            slopes = self.layer.slopes(frames.take(slice(frame, frame + 1)))[0]
            components = self.forces.deviation(slopes).reshape(-1, 3)
            found[frame] = np.linalg.norm(components, axis=1).max()
        return found

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:
        """Return σ of F · d, (F,) eV/Å, of (F, A, 3) directions."""
        return self.forces.deviation(self.layer.slopes(frames, directions[:, None])[:, 0])


@dataclass(frozen=True)
class LastLayerDistance:
    """Distance to the nearest frame that was learnt from, in the features over their standard deviations; no unit."""

    layer: LastLayer
    known: FloatArray
    """(T, N) features of what was learnt from, over their deviations."""
    deviations: FloatArray
    """(N,); infinity for a feature that does not vary, which then has no part."""
    name: str = "last-layer distance"

    @classmethod
    def fit(cls, layer: LastLayer, trained: Sequence[Frames]) -> LastLayerDistance:
        """Take the features of frames, of one composition each."""
        values = np.concatenate([layer.values(frames) for frames in trained])
        deviations = values.std(axis=0)
        deviations[deviations == 0.0] = np.inf
        return cls(layer, values / deviations, deviations)

    def energy(self, frames: Frames) -> FloatArray:
        """Return the distance, (F,)."""
        rows = self.layer.values(frames) / self.deviations
        squares = (rows**2).sum(axis=1)[:, None] + (self.known**2).sum(axis=1) - 2.0 * rows @ self.known.T
        return np.asarray(np.sqrt(np.maximum(squares, 0.0).min(axis=1)), dtype=np.float64)

    def largest_force(self, frames: Frames) -> FloatArray:
        """Return the distance, (F,)."""
        return self.energy(frames)

    def force_along(self, frames: Frames, directions: FloatArray) -> FloatArray:  # noqa: ARG002 - one number for all
        """Return the distance, (F,)."""
        return self.energy(frames)
