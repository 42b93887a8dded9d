"""Activations and sums of products against double precision, and against those of torch."""

import numba
import numpy as np
import pytest
import torch
from scipy.special import ndtr

from alflow.potentials.ani.kernels.activations import celu, gelu, gelu_to_second, sum_of_products
from alflow.potentials.ani.training import activation


@numba.njit
def activate(values, slopes):
    gelu(values, slopes)


@numba.njit
def activate_to_second(values, slopes, curvatures):
    gelu_to_second(values, slopes, curvatures)


@numba.njit
def dot(a, a0, b, b0, count):
    return sum_of_products(a, a0, b, b0, count)


@pytest.fixture
def numbers():
    return np.concatenate([np.linspace(-9.0, 9.0, 4001), [0.0, -1e-4, 30.0, -30.0]]).astype(np.float32)


def test_gelu_and_slope_are_right_to_single_precision(numbers):
    values, slopes, exact = numbers.copy(), np.empty_like(numbers), numbers.astype(float)
    activate(values, slopes)
    density = np.exp(-0.5 * exact**2) / np.sqrt(2.0 * np.pi)
    assert np.abs((values - exact * ndtr(exact)) / np.maximum(np.abs(exact), 1.0)).max() < 1.5e-7
    assert np.abs(slopes - ndtr(exact) - exact * density).max() < 3e-7


@pytest.mark.parametrize(("kernel", "torchs"), [(activate_to_second, activation.gelu), (celu, activation.celu)])
def test_to_second_order_equals_torch(kernel, torchs):
    x = torch.cat([torch.linspace(-9, 9, 4001), torch.tensor([-300.0, 300.0, 0.0])])
    found = x.numpy().copy(), np.empty(len(x), np.float32), np.empty(len(x), np.float32)
    kernel(*found)
    for one, other in zip(found, torchs(x.double()), strict=True):
        assert np.abs(one - other.numpy()).max() < 2e-6


@pytest.mark.parametrize(("kernel", "count"), [(activate, 2), (activate_to_second, 3), (celu, 3)])
def test_not_a_number_stays_so(kernel, count):
    parts = [np.full(1, np.nan, np.float32) for _ in range(count)]
    kernel(*parts)
    assert np.isnan(parts[0]).all()


def test_place_in_the_array_does_not_change_the_bits(numbers):
    whole, slopes = numbers.copy(), np.empty_like(numbers)
    activate(whole, slopes)
    for place in (0, 5, 1000, len(numbers) - 1):
        one, slope = numbers[place : place + 1].copy(), np.empty(1, np.float32)
        activate(one, slope)
        assert (one[0], slope[0]) == (whole[place], slopes[place])


@pytest.mark.parametrize("count", [0, 1, 16, 37])
def test_sum_of_products(count):
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=(2, 60)).astype(np.float32)
    expected = a[3 : 3 + count].astype(float) @ b[7 : 7 + count].astype(float)
    assert dot(a, 3, b, 7, count) == pytest.approx(expected, abs=1e-12)
