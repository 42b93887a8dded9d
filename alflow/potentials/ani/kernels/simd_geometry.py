"""Inner loops over pairs and triples of atoms, as vector instructions.

Elementary functions run over eight pairs or triples at a time, from polynomials, without a call or a branch; the
families of Gaussians, and their products with the angular factors, over all shifts of one pair or triple at a time.
The order of every sum is fixed here, so the bits depend on nothing else. Arrays that are filled eight at a time have
space for the next multiple of eight.
"""

from __future__ import annotations

import math
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from alflow.potentials.ani.kernels.simd import (
    DOUBLE,
    INT,
    SIMD,
    SINGLE,
    Fields,
    converted,
    deinterleave,
    interleave,
    loop,
    row_of,
)
from alflow.potentials.ani.kernels.workspace import (
    ANGULAR_CUTOFF,
    ANGULAR_ETA,
    ANGULAR_STEP,
    RADIAL_CUTOFF,
    RADIAL_ETA,
    RADIAL_STEP,
    STEP,
    ZETA,
)

SMALLEST = 1e-15
"""Smaller Gaussians count as 0: their products in single precision would be slow."""
_COS = [(-1.0) ** k / math.factorial(2 * k) for k in range(10)]
"""cos x in x², to 4e-15 up to π/2."""
_SIN = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(9)]
"""sin x / x in x², to 4e-13 up to π/2."""


def _fields(context: Any, builder: Any, signature: Any, arguments: Any) -> tuple[Fields, Fields]:
    """Return the fields of the symmetry functions and of the workspace, the first two arguments of an intrinsic."""
    parameters, workspace = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
    return parameters, workspace


def _cosine_cutoff(simd: SIMD, distance: Any, cutoff: Any) -> tuple[Any, Any]:
    """Return the cutoff function ½ cos(πr/c) + ½ = cos²(πr/2c), and its slope."""
    builder = simd.builder
    rate = builder.fdiv(ir.Constant(DOUBLE, 0.5 * math.pi), cutoff)
    x = builder.fmul(distance, simd.splat(rate))
    square = builder.fmul(x, x)
    cosine = simd.polynomial(square, [simd.constant(c) for c in _COS])
    sine = builder.fmul(x, simd.polynomial(square, [simd.constant(c) for c in _SIN]))
    fall = builder.fmul(builder.fmul(cosine, sine), simd.splat(builder.fmul(rate, ir.Constant(DOUBLE, -2.0))))
    return builder.fmul(cosine, cosine), fall


def _first_and_ratio(simd: SIMD, offset: Any, eta: Any, step: Any) -> tuple[Any, Any]:
    """Return the first of a family of Gaussians, exp(-η o²), and the ratio exp(2ηh o) that leads to the next."""
    builder = simd.builder
    first = simd.exp(builder.fmul(simd.splat(builder.fneg(eta)), builder.fmul(offset, offset)))
    growth = builder.fmul(builder.fmul(eta, step), ir.Constant(DOUBLE, 2.0))
    return first, simd.exp(builder.fmul(simd.splat(growth), offset))


@intrinsic
def evaluate_pairs(_context: Any, functions: Any, work: Any, _count: Any) -> Any:
    """Fill the rows of `pair_parts` after the distances, for the first `count` pairs."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        simd = SIMD(builder, STEP)
        shift = parameters.number("radial_shifts", 0)
        eta, step, *cutoffs = (
            parameters.number("scalars", k) for k in (RADIAL_ETA, RADIAL_STEP, RADIAL_CUTOFF, ANGULAR_CUTOFF)
        )
        with loop(builder, INT(0), arguments[2], STEP) as (n, _):
            distance = simd.load(workspace.row("pair_parts", 0), n)
            offset = builder.fsub(distance, simd.splat(shift))
            parts = [offset, *_first_and_ratio(simd, offset, eta, step)]
            for cutoff in cutoffs:
                parts += _cosine_cutoff(simd, distance, cutoff)
            for row, part in enumerate(parts, start=1):
                simd.store(part, workspace.row("pair_parts", row), n)
        return context.get_dummy_value()

    return types.void(functions, work, types.int64), write


@intrinsic
def evaluate_triples(_context: Any, functions: Any, work: Any, _count: Any) -> Any:
    """Fill `triple_angular` and the rows of `triple_parts` after the means, for the first `count` triples.

    With c = 0.95 cos θ and s = √(1 - c²), cos(arccos c - θ_q) = c cos θ_q + s sin θ_q: no arccosine is needed, and
    s never falls below 0.31, so straight angles are as regular as any. With u = ½ (1 + that), the factor is
    2u · u^(ζ-1) and its slope 2ζ u^(ζ-1) u': one polynomial gives both.
    """

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        simd, sections = SIMD(builder, STEP), parameters.length("static_sections")
        shift = parameters.number("angular_shifts", 0)
        eta, step = (parameters.number("scalars", k) for k in (ANGULAR_ETA, ANGULAR_STEP))
        powers = [simd.splat(parameters.number("power", k)) for k in range(parameters.length("static_power"))]
        steep = simd.splat(builder.fmul(parameters.number("scalars", ZETA), ir.Constant(DOUBLE, 0.95)))
        one, shrink = simd.constant(1.0), simd.constant(0.95)
        with loop(builder, INT(0), arguments[2], STEP) as (n, _):
            offset = builder.fsub(simd.load(workspace.row("triple_parts", 0), n), simd.splat(shift))
            for row, part in enumerate([offset, *_first_and_ratio(simd, offset, eta, step)], start=1):
                simd.store(part, workspace.row("triple_parts", row), n)
            cosine = builder.fmul(simd.load(workspace.row("triple_parts", 4), n), shrink)
            sine = simd.call("sqrt", simd.fma(builder.fneg(cosine), cosine, one))
            cotangent = builder.fdiv(cosine, sine)
            for q in range(sections):
                cosine_q, sine_q = (simd.splat(parameters.number("sections", row * sections + q)) for row in (0, 1))
                x = simd.fma(cosine, cosine_q, builder.fmul(sine, sine_q))
                power = simd.polynomial(x, powers)
                factor = builder.fmul(builder.fadd(x, one), power)
                slope = builder.fmul(power, simd.fma(builder.fneg(cotangent), sine_q, cosine_q))
                simd.store(factor, workspace.row("triple_angular", q), n)
                simd.store(builder.fmul(slope, steep), workspace.row("triple_angular", sections + q), n)
        return context.get_dummy_value()

    return types.void(functions, work, types.int64), write


def _gaussians(shifts: str, factors: str, parts: str, out: str) -> Any:
    """Return what fills the Gaussians of all even shifts, from the first of each family and the ratio to the next.

    exp(-η (r - s_m)²) with s_m = s_0 + m h + δ_m is exp(-η o²) · exp(2ηh o)^m · exp(-ηh²m²), o = r - s_0, times
    1 + 2ηδ_m (o - m h): the little that a rounded shift is off enters to first order.
    """

    @intrinsic
    def fill(_context: Any, functions: Any, work: Any, _count: Any) -> Any:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            parameters, workspace = _fields(context, builder, signature, arguments)
            simd = SIMD(builder, parameters.length(shifts))
            scale, slope, base = (simd.load(parameters.row(factors, row), INT(0)) for row in range(3))
            with loop(builder, INT(0), arguments[2], 1) as (n, _):
                offset, first, ratio = (builder.load(builder.gep(workspace.row(parts, row), [n])) for row in (1, 2, 3))
                value = builder.fmul(scale, simd.fma(slope, simd.splat(offset), base))
                value = builder.fmul(value, simd.splat(first))
                for bit in range(max(simd.width - 1, 0).bit_length()):
                    mask = [bool(m >> bit & 1) for m in range(simd.width)]
                    chosen = ir.Constant(ir.VectorType(ir.IntType(1), simd.width), mask)
                    value = builder.select(chosen, builder.fmul(value, simd.splat(ratio)), value)
                    ratio = builder.fmul(ratio, ratio)
                large = builder.fcmp_ordered(">", value, simd.constant(SMALLEST))
                value = builder.select(large, value, simd.constant(0.0))
                simd.store(value, workspace.row(out, n), INT(0))
            return context.get_dummy_value()

        return types.void(functions, work, types.int64), write

    return fill


fill_radial = _gaussians("static_radial", "radial_recurrence", "pair_parts", "pair_slope")
fill_angular = _gaussians("static_angular", "angular_recurrence", "triple_parts", "triple_radial")


@intrinsic
def add_pairs(_context: Any, functions: Any, work: Any, vectors: Any, _count: Any) -> Any:
    """Add the radial functions of `count` pairs to both atoms, and turn the Gaussians into slopes."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        simd = SIMD(builder, parameters.length("static_radial"))
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        shifts = simd.load(parameters.data("radial_shifts"), INT(0))
        steep = simd.splat(builder.fmul(parameters.number("scalars", RADIAL_ETA), ir.Constant(DOUBLE, -2.0)))
        with loop(builder, INT(0), arguments[3], 1) as (n, _):
            distance, envelope, fall = (
                simd.splat(builder.load(builder.gep(workspace.row("pair_parts", row), [n]))) for row in (0, 4, 5)
            )
            gaussian = builder.fmul(simd.load(workspace.row("pair_slope", n), INT(0)), simd.constant(0.25))
            value = builder.fmul(gaussian, envelope)
            for row, column in _rows_of_pair(builder, workspace, array, n):
                simd.store(builder.fadd(simd.load(row, column), value), row, column)
            stretch = builder.fmul(steep, builder.fsub(distance, shifts))
            slope = builder.fmul(gaussian, simd.fma(stretch, envelope, fall))
            simd.store(slope, workspace.row("pair_slope", n), INT(0))
        return context.get_dummy_value()

    return types.void(functions, work, vectors, types.int64), write


@intrinsic
def contract_pairs(_context: Any, functions: Any, work: Any, gradient: Any, _count: Any) -> Any:
    """Fill `pair_sums`, the derivative of the energy with respect to the distance of each of `count` pairs."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        simd = SIMD(builder, parameters.length("static_radial"))
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        with loop(builder, INT(0), arguments[3], 1) as (n, _):
            rows = [simd.load(row, column) for row, column in _rows_of_pair(builder, workspace, array, n)]
            slope = builder.fmul(builder.fadd(*rows), simd.load(workspace.row("pair_slope", n), INT(0)))
            builder.store(simd.total(slope), builder.gep(workspace.data("pair_sums"), [n]))
        return context.get_dummy_value()

    return types.void(functions, work, gradient, types.int64), write


def _rows_of_pair(builder: Any, workspace: Fields, array: Any, pair: Any) -> list[tuple[Any, Any]]:
    """Return the rows of both atoms of a pair in a matrix, and the columns of their radial functions."""
    atoms = workspace.row("pair_atoms", pair)
    first, second, *columns = (builder.load(builder.gep(atoms, [INT(k)])) for k in range(4))
    return [(row_of(builder, array, atom), column) for atom, column in zip((first, second), columns, strict=True)]


@intrinsic
def add_block(
    _context: Any, functions: Any, work: Any, vectors: Any, row: Any, column: Any, start: Any, stop: Any
) -> Any:
    """Set the angular functions of one centre and pair of elements: the sum over its triples."""
    del row, column, start, stop  # all whole numbers

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        sections = parameters.length("static_sections")
        simd = SIMD(builder, parameters.length("static_angular"), SINGLE)
        sums = [cgutils.alloca_once(builder, simd.type) for _ in range(sections)]
        for address in sums:
            builder.store(simd.constant(0.0), address)
        with loop(builder, arguments[5], arguments[6], 1) as (n, _):
            envelope = builder.load(builder.gep(workspace.row("triple_parts", 5), [n]))
            radial = builder.fmul(simd.load(workspace.row("triple_radial", n), INT(0)), simd.splat(envelope))
            for q, address in enumerate(sums):
                angular = simd.splat(builder.load(builder.gep(workspace.row("triple_angular", q), [n])))
                builder.store(simd.fma(radial, angular, builder.load(address)), address)
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        target = builder.gep(row_of(builder, array, arguments[3]), [arguments[4]])
        whole = SIMD(builder, simd.width * sections, SINGLE)
        whole.store(interleave(builder, [builder.load(address) for address in sums]), target, INT(0))
        return context.get_dummy_value()

    return types.void(functions, work, vectors, *[types.int64] * 4), write


@intrinsic
def contract_block(
    _context: Any, functions: Any, work: Any, gradient: Any, row: Any, column: Any, start: Any, stop: Any
) -> Any:
    """Fill `triple_sums` of one centre and pair of elements: ∂E/∂G times [factor, its slope, factor · (mean - s_p)]."""
    del row, column, start, stop  # all whole numbers

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        parameters, workspace = _fields(context, builder, signature, arguments)
        sections = parameters.length("static_sections")
        simd = SIMD(builder, parameters.length("static_angular"), SINGLE)
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        source = builder.gep(row_of(builder, array, arguments[3]), [arguments[4]])
        together = SIMD(builder, simd.width * sections, SINGLE).load(source, INT(0))
        columns = deinterleave(builder, together, simd.width, sections)
        fine = SIMD(builder, simd.width)
        shifts = fine.load(parameters.data("angular_shifts"), INT(0))
        with loop(builder, arguments[5], arguments[6], 1) as (n, _):
            radial = simd.load(workspace.row("triple_radial", n), INT(0))
            inner = [simd.constant(0.0)] * 2
            for part in range(2):
                for q, one in enumerate(columns):
                    address = builder.gep(workspace.row("triple_angular", part * sections + q), [n])
                    angular = simd.splat(builder.load(address))
                    inner[part] = simd.fma(one, angular, inner[part]) if q else builder.fmul(one, angular)
            mean = fine.splat(builder.load(builder.gep(workspace.row("triple_parts", 0), [n])))
            beyond = converted(builder, builder.fsub(mean, shifts), simd.type)
            value, by_cosine = (builder.fmul(part, radial) for part in inner)
            for index, part in enumerate((value, by_cosine, builder.fmul(value, beyond))):
                builder.store(simd.total(part), builder.gep(workspace.row("triple_sums", index), [n]))
        return context.get_dummy_value()

    return types.void(functions, work, gradient, *[types.int64] * 4), write
