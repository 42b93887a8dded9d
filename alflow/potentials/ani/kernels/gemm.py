"""Products of small single-precision matrices (GEMM), from one register tile that is written out for the compiler.

The right matrix is packed into panels of `PANEL` columns, and a tile of up to `TILE_ROWS` rows by one panel is summed
in registers: the micro-kernel of Van Zee and van de Geijn, ACM Trans. Math. Softw. 2015, 41, 14 (BLIS), without its
blocking for caches, which matrices of a hundred to three hundred columns do not need. Every element is a chain of
fused multiply-adds in the order of the inner index, so the bits depend on nothing else: not on the number of rows, not
on who calls.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import binding  # type: ignore[import-untyped]
from numba import types
from numba.extending import intrinsic

from alflow.potentials.ani.kernels.arrays import SingleArray
from alflow.potentials.ani.kernels.simd import INT, SIMD, SINGLE, shuffled

_WIDE = bool(binding.get_host_cpu_features().get("avx512f"))
VECTOR = 16 if _WIDE else 8
"""Numbers in a vector."""
TILE_ROWS = 14 if _WIDE else 6
"""Most rows of a tile: with two vectors a row, all sums stay in registers."""
PANEL = 2 * VECTOR
"""Columns of a panel."""


def _write_tile(
    builder: Any, rows: int, transposed: bool, a: Any, stride: Any, b: Any, c: Any, c_row: Any, depth: Any, add: Any
) -> None:
    """Write the instructions of a tile of one height; arguments as in `_tile`."""
    simd = SIMD(builder, VECTOR, SINGLE)
    cells = [(r, v) for r in range(rows) for v in range(2)]
    offset = {(r, v): builder.add(builder.mul(c_row, INT(r)), INT(v * VECTOR)) for r, v in cells}
    begin = builder.block
    with builder.if_then(add):
        loaded = {cell: simd.load(c, offset[cell]) for cell in cells}
        loading = builder.block
    sums = {}
    for cell in cells:
        sums[cell] = builder.phi(simd.type)
        sums[cell].add_incoming(simd.constant(0.0), begin)
        sums[cell].add_incoming(loaded[cell], loading)
    before, loop, end = builder.block, builder.append_basic_block("loop"), builder.append_basic_block("end")
    builder.cbranch(builder.icmp_signed(">", depth, INT(0)), loop, end)
    builder.position_at_end(loop)
    k = builder.phi(INT)
    k.add_incoming(INT(0), before)
    running = {cell: builder.phi(simd.type) for cell in cells}
    for cell in cells:
        running[cell].add_incoming(sums[cell], before)
    panel = builder.mul(k, INT(PANEL))
    right = [simd.load(b, builder.add(panel, INT(v * VECTOR))) for v in range(2)]
    column = builder.gep(a, [builder.mul(k, stride) if transposed else k])
    following = {}
    for r in range(rows):
        left = builder.load(builder.gep(column, [INT(r) if transposed else builder.mul(stride, INT(r))]))
        splat = simd.splat(left)
        for v in range(2):
            following[r, v] = simd.fma(splat, right[v], running[r, v])
    next_k = builder.add(k, INT(1))
    k.add_incoming(next_k, loop)
    for cell in cells:
        running[cell].add_incoming(following[cell], loop)
    builder.cbranch(builder.icmp_signed("<", next_k, depth), loop, end)
    builder.position_at_end(end)
    for cell in cells:
        total = builder.phi(simd.type)
        total.add_incoming(sums[cell], before)
        total.add_incoming(following[cell], loop)
        sums[cell] = total
    for cell in cells:
        simd.store(sums[cell], c, offset[cell])


def _tile(transposed: bool) -> Any:
    """Return the product of up to `TILE_ROWS` rows with one panel, for a left matrix as it is or transposed.

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
            for height in range(1, TILE_ROWS + 1):
                block = builder.append_basic_block(f"rows{height}")
                heights.add_case(INT(height), block)
                builder.position_at_end(block)
                _write_tile(builder, height, transposed, left, stride, right, out, c_row, depth, wanted)
                builder.branch(done)
            builder.position_at_end(done)
            return context.get_dummy_value()

        return signature, write

    return tile


_straight_tile, _transposed_tile = _tile(False), _tile(True)


@intrinsic
def _transpose_square(_context: Any, a: Any, a0: Any, a_row: Any, out: Any, out0: Any, out_row: Any) -> Any:
    """Write the transpose of a square of `VECTOR` by `VECTOR`: flat array, start, stride of the rows, of both."""
    signature = types.void(a, types.int64, types.int64, out, types.int64, types.int64)
    del a0, a_row, out0, out_row

    def write(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        a, a0, a_row, out, out0, out_row = arguments
        simd = SIMD(builder, VECTOR, SINGLE)
        source = builder.gep(context.make_array(signature.args[0])(context, builder, a).data, [a0])
        target = builder.gep(context.make_array(signature.args[3])(context, builder, out).data, [out0])
        rows = [simd.load(source, builder.mul(a_row, INT(r))) for r in range(VECTOR)]
        step = 1
        while step < VECTOR:
            upper = [c if not c & step else c - step + VECTOR for c in range(VECTOR)]
            lower = [c + step if not c & step else c + VECTOR for c in range(VECTOR)]
            for r in range(VECTOR):
                if not r & step:
                    pair = rows[r], rows[r + step]
                    rows[r], rows[r + step] = (shuffled(builder, *pair, chosen) for chosen in (upper, lower))
            step *= 2
        for r in range(VECTOR):
            simd.store(rows[r], target, builder.mul(out_row, INT(r)))
        return context.get_dummy_value()

    return signature, write


@numba.njit(cache=True, nogil=True)
def panels_size(rows: int, columns: int) -> int:
    """Return how many numbers the panels of a (rows, columns) matrix take."""
    return rows * ((columns + PANEL - 1) // PANEL) * PANEL


@numba.njit(cache=True, nogil=True)
def pack(matrix: SingleArray, start: int, rows: int, columns: int, panels: SingleArray, first: int) -> None:
    """Pack the (rows, columns) matrix at `start` of a flat array into panels, from `first` of another on."""
    for left in range(0, columns, PANEL):
        width = min(PANEL, columns - left)
        for k in range(rows):
            source = matrix[start + k * columns + left :]
            target = panels[first + left * rows + k * PANEL :]
            if width == PANEL:
                for n in range(PANEL):
                    target[n] = source[n]
            else:
                for n in range(width):
                    target[n] = source[n]
                for n in range(width, PANEL):
                    target[n] = np.float32(0.0)


@numba.njit(cache=True, nogil=True)
def pack_transposed(matrix: SingleArray, start: int, rows: int, columns: int, panels: SingleArray, first: int) -> None:
    """Pack the transpose of the (rows, columns) matrix at `start` of a flat array into panels, from `first` on."""
    whole = columns - columns % VECTOR
    for left in range(0, rows, VECTOR):
        height = min(VECTOR, rows - left)
        panel = first + left // PANEL * PANEL * columns + left % PANEL
        if height == VECTOR:
            for n in range(0, whole, VECTOR):
                _transpose_square(matrix, start + left * columns + n, columns, panels, panel + n * PANEL, PANEL)
        for n in range(whole if height == VECTOR else 0, columns):
            for r in range(height):
                panels[panel + n * PANEL + r] = matrix[start + (left + r) * columns + n]
            for r in range(height, VECTOR):
                panels[panel + n * PANEL + r] = np.float32(0.0)
    if rows % PANEL and rows % PANEL <= VECTOR:
        panel = first + rows // PANEL * PANEL * columns + VECTOR
        for n in range(columns):
            for r in range(VECTOR):
                panels[panel + n * PANEL + r] = np.float32(0.0)


def packed(matrix: SingleArray, rows: int, columns: int, *, transposed: bool) -> SingleArray:
    """Return the panels of a flat (rows, columns) matrix, or of its transpose."""
    panels = np.zeros(panels_size(columns, rows) if transposed else panels_size(rows, columns), np.float32)
    (pack_transposed if transposed else pack)(matrix, 0, rows, columns, panels, 0)
    return panels


@numba.njit(cache=True, nogil=True)
def multiply(
    transposed: bool,
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
        transposed: whether the left matrix is the transpose of the one that is stored.
        left: flat array with the left matrix: (rows, depth), or (depth, rows) if transposed.
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
    edge = np.empty(TILE_ROWS * PANEL, np.float32) if columns % PANEL else np.empty(1, np.float32)
    for column in range(0, columns, PANEL):
        width = min(PANEL, columns - column)
        panel = first + column * depth
        for row in range(0, rows, TILE_ROWS):
            height = min(TILE_ROWS, rows - row)
            target = out_start + row * columns + column
            a0 = start + (row if transposed else row * stride)
            if width == PANEL:
                if transposed:
                    _transposed_tile(height, left, a0, stride, panels, panel, out, target, columns, depth, add)
                else:
                    _straight_tile(height, left, a0, stride, panels, panel, out, target, columns, depth, add)
                continue
            for r in range(height):
                for n in range(width):
                    edge[r * PANEL + n] = out[target + r * columns + n] if add else np.float32(0.0)
            if transposed:
                _transposed_tile(height, left, a0, stride, panels, panel, edge, 0, PANEL, depth, add)
            else:
                _straight_tile(height, left, a0, stride, panels, panel, edge, 0, PANEL, depth, add)
            for r in range(height):
                for n in range(width):
                    out[target + r * columns + n] = edge[r * PANEL + n]
