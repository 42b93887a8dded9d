"""Writes vector instructions of double precision for the compiler, and finds the arrays that they work on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

DOUBLE, SINGLE, INT = ir.DoubleType(), ir.FloatType(), ir.IntType(64)
LN2_HIGH = 0.693145751953125
"""ln 2 to fifteen bits: its multiples are exact."""
_EXP = [1.0 / math.factorial(k) for k in range(9)]
"""e^r for |r| < ln 2 / 2, to 2e-10."""


class Lanes:
    """Writes instructions on vectors of `count` numbers, of double precision if not said otherwise."""

    def __init__(self, builder: Any, count: int, kind: Any = DOUBLE) -> None:
        self.builder, self.count, self.kind, self.type = builder, count, kind, ir.VectorType(kind, count)

    def known(self, values: float | Sequence[float]) -> Any:
        """Return constants."""
        return ir.Constant(self.type, [values] * self.count if isinstance(values, float) else list(values))

    def spread(self, number: Any) -> Any:
        """Return a vector of one number, converted if need be."""
        number = converted(self.builder, number, self.kind)
        nothing = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(nothing, number, ir.IntType(32)(0))
        zeros = ir.Constant(ir.VectorType(ir.IntType(32), self.count), [0] * self.count)
        return self.builder.shuffle_vector(first, nothing, zeros)

    def load(self, base: Any, offset: Any) -> Any:
        """Load from an element of an array on."""
        value = self.builder.load(self._place(base, offset), align=4)
        return converted(self.builder, value, self.type)

    def store(self, value: Any, base: Any, offset: Any) -> None:
        """Store from an element of an array on."""
        place = self._place(base, offset)
        self.builder.store(converted(self.builder, value, place.type.pointee), place, align=4)

    def _place(self, base: Any, offset: Any) -> Any:
        place = self.builder.gep(base, [offset])
        return self.builder.bitcast(place, ir.VectorType(place.type.pointee, self.count).as_pointer())

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an intrinsic of LLVM whose arguments and result are all vectors."""
        kind = ir.FunctionType(self.type, [self.type] * len(arguments))
        bits = 64 if self.kind == DOUBLE else 32
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.count}f{bits}")
        return self.builder.call(function, arguments)

    def fused(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c, rounded once."""
        return self.call("fma", a, b, c)

    def polynomial(self, x: Any, coefficients: Sequence[Any]) -> Any:
        """Return the sum of c_k x^k."""
        total = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = self.fused(total, x, coefficient)
        return total

    def exp(self, x: Any) -> Any:
        """Return e^x, to 2e-10 of itself or to single precision; x from -700 to 700, or from -87 to 87."""
        most, bits, mantissa, bias = (700.0, 64, 52, 1023) if self.kind == DOUBLE else (87.0, 32, 23, 127)
        x = self.call("maxnum", self.call("minnum", x, self.known(most)), self.known(-most))
        power = self.call("floor", self.fused(x, self.known(1.0 / math.log(2.0)), self.known(0.5)))
        if self.kind == DOUBLE:
            rest = self.fused(power, self.known(-math.log(2.0)), x)
        else:
            rest = self.fused(power, self.known(-LN2_HIGH), x)
            rest = self.fused(power, self.known(LN2_HIGH - math.log(2.0)), rest)
        whole = ir.VectorType(ir.IntType(bits), self.count)
        raised = self.builder.add(self.builder.fptosi(power, whole), ir.Constant(whole, [bias] * self.count))
        scale = self.builder.bitcast(self.builder.shl(raised, ir.Constant(whole, [mantissa] * self.count)), self.type)
        terms = _EXP if self.kind == DOUBLE else _EXP[:8]
        return self.builder.fmul(self.polynomial(rest, [self.known(c) for c in terms]), scale)

    def total(self, x: Any) -> Any:
        """Return the sum of the numbers of a vector, halves first."""
        builder, width = self.builder, 1 << max(self.count - 1, 0).bit_length()
        index = ir.IntType(32)
        parts = [min(self.count, k) for k in range(width)]
        x = builder.shuffle_vector(x, self.known(0.0), ir.Constant(ir.VectorType(index, width), parts))
        while width > 1:
            width //= 2
            halves = [
                builder.shuffle_vector(
                    x, x, ir.Constant(ir.VectorType(index, width), list(range(first, first + width)))
                )
                for first in (0, width)
            ]
            x = builder.fadd(*halves)
        return builder.extract_element(x, index(0))


class Fields:
    """The arrays and tuples of a named tuple, by their names."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder, self._arrays, self._lengths = builder, {}, {}
        for place, (name, field) in enumerate(zip(kind.fields, kind.types, strict=True)):
            if isinstance(field, types.Array):
                part = builder.extract_value(value, place)
                self._arrays[name] = context.make_array(field)(context, builder, part)
            else:
                self._lengths[name] = len(field)

    def length(self, name: str) -> int:
        """Return the length of a tuple."""
        return self._lengths[name]

    def data(self, name: str) -> Any:
        """Return the address of an array."""
        return self._arrays[name].data

    def row(self, name: str, index: Any) -> Any:
        """Return the address of a row of a contiguous matrix."""
        return row_of(self._builder, self._arrays[name], index)

    def number(self, name: str, index: int) -> Any:
        """Load one number of an array."""
        return self._builder.load(self._builder.gep(self.data(name), [INT(index)]))


def converted(builder: Any, value: Any, kind: Any) -> Any:
    """Return a number or vector in the precision of a type."""
    if value.type == kind:
        return value
    single = kind == SINGLE or getattr(kind, "element", None) == SINGLE
    return builder.fptrunc(value, kind) if single else builder.fpext(value, kind)


def row_of(builder: Any, array: Any, index: Any) -> Any:
    """Return the address of a row of a contiguous matrix."""
    index = INT(index) if isinstance(index, int) else index
    return builder.gep(array.data, [builder.mul(index, cgutils.unpack_tuple(builder, array.shape)[1])])


def loop(builder: Any, start: Any, stop: Any, step: int) -> Any:
    """Return a context within which the instructions of a loop are written; it gives the index."""
    return cgutils.for_range_slice(builder, start, stop, INT(step), INT)


def woven(builder: Any, columns: Sequence[Any]) -> Any:
    """Return the vector [p, q] of vectors over p, one for each q."""
    count, index = columns[0].type.count, ir.IntType(32)
    joined = columns[0]
    for q, column in enumerate(columns[1:], start=1):
        repeated = ir.Constant(ir.VectorType(index, q * count), [k % count for k in range(q * count)])
        places = ir.Constant(ir.VectorType(index, (q + 1) * count), list(range((q + 1) * count)))
        joined = builder.shuffle_vector(joined, builder.shuffle_vector(column, column, repeated), places)
    order = [q * count + p for p in range(count) for q in range(len(columns))]
    return builder.shuffle_vector(joined, joined, ir.Constant(ir.VectorType(index, len(order)), order))


def unwoven(builder: Any, together: Any, count: int, sections: int) -> list[Any]:
    """Return the vectors over p, one for each q, of a vector [p, q]."""
    chosen = ir.VectorType(ir.IntType(32), count)
    return [
        builder.shuffle_vector(together, together, ir.Constant(chosen, [p * sections + q for p in range(count)]))
        for q in range(sections)
    ]
