"""Vector (SIMD) instructions for intrinsics of numba, and the arrays that they load from and store to."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils

DOUBLE, SINGLE, INT = ir.DoubleType(), ir.FloatType(), ir.IntType(64)
_INDEX = ir.IntType(32)
LN2_HIGH = 0.693145751953125
"""ln 2 to fifteen bits: its multiples are exact."""
_EXP = [1.0 / math.factorial(k) for k in range(9)]
"""e^r for |r| < ln 2 / 2, to 2e-10."""


class SIMD:
    """Writes instructions on vectors of `width` numbers, of double precision if not said otherwise."""

    def __init__(self, builder: Any, width: int, kind: Any = DOUBLE) -> None:
        self.builder, self.width, self.kind, self.type = builder, width, kind, ir.VectorType(kind, width)

    def constant(self, values: float | Sequence[float]) -> Any:
        """Return a vector of constants: one for all, or one each."""
        return ir.Constant(self.type, [values] * self.width if isinstance(values, float) else list(values))

    def splat(self, number: Any) -> Any:
        """Return a vector of one number, converted if need be."""
        number = converted(self.builder, number, self.kind)
        undefined = ir.Constant(self.type, ir.Undefined)
        first = self.builder.insert_element(undefined, number, _INDEX(0))
        return shuffled(self.builder, first, undefined, [0] * self.width)

    def load(self, base: Any, offset: Any) -> Any:
        """Load from an element of an array on."""
        value = self.builder.load(self._address(base, offset), align=4)
        return converted(self.builder, value, self.type)

    def store(self, value: Any, base: Any, offset: Any) -> None:
        """Store from an element of an array on."""
        address = self._address(base, offset)
        self.builder.store(converted(self.builder, value, address.type.pointee), address, align=4)

    def _address(self, base: Any, offset: Any) -> Any:
        address = self.builder.gep(base, [offset])
        return self.builder.bitcast(address, ir.VectorType(address.type.pointee, self.width).as_pointer())

    def call(self, name: str, *arguments: Any) -> Any:
        """Call an intrinsic of LLVM whose arguments and result are all vectors."""
        kind = ir.FunctionType(self.type, [self.type] * len(arguments))
        bits = 64 if self.kind == DOUBLE else 32
        function = cgutils.get_or_insert_function(self.builder.module, kind, f"llvm.{name}.v{self.width}f{bits}")
        return self.builder.call(function, arguments)

    def fma(self, a: Any, b: Any, c: Any) -> Any:
        """Return a b + c, rounded once."""
        return self.call("fma", a, b, c)

    def polynomial(self, x: Any, coefficients: Sequence[Any]) -> Any:
        """Return the sum of c_k x^k by Horner's rule."""
        total = coefficients[-1]
        for coefficient in reversed(coefficients[:-1]):
            total = self.fma(total, x, coefficient)
        return total

    def exp(self, x: Any) -> Any:
        """Return e^x, to 2e-10 of itself or to single precision; x from -700 to 700, or from -87 to 87."""
        most, bits, mantissa, bias = (700.0, 64, 52, 1023) if self.kind == DOUBLE else (87.0, 32, 23, 127)
        x = self.call("maxnum", self.call("minnum", x, self.constant(most)), self.constant(-most))
        power = self.call("floor", self.fma(x, self.constant(1.0 / math.log(2.0)), self.constant(0.5)))
        if self.kind == DOUBLE:
            rest = self.fma(power, self.constant(-math.log(2.0)), x)
        else:
            rest = self.fma(power, self.constant(-LN2_HIGH), x)
            rest = self.fma(power, self.constant(LN2_HIGH - math.log(2.0)), rest)
        whole = ir.VectorType(ir.IntType(bits), self.width)
        raised = self.builder.add(self.builder.fptosi(power, whole), ir.Constant(whole, [bias] * self.width))
        scale = self.builder.bitcast(self.builder.shl(raised, ir.Constant(whole, [mantissa] * self.width)), self.type)
        terms = _EXP if self.kind == DOUBLE else _EXP[:8]
        return self.builder.fmul(self.polynomial(rest, [self.constant(c) for c in terms]), scale)

    def total(self, x: Any) -> Any:
        """Return the sum of the numbers of a vector, halves first."""
        builder, width = self.builder, 1 << max(self.width - 1, 0).bit_length()
        x = shuffled(builder, x, self.constant(0.0), (min(self.width, k) for k in range(width)))
        while width > 1:
            width //= 2
            halves = [shuffled(builder, x, x, range(first, first + width)) for first in (0, width)]
            x = builder.fadd(*halves)
        return builder.extract_element(x, _INDEX(0))


class Fields:
    """Arrays and tuples of a named tuple, by their names."""

    def __init__(self, context: Any, builder: Any, kind: Any, value: Any) -> None:
        self._builder, self._arrays, self._lengths = builder, {}, {}
        for position, (name, field) in enumerate(zip(kind.fields, kind.types, strict=True)):
            if isinstance(field, types.Array):
                part = builder.extract_value(value, position)
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


def shuffled(builder: Any, first: Any, second: Any, positions: Iterable[int]) -> Any:
    """Return the vector of the numbers at some positions of two vectors, counted through both."""
    chosen = list(positions)
    return builder.shuffle_vector(first, second, ir.Constant(ir.VectorType(_INDEX, len(chosen)), chosen))


def interleave(builder: Any, columns: Sequence[Any]) -> Any:
    """Return the vector [p, q] of vectors over p, one for each q."""
    count, joined = columns[0].type.count, columns[0]
    for q, column in enumerate(columns[1:], start=1):
        repeated = shuffled(builder, column, column, (k % count for k in range(q * count)))
        joined = shuffled(builder, joined, repeated, range((q + 1) * count))
    return shuffled(builder, joined, joined, (q * count + p for p in range(count) for q in range(len(columns))))


def deinterleave(builder: Any, together: Any, count: int, sections: int) -> list[Any]:
    """Return the vectors over p, one for each q, of a vector [p, q]."""
    return [shuffled(builder, together, together, (p * sections + q for p in range(count))) for q in range(sections)]
