"""Inner loops over pairs and triples of atoms, written out as vector instructions for the compiler.

Elementary functions run over eight pairs or triples at a time, from polynomials, without a call or a branch; the
families of Gaussians, and their products with the angular factors, over all shifts of one pair or triple at a time.
The order of every sum is fixed here, so the bits depend on nothing else. Arrays that are filled eight at a time have
room for the next multiple of eight.
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
    SINGLE,
    Fields,
    Lanes,
    converted,
    loop,
    row_of,
    unwoven,
    woven,
)

STEP = 8
"""Pairs or triples at a time."""
LEAST = 1e-15
"""Smaller Gaussians count as 0: their products in single precision would be slow."""
_COS = [(-1.0) ** k / math.factorial(2 * k) for k in range(10)]
"""cos x in x², to 4e-15 up to π/2."""
_SIN = [(-1.0) ** k / math.factorial(2 * k + 1) for k in range(9)]
"""sin x / x in x², to 4e-13 up to π/2."""


def _halved_cosine(lanes: Lanes, distance: Any, cutoff: Any) -> tuple[Any, Any]:
    """Return the cutoff function ½ cos(πr/c) + ½ = cos²(πr/2c), and its slope."""
    builder = lanes.builder
    rate = builder.fdiv(ir.Constant(DOUBLE, 0.5 * math.pi), cutoff)
    x = builder.fmul(distance, lanes.spread(rate))
    square = builder.fmul(x, x)
    cosine = lanes.polynomial(square, [lanes.known(c) for c in _COS])
    sine = builder.fmul(x, lanes.polynomial(square, [lanes.known(c) for c in _SIN]))
    fall = builder.fmul(builder.fmul(cosine, sine), lanes.spread(builder.fmul(rate, ir.Constant(DOUBLE, -2.0))))
    return builder.fmul(cosine, cosine), fall


def _foot(lanes: Lanes, offset: Any, eta: Any, step: Any) -> tuple[Any, Any]:
    """Return the first of a family of Gaussians, exp(-η o²), and the ratio exp(2ηh o) that leads to the next."""
    builder = lanes.builder
    first = lanes.exp(builder.fmul(lanes.spread(builder.fneg(eta)), builder.fmul(offset, offset)))
    growth = builder.fmul(builder.fmul(eta, step), ir.Constant(DOUBLE, 2.0))
    return first, lanes.exp(builder.fmul(lanes.spread(growth), offset))


@intrinsic
def evaluate_pairs(_context: Any, functions: Any, work: Any, _count: Any) -> Any:
    """Fill the rows of `pair_parts` after the distances, for the first `count` pairs."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        lanes = Lanes(builder, STEP)
        shift, eta, step = known.number("radial_shifts", 0), known.number("scalars", 1), known.number("scalars", 2)
        cutoffs = known.number("scalars", 0), known.number("scalars", 3)
        with loop(builder, INT(0), arguments[2], STEP) as (n, _):
            distance = lanes.load(room.row("pair_parts", 0), n)
            offset = builder.fsub(distance, lanes.spread(shift))
            parts = [offset, *_foot(lanes, offset, eta, step)]
            for cutoff in cutoffs:
                parts += _halved_cosine(lanes, distance, cutoff)
            for row, part in enumerate(parts, start=1):
                lanes.store(part, room.row("pair_parts", row), n)
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
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        lanes, sections = Lanes(builder, STEP), known.length("section_marks")
        shift, eta, step = known.number("angular_shifts", 0), known.number("scalars", 4), known.number("scalars", 5)
        powers = [lanes.spread(known.number("power", k)) for k in range(known.length("power_marks"))]
        steep = lanes.spread(builder.fmul(known.number("scalars", 6), ir.Constant(DOUBLE, 0.95)))
        one, shrink = lanes.known(1.0), lanes.known(0.95)
        with loop(builder, INT(0), arguments[2], STEP) as (n, _):
            offset = builder.fsub(lanes.load(room.row("triple_parts", 0), n), lanes.spread(shift))
            for row, part in enumerate([offset, *_foot(lanes, offset, eta, step)], start=1):
                lanes.store(part, room.row("triple_parts", row), n)
            cosine = builder.fmul(lanes.load(room.row("triple_parts", 4), n), shrink)
            sine = lanes.call("sqrt", lanes.fused(builder.fneg(cosine), cosine, one))
            turn = builder.fdiv(cosine, sine)
            for q in range(sections):
                across, along = (lanes.spread(known.number("sections", row * sections + q)) for row in (0, 1))
                x = lanes.fused(cosine, across, builder.fmul(sine, along))
                power = lanes.polynomial(x, powers)
                factor = builder.fmul(builder.fadd(x, one), power)
                rise = builder.fmul(power, lanes.fused(builder.fneg(turn), along, across))
                lanes.store(factor, room.row("triple_angular", q), n)
                lanes.store(builder.fmul(rise, steep), room.row("triple_angular", sections + q), n)
        return context.get_dummy_value()

    return types.void(functions, work, types.int64), write


def _ladder(marks: str, ladder: str, parts: str, out: str) -> Any:
    """Return what fills the Gaussians of all even shifts, from the first of each family and the ratio to the next.

    exp(-η (r - s_m)²) with s_m = s_0 + m h + δ_m is exp(-η o²) · exp(2ηh o)^m · exp(-ηh²m²), o = r - s_0, times
    1 + 2ηδ_m (o - m h): the little that a rounded shift is off enters to first order.
    """

    @intrinsic
    def fill(_context: Any, functions: Any, work: Any, _count: Any) -> Any:
        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
            lanes = Lanes(builder, known.length(marks))
            scale, slope, base = (lanes.load(known.row(ladder, row), INT(0)) for row in range(3))
            with loop(builder, INT(0), arguments[2], 1) as (n, _):
                offset, first, ratio = (builder.load(builder.gep(room.row(parts, row), [n])) for row in (1, 2, 3))
                value = builder.fmul(scale, lanes.fused(slope, lanes.spread(offset), base))
                value = builder.fmul(value, lanes.spread(first))
                for bit in range(max(lanes.count - 1, 0).bit_length()):
                    mask = [bool(m >> bit & 1) for m in range(lanes.count)]
                    chosen = ir.Constant(ir.VectorType(ir.IntType(1), lanes.count), mask)
                    value = builder.select(chosen, builder.fmul(value, lanes.spread(ratio)), value)
                    ratio = builder.fmul(ratio, ratio)
                large = builder.fcmp_ordered(">", value, lanes.known(LEAST))
                value = builder.select(large, value, lanes.known(0.0))
                lanes.store(value, room.row(out, n), INT(0))
            return context.get_dummy_value()

        return types.void(functions, work, types.int64), write

    return fill


fill_radial = _ladder("radial_marks", "radial_ladder", "pair_parts", "pair_slope")
fill_angular = _ladder("angular_marks", "angular_ladder", "triple_parts", "triple_radial")


@intrinsic
def add_pairs(_context: Any, functions: Any, work: Any, vectors: Any, _count: Any) -> Any:
    """Add the radial functions of `count` pairs to both atoms, and turn the Gaussians into slopes."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        lanes = Lanes(builder, known.length("radial_marks"))
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        shifts = lanes.load(known.data("radial_shifts"), INT(0))
        steep = lanes.spread(builder.fmul(known.number("scalars", 1), ir.Constant(DOUBLE, -2.0)))
        with loop(builder, INT(0), arguments[3], 1) as (n, _):
            distance, envelope, fall = (
                lanes.spread(builder.load(builder.gep(room.row("pair_parts", row), [n]))) for row in (0, 4, 5)
            )
            gaussian = builder.fmul(lanes.load(room.row("pair_slope", n), INT(0)), lanes.known(0.25))
            value = builder.fmul(gaussian, envelope)
            for row, column in _rows_of_pair(builder, room, array, n):
                lanes.store(builder.fadd(lanes.load(row, column), value), row, column)
            stretch = builder.fmul(steep, builder.fsub(distance, shifts))
            slope = builder.fmul(gaussian, lanes.fused(stretch, envelope, fall))
            lanes.store(slope, room.row("pair_slope", n), INT(0))
        return context.get_dummy_value()

    return types.void(functions, work, vectors, types.int64), write


@intrinsic
def contract_pairs(_context: Any, functions: Any, work: Any, gradient: Any, _count: Any) -> Any:
    """Fill `pair_sums`, the derivative of the energy with respect to the distance of each of `count` pairs."""

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        lanes = Lanes(builder, known.length("radial_marks"))
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        with loop(builder, INT(0), arguments[3], 1) as (n, _):
            rows = [lanes.load(row, column) for row, column in _rows_of_pair(builder, room, array, n)]
            slope = builder.fmul(builder.fadd(*rows), lanes.load(room.row("pair_slope", n), INT(0)))
            builder.store(lanes.total(slope), builder.gep(room.data("pair_sums"), [n]))
        return context.get_dummy_value()

    return types.void(functions, work, gradient, types.int64), write


def _rows_of_pair(builder: Any, room: Fields, array: Any, pair: Any) -> list[tuple[Any, Any]]:
    """Return the rows of both atoms of a pair in a matrix, and the columns of their radial functions."""
    atoms = room.row("pair_atoms", pair)
    first, second, *columns = (builder.load(builder.gep(atoms, [INT(k)])) for k in range(4))
    return [(row_of(builder, array, atom), column) for atom, column in zip((first, second), columns, strict=True)]


@intrinsic
def add_block(
    _context: Any, functions: Any, work: Any, vectors: Any, row: Any, column: Any, start: Any, stop: Any
) -> Any:
    """Set the angular functions of one centre and pair of elements: the sum over its triples."""
    del row, column, start, stop  # all whole numbers

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        sections = known.length("section_marks")
        lanes = Lanes(builder, known.length("angular_marks"), SINGLE)
        sums = [cgutils.alloca_once(builder, lanes.type) for _ in range(sections)]
        for place in sums:
            builder.store(lanes.known(0.0), place)
        with loop(builder, arguments[5], arguments[6], 1) as (n, _):
            envelope = builder.load(builder.gep(room.row("triple_parts", 5), [n]))
            radial = builder.fmul(lanes.load(room.row("triple_radial", n), INT(0)), lanes.spread(envelope))
            for q, place in enumerate(sums):
                angular = lanes.spread(builder.load(builder.gep(room.row("triple_angular", q), [n])))
                builder.store(lanes.fused(radial, angular, builder.load(place)), place)
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        target = builder.gep(row_of(builder, array, arguments[3]), [arguments[4]])
        whole = Lanes(builder, lanes.count * sections, SINGLE)
        whole.store(woven(builder, [builder.load(place) for place in sums]), target, INT(0))
        return context.get_dummy_value()

    return types.void(functions, work, vectors, *[types.int64] * 4), write


@intrinsic
def contract_block(
    _context: Any, functions: Any, work: Any, gradient: Any, row: Any, column: Any, start: Any, stop: Any
) -> Any:
    """Fill `triple_sums` of one centre and pair of elements: ∂E/∂G times [factor, its slope, factor · (mean - s_p)]."""
    del row, column, start, stop  # all whole numbers

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        known, room = (Fields(context, builder, signature.args[k], arguments[k]) for k in (0, 1))
        sections = known.length("section_marks")
        lanes = Lanes(builder, known.length("angular_marks"), SINGLE)
        array = context.make_array(signature.args[2])(context, builder, arguments[2])
        source = builder.gep(row_of(builder, array, arguments[3]), [arguments[4]])
        together = Lanes(builder, lanes.count * sections, SINGLE).load(source, INT(0))
        columns = unwoven(builder, together, lanes.count, sections)
        fine = Lanes(builder, lanes.count)
        shifts = fine.load(known.data("angular_shifts"), INT(0))
        with loop(builder, arguments[5], arguments[6], 1) as (n, _):
            radial = lanes.load(room.row("triple_radial", n), INT(0))
            inner = [lanes.known(0.0)] * 2
            for part in range(2):
                for q, one in enumerate(columns):
                    place = builder.gep(room.row("triple_angular", part * sections + q), [n])
                    angular = lanes.spread(builder.load(place))
                    inner[part] = lanes.fused(one, angular, inner[part]) if q else builder.fmul(one, angular)
            mean = fine.spread(builder.load(builder.gep(room.row("triple_parts", 0), [n])))
            beyond = converted(builder, builder.fsub(mean, shifts), lanes.type)
            value, bend = (builder.fmul(part, radial) for part in inner)
            for index, part in enumerate((value, bend, builder.fmul(value, beyond))):
                builder.store(lanes.total(part), builder.gep(room.row("triple_sums", index), [n]))
        return context.get_dummy_value()

    return types.void(functions, work, gradient, *[types.int64] * 4), write
