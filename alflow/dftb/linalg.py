"""LAPACK for the compiled kernels, by the routines that SciPy carries.

Each routine is known to the compiler by name, so that the compiled code can be kept on disk between runs.
Arrays are C-ordered; LAPACK sees their transposes, which the choice of triangle below takes into account.
"""

from __future__ import annotations

import llvmlite.binding as llvm  # type: ignore[import-untyped]
import numpy as np
from numba import njit, types
from numba.extending import get_cython_function_address

from alflow.types import FloatArray, IntArray


def _routine(name: str, arguments: int) -> types.ExternalFunction:
    symbol = f"alflow_{name}"
    llvm.add_symbol(symbol, get_cython_function_address("scipy.linalg.cython_lapack", name))
    return types.ExternalFunction(symbol, types.void(*[types.uintp] * arguments))


_dpotrf = _routine("dpotrf", 5)
_dtrtri = _routine("dtrtri", 6)
_dsyevd = _routine("dsyevd", 11)

_N, _U, _V = ord("N"), ord("U"), ord("V")


@njit(cache=True, nogil=True)
def cholesky(matrix: FloatArray) -> int:
    """Overwrite a symmetric (N, N) matrix by its lower factor L, upper triangle zero; return 0, or LAPACK's info."""
    size = matrix.shape[0]
    letter, number, info = np.empty(1, np.uint8), np.empty(1, np.int32), np.empty(1, np.int32)
    letter[0], number[0] = _U, size
    _dpotrf(letter.ctypes.data, number.ctypes.data, matrix.ctypes.data, number.ctypes.data, info.ctypes.data)
    for row in range(size):
        for column in range(row + 1, size):
            matrix[row, column] = 0.0
    return int(info[0])


@njit(cache=True, nogil=True)
def invert_lower(matrix: FloatArray) -> int:
    """Overwrite a lower triangular (N, N) matrix by its inverse; return 0, or LAPACK's info."""
    letters, number, info = np.empty(2, np.uint8), np.empty(1, np.int32), np.empty(1, np.int32)
    letters[0], letters[1], number[0] = _U, _N, matrix.shape[0]
    _dtrtri(
        letters.ctypes.data,
        letters[1:].ctypes.data,
        number.ctypes.data,
        matrix.ctypes.data,
        number.ctypes.data,
        info.ctypes.data,
    )
    return int(info[0])


@njit(cache=True, nogil=True)
def eigh(matrix: FloatArray, values: FloatArray, work: FloatArray, integer_work: IntArray) -> int:
    """Overwrite a symmetric (N, N) matrix by its eigenvectors, one a row; return 0, or LAPACK's info.

    Args:
        matrix: (N, N).
        values: (N,) overwritten by the eigenvalues, ascending.
        work: (1 + 6 N + 2 N²,) scratch.
        integer_work: (3 + 5 N,) int32 scratch.
    """
    letters, number, info = np.empty(2, np.uint8), np.empty(1, np.int32), np.empty(1, np.int32)
    lengths = np.empty(2, np.int32)
    letters[0], letters[1], number[0] = _V, _U, matrix.shape[0]
    lengths[0], lengths[1] = work.size, integer_work.size
    _dsyevd(
        letters.ctypes.data,
        letters[1:].ctypes.data,
        number.ctypes.data,
        matrix.ctypes.data,
        number.ctypes.data,
        values.ctypes.data,
        work.ctypes.data,
        lengths.ctypes.data,
        integer_work.ctypes.data,
        lengths[1:].ctypes.data,
        info.ctypes.data,
    )
    return int(info[0])
