"""The optimisers of `schedule` for weights in the memory of the CPU: one pass over everything a step."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.settings import ANITrainingSettings
from alflow.potentials.ani.training.parameters import Parameters
from alflow.potentials.ani.training.schedule import layer_decays
from alflow.potentials.sharing import Share
from alflow.types import FloatArray, IntArray

FIRST_DECAY, SECOND_DECAY, SMALLEST = 0.9, 0.999, 1e-8
"""Of AdamW, as torch has them by default."""
DESCENT = -1.0
"""A weight decay that stands for plain gradient descent."""


class CompiledOptimiser:
    """AdamW over all, or AdamW over weights and gradient descent over biases; a learning rate for each member."""

    def __init__(
        self, settings: ANITrainingSettings, parameters: Parameters, gradient: Parameters, share: Share
    ) -> None:
        """Take the gradient from where the passes leave it."""
        self._share = share
        self._flat, self._gradient = parameters.flat.detach().numpy(), gradient.flat.detach().numpy()
        decays = layer_decays(settings, len(parameters.weights[0]))
        bias_decay = 0.0 if settings.optimizer == "adamw" else DESCENT
        pieces: list[tuple[int, int, int, float]] = []
        for kind in (parameters.weights, parameters.biases):
            for element in kind:
                for layer, leaf in enumerate(element):
                    size, start = leaf[0].numel(), int(leaf.storage_offset())
                    decay = decays[layer] if kind is parameters.weights else bias_decay
                    pieces += [(start + m * size, start + (m + 1) * size, m, decay) for m in range(len(leaf))]
        pieces.sort(key=lambda piece: piece[2])
        self._places = np.array([piece[:2] for piece in pieces], np.int64)
        self._member = np.array([piece[2] for piece in pieces], np.int64)
        self._decay = np.array([piece[3] for piece in pieces])
        self._first, self._second = np.zeros_like(self._flat), np.zeros_like(self._flat)
        self._steps = 0

    def step(self, rates: list[float]) -> None:
        """Change the weights, with one learning rate a member."""
        self._steps += 1
        rate_of, decays = np.array(rates)[self._member], self._decay
        biases = 1.0 - FIRST_DECAY**self._steps, 1.0 - SECOND_DECAY**self._steps
        arrays = self._flat, self._gradient, self._first, self._second
        self._share(
            lambda a, b: _step(self._places[a:b], rate_of[a:b], decays[a:b], *biases, *arrays), len(self._places)
        )

    def state(self) -> list[dict[str, Any]]:
        """Return what a checkpoint keeps."""
        moments = (torch.from_numpy(self._first), torch.from_numpy(self._second))
        return [{"steps": self._steps, "first": moments[0], "second": moments[1]}]

    def restore(self, states: list[dict[str, Any]]) -> None:
        """Go on from a checkpoint."""
        (state,) = states
        self._steps = int(state["steps"])
        self._first[:], self._second[:] = state["first"].numpy(), state["second"].numpy()


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _step(
    places: IntArray,
    rates: FloatArray,
    decays: FloatArray,
    first_bias: float,
    second_bias: float,
    flat: SingleArray,
    gradient: SingleArray,
    first: SingleArray,
    second: SingleArray,
) -> None:
    """Do one step; `places` are (P, 2) first entries and ends of pieces, with a rate and a decay each."""
    old, old_square = np.float32(FIRST_DECAY), np.float32(SECOND_DECAY)
    new, new_square = np.float32(1.0 - FIRST_DECAY), np.float32(1.0 - SECOND_DECAY)
    for piece in range(len(places)):
        start, stop = places[piece, 0], places[piece, 1]
        weights, slopes = flat[start:stop], gradient[start:stop]
        if decays[piece] < 0.0:
            rate = np.float32(rates[piece])
            for n in range(stop - start):
                weights[n] -= rate * slopes[n]
            continue
        means, squares = first[start:stop], second[start:stop]
        keep = np.float32(1.0 - rates[piece] * decays[piece])
        size = np.float32(rates[piece] / first_bias)
        unbiased, smallest = np.float32(1.0 / np.sqrt(second_bias)), np.float32(SMALLEST)
        for n in range(stop - start):
            slope = slopes[n]
            mean = old * means[n] + new * slope
            square = old_square * squares[n] + new_square * slope * slope
            means[n], squares[n] = mean, square
            weights[n] = keep * weights[n] - size * mean / (np.sqrt(square) * unbiased + smallest)
