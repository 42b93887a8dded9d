"""Activations of the networks with their derivatives, and sums of products, as vector instructions.

`training.activation` is their specification. GELU is x Φ(x), with slope Φ + x φ and curvature φ (2 - x²), where
φ(x) = exp(-x²/2)/√2π and Φ(-|x|) = φ(x) M(|x|); M is Mills' ratio. Inference takes it in single precision; training,
which needs the curvature too, in double precision, rounded to single at the end.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.simd import DOUBLE, INT, SIMD, SINGLE, loop

GELU, CELU = 0, 1
"""Activations: Gaussian error linear unit, and CELU with parameter 0.1 as the published ANI models have it."""
STEP = 16
"""Numbers at a time; what is left over goes one by one through the same instructions."""
FARTHEST = 6.0
"""Φ(-6) is 1e-9."""
STRETCH = 0.3
MILLS = (
    -0.00513712657063, 0.36084577108, -0.0106446628962, 1.16080363673,
    -1.31345263179, 1.72628310608, -0.791448213887, 0.12606425518,
)  # fmt: skip
"""Mills' ratio (1 - Φ(x)) / φ(x) in 1 / (1 + 0.3 x), fitted by least squares on 0..6: right to 2e-9."""
HALVINGS = 6
"""Of the exponent in double precision, so that seven terms of Taylor's series are enough."""


def _density(simd: SIMD, a: Any) -> Any:
    """Return φ(a) for a from 0 to 6."""
    builder = simd.builder
    if simd.kind == SINGLE:
        exponential = simd.exp(builder.fmul(builder.fmul(a, a), simd.constant(-0.5)))
    else:
        square, exponential = builder.fmul(a, builder.fneg(a)), simd.constant(1.0)
        for k in range(7, 0, -1):
            part = builder.fmul(square, simd.constant(1.0 / k * 0.5**HALVINGS * 0.5))
            exponential = simd.fma(part, exponential, simd.constant(1.0))
        for _ in range(HALVINGS):
            exponential = builder.fmul(exponential, exponential)
    return builder.fmul(exponential, simd.constant(1.0 / math.sqrt(2.0 * math.pi)))


def _lesser(simd: SIMD, number: float, x: Any) -> Any:
    """Return the lesser of a number and x; NaN where x is."""
    limit = simd.constant(number)
    return simd.builder.select(simd.builder.fcmp_ordered("<", limit, x), limit, x)


def _gelu(simd: SIMD, x: Any) -> tuple[Any, Any, Any]:
    """Return GELU, its slope, and the density φ that its curvature needs."""
    builder, one = simd.builder, simd.constant(1.0)
    a = _lesser(simd, FARTHEST, simd.call("fabs", x))
    density = _density(simd, a)
    t = builder.fdiv(one, simd.fma(a, simd.constant(STRETCH), one))
    tail = builder.fmul(density, simd.polynomial(t, [simd.constant(c) for c in MILLS]))
    below = builder.fcmp_ordered("<", x, simd.constant(0.0))
    share = builder.select(below, tail, builder.fsub(one, tail))
    return builder.fmul(x, share), simd.fma(x, density, share), density


def _write_gelu(kind: Any) -> Any:
    """Return the code of an intrinsic over flat arrays: values x, replaced by GELU, slopes, and curvatures if given."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [context.make_array(t)(context, builder, a) for t, a in zip(signature.args, arguments, strict=True)]
        count = cgutils.unpack_tuple(builder, arrays[0].shape)[0]
        whole = builder.and_(count, INT(-STEP))
        for start, stop, step in ((INT(0), whole, STEP), (whole, count, 1)):
            simd = SIMD(builder, step, kind)
            with loop(builder, start, stop, step) as (n, _):
                x = simd.load(arrays[0].data, n)
                value, slope, density = _gelu(simd, x)
                square = _lesser(simd, FARTHEST**2, builder.fmul(x, x))
                curvature = builder.fmul(density, builder.fsub(simd.constant(2.0), square))
                for part, array in zip((value, slope, curvature), arrays, strict=False):
                    simd.store(part, array.data, n)
        return context.get_dummy_value()

    return write


@intrinsic
def gelu(_context: Any, values: Any, slopes: Any) -> Any:
    """Replace flat values x by GELU and fill the slopes, in single precision."""
    return types.void(values, slopes), _write_gelu(SINGLE)


@intrinsic
def gelu_to_second(_context: Any, values: Any, slopes: Any, curvatures: Any) -> Any:
    """Replace flat values x by GELU and fill slopes and curvatures, in double precision."""
    return types.void(values, slopes, curvatures), _write_gelu(DOUBLE)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def celu(values: SingleArray, slopes: SingleArray, curvatures: SingleArray) -> None:
    """Replace flat values x by max(x, 0) + min(0.1 (exp(x/0.1) - 1), 0) and fill slopes, and curvatures if any."""
    second = len(curvatures) > 0
    for n in range(len(values)):
        x = np.float64(values[n])
        growth = math.exp(10.0 * x) if x < 0.0 else 1.0
        if x < 0.0:
            values[n] = 0.1 * (growth - 1.0)
        slopes[n] = growth
        if second:
            curvatures[n] = 10.0 * growth if x < 0.0 else 0.0


@intrinsic
def sum_of_products(_context: Any, a: Any, a0: Any, b: Any, b0: Any, count: Any) -> Any:
    """Return the sum of `count` products in double precision, of two flat arrays from an index in each on."""
    del a0, b0, count  # whole numbers

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        arrays = [context.make_array(signature.args[k])(context, builder, arguments[k]) for k in (0, 2)]
        data = [builder.gep(array.data, [arguments[k]]) for array, k in zip(arrays, (1, 3), strict=True)]
        whole = builder.and_(arguments[4], INT(-STEP))
        sums = []
        for start, stop, step in ((INT(0), whole, STEP), (whole, arguments[4], 1)):
            simd = SIMD(builder, step)
            address = cgutils.alloca_once(builder, simd.type)
            builder.store(simd.constant(0.0), address)
            with loop(builder, start, stop, step) as (n, _):
                left, right = (simd.load(base, n) for base in data)
                builder.store(simd.fma(left, right, builder.load(address)), address)
            sums.append(simd.total(builder.load(address)))
        return builder.fadd(*sums)

    return types.float64(a, types.int64, b, types.int64, types.int64), write
