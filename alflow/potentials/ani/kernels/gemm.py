"""Products of small single-precision matrices, from one register tile that is written out for the compiler.

The matrices of these networks have a dozen to a thousand rows and a hundred to three hundred columns: too small for the
libraries, which spend as much on unpacking and dispatch as on sums. Here the right matrix is packed into panels of
`WIDTH` columns, and a tile of up to `HEIGHT` rows by one panel is summed in registers. Every element is a chain of
fused multiply-adds in the order of the inner index, so the bits depend on nothing else: not on the number of rows, not
on who calls.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import binding, ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from alflow.potentials.ani.kernels.jacobian import SingleArray

_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
LANES = 16 if _WIDE else 8
"""Numbers in a vector."""
HEIGHT = 14 if _WIDE else 6
"""Most rows of a tile: with two vectors a row, all sums stay in registers."""
WIDTH = 2 * LANES
"""Columns of a panel."""

_FLOAT, _INT = ir.FloatType(), ir.IntType(64)
_VECTOR = ir.VectorType(_FLOAT, LANES)


def _vector_at(builder: Any, base: Any, offset: Any) -> Any:
    """Return the address of the vector that starts at an element."""
    return builder.bitcast(builder.gep(base, [offset]), _VECTOR.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    """Return a vector of one number."""
    nothing = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(nothing, number, ir.IntType(32)(0))
    return builder.shuffle_vector(first, nothing, ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES))


def _emit_tile(
    builder: Any, rows: int, turned: bool, a: Any, stride: Any, b: Any, c: Any, c_row: Any, depth: Any, add: Any
) -> None:
    """Write the instructions of a tile of one height; arguments as in `_tile`."""
    fused = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(_VECTOR, [_VECTOR] * 3), f"llvm.fma.v{LANES}f32"
    )
    cells = [(r, v) for r in range(rows) for v in range(2)]
    place = {
        (r, v): _vector_at(builder, c, builder.add(builder.mul(c_row, _INT(r)), _INT(v * LANES))) for r, v in cells
    }
    begin = builder.block
    with builder.if_then(add):
        loaded = {cell: builder.load(place[cell], align=4) for cell in cells}
        loading = builder.block
    sums = {}
    for cell in cells:
        sums[cell] = builder.phi(_VECTOR)
        sums[cell].add_incoming(ir.Constant(_VECTOR, [0.0] * LANES), begin)
        sums[cell].add_incoming(loaded[cell], loading)
    before, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", depth, _INT(0)), loop, end)
    builder.position_at_end(loop)
    k = builder.phi(_INT)
    k.add_incoming(_INT(0), before)
    running = {cell: builder.phi(_VECTOR) for cell in cells}
    for cell in cells:
        running[cell].add_incoming(sums[cell], before)
    panel = builder.mul(k, _INT(WIDTH))
    right = [builder.load(_vector_at(builder, b, builder.add(panel, _INT(v * LANES))), align=4) for v in range(2)]
    column = builder.gep(a, [builder.mul(k, stride) if turned else k])
    following = {}
    for r in range(rows):
        left = builder.load(builder.gep(column, [_INT(r) if turned else builder.mul(stride, _INT(r))]))
        spread = _spread(builder, left)
        for v in range(2):
            following[r, v] = builder.call(fused, [spread, right[v], running[r, v]])
    next_k = builder.add(k, _INT(1))
    k.add_incoming(next_k, loop)
    for cell in cells:
        running[cell].add_incoming(following[cell], loop)
    builder.cbranch(builder.icmp_signed("<", next_k, depth), loop, end)
    builder.position_at_end(end)
    for cell in cells:
        total = builder.phi(_VECTOR)
        total.add_incoming(sums[cell], before)
        total.add_incoming(following[cell], loop)
        sums[cell] = total
    for cell in cells:
        builder.store(sums[cell], place[cell], align=4)


def _tile(turned: bool) -> Any:
    """Return the product of up to `HEIGHT` rows with one panel, for a left matrix as it is or turned.

    Its arguments: rows; the flat left matrix, where it starts and the stride of its rows; the flat panels and where the
    panel starts; the flat result, where the tile starts and its stride; the length of the sums; whether to add.
    """

    @intrinsic
    def tile(
        _context: Any, rows: Any, a: Any, a0: Any, stride: Any, b: Any, b0: Any, c: Any, c0: Any, c_row: Any,
        depth: Any, add: Any,
    ) -> Any:  # fmt: skip
        whole = types.int64
        signature = types.void(rows, a, whole, whole, b, whole, c, whole, whole, whole, add)
        del a0, stride, b0, c0, c_row, depth

        def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rows, a, a0, stride, b, b0, c, c0, c_row, depth, add = arguments

            def start(index: int, array: Any, offset: Any) -> Any:
                return builder.gep(context.make_array(signature.args[index])(context, builder, array).data, [offset])

            left, right, out = start(1, a, a0), start(4, b, b0), start(6, c, c0)
            wanted = builder.icmp_unsigned("!=", add, add.type(0))
            done = builder.append_basic_block("done")
            heights = builder.switch(rows, done)
            for height in range(1, HEIGHT + 1):
                block = builder.append_basic_block(f"rows{height}")
                heights.add_case(_INT(height), block)
                builder.position_at_end(block)
                _emit_tile(builder, height, turned, left, stride, right, out, c_row, depth, wanted)
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return signature, write

    return tile


_straight_tile, _turned_tile = _tile(False), _tile(True)


@intrinsic
def _turn_square(_context: Any, a: Any, a0: Any, a_row: Any, out: Any, out0: Any, out_row: Any) -> Any:
    """Write the transpose of a square of `LANES` by `LANES`: flat array, start, stride of the rows, of both."""
    signature = types.void(a, types.int64, types.int64, out, types.int64, types.int64)
    del a0, a_row, out0, out_row

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a0, a_row, out, out0, out_row = arguments
        source = builder.gep(context.make_array(signature.args[0])(context, builder, a).data, [a0])
        target = builder.gep(context.make_array(signature.args[3])(context, builder, out).data, [out0])
        rows = [builder.load(_vector_at(builder, source, builder.mul(a_row, _INT(r))), align=4) for r in range(LANES)]
        step = 1
        while step < LANES:
            mask_type = ir.VectorType(ir.IntType(32), LANES)
            upper = ir.Constant(mask_type, [c if not c & step else c - step + LANES for c in range(LANES)])
            lower = ir.Constant(mask_type, [c + step if not c & step else c + LANES for c in range(LANES)])
            for r in range(LANES):
                if not r & step:
                    one, other = rows[r], rows[r + step]
                    rows[r] = builder.shuffle_vector(one, other, upper)
                    rows[r + step] = builder.shuffle_vector(one, other, lower)
            step *= 2
        for r in range(LANES):
            builder.store(rows[r], _vector_at(builder, target, builder.mul(out_row, _INT(r))), align=4)
        return context.get_dummy_value()

    return signature, write


@numba.njit(cache=True, nogil=True)
def panels_size(rows: int, columns: int) -> int:
    """Return how many numbers the panels of a (rows, columns) matrix take."""
    return rows * ((columns + WIDTH - 1) // WIDTH) * WIDTH


@numba.njit(cache=True, nogil=True)
def pack(matrix: SingleArray, start: int, rows: int, columns: int, panels: SingleArray, first: int) -> None:
    """Pack the (rows, columns) matrix at `start` of a flat array into panels, from `first` of another on."""
    for left in range(0, columns, WIDTH):
        width = min(WIDTH, columns - left)
        for k in range(rows):
            source = matrix[start + k * columns + left :]
            target = panels[first + left * rows + k * WIDTH :]
            if width == WIDTH:
                for n in range(WIDTH):
                    target[n] = source[n]
            else:
                for n in range(width):
                    target[n] = source[n]
                for n in range(width, WIDTH):
                    target[n] = np.float32(0.0)


@numba.njit(cache=True, nogil=True)
def pack_turned(matrix: SingleArray, start: int, rows: int, columns: int, panels: SingleArray, first: int) -> None:
    """Pack the transpose of the (rows, columns) matrix at `start` of a flat array into panels, from `first` on."""
    whole = columns - columns % LANES
    for left in range(0, rows, LANES):
        height = min(LANES, rows - left)
        panel = first + left // WIDTH * WIDTH * columns + left % WIDTH
        if height == LANES:
            for n in range(0, whole, LANES):
                _turn_square(matrix, start + left * columns + n, columns, panels, panel + n * WIDTH, WIDTH)
        for n in range(whole if height == LANES else 0, columns):
            for r in range(height):
                panels[panel + n * WIDTH + r] = matrix[start + (left + r) * columns + n]
            for r in range(height, LANES):
                panels[panel + n * WIDTH + r] = np.float32(0.0)
    if rows % WIDTH and rows % WIDTH <= LANES:
        panel = first + rows // WIDTH * WIDTH * columns + LANES
        for n in range(columns):
            for r in range(LANES):
                panels[panel + n * WIDTH + r] = np.float32(0.0)


def packed(matrix: SingleArray, rows: int, columns: int, *, turned: bool) -> SingleArray:
    """Return the panels of a flat (rows, columns) matrix, or of its transpose."""
    panels = np.zeros(panels_size(columns, rows) if turned else panels_size(rows, columns), np.float32)
    (pack_turned if turned else pack)(matrix, 0, rows, columns, panels, 0)
    return panels


@numba.njit(cache=True, nogil=True)
def multiply(
    turned: bool,
    left: SingleArray,
    start: int,
    stride: int,
    rows: int,
    depth: int,
    panels: SingleArray,
    first: int,
    columns: int,
    out: SingleArray,
    out_start: int,
    add: bool,
) -> None:
    """Fill, or add to, the (rows, columns) matrix at `out_start` of a flat array.

    Args:
        turned: whether the left matrix is the transpose of the one that is stored.
        left: flat array with the left matrix: (rows, depth), or (depth, rows) if turned.
        start: where it starts.
        stride: from one stored row of it to the next.
        rows: of the product.
        depth: length of the sums.
        panels: flat array with the packed right matrix.
        first: where it starts.
        columns: of the product.
        out: flat array.
        out_start: where the product starts.
        add: whether to add to what is there.
    """
    edge = np.empty(HEIGHT * WIDTH, np.float32) if columns % WIDTH else np.empty(1, np.float32)
    for column in range(0, columns, WIDTH):
        width = min(WIDTH, columns - column)
        panel = first + column * depth
        for row in range(0, rows, HEIGHT):
            height = min(HEIGHT, rows - row)
            place = out_start + row * columns + column
            a0 = start + (row if turned else row * stride)
            if width == WIDTH:
                if turned:
                    _turned_tile(height, left, a0, stride, panels, panel, out, place, columns, depth, add)
                else:
                    _straight_tile(height, left, a0, stride, panels, panel, out, place, columns, depth, add)
                continue
            for r in range(height):
                for n in range(width):
                    edge[r * WIDTH + n] = out[place + r * columns + n] if add else np.float32(0.0)
            if turned:
                _turned_tile(height, left, a0, stride, panels, panel, edge, 0, WIDTH, depth, add)
            else:
                _straight_tile(height, left, a0, stride, panels, panel, edge, 0, WIDTH, depth, add)
            for r in range(height):
                for n in range(width):
                    out[place + r * columns + n] = edge[r * WIDTH + n]
