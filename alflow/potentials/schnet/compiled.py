"""Energies and forces of one structure after the other by compiled loops, the derivatives written out by hand.

The pass is that of `network`, in double precision, with the same splines for the filters.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numba
import numpy as np
import torch

from alflow.potentials.schnet.filters import MARGIN
from alflow.potentials.schnet.messages import FAST
from alflow.potentials.schnet.network import Architecture, Parameters, filter_table, grid_tensors
from alflow.types import FloatArray


class Weights(NamedTuple):
    """Of M members, I interactions, F features, G coefficients of a filter; A atoms of one composition."""

    scalars: FloatArray
    """[cutoff Å, spacing of the grid Å, 1 for the smooth cutoff]."""
    embedded: FloatArray
    """(M, A, F) first features of the atoms."""
    tables: FloatArray
    """(M, I, G, F)."""
    blocks: FloatArray
    """(M, I, 3, F, F) A₁, A₂, A₃, inputs first."""
    turned: FloatArray
    """(M, I, 3, F, F) the same, outputs first."""
    biases: FloatArray
    """(M, I, 2, F) b₂, b₃."""
    head: FloatArray
    """(M, F, F/2)."""
    head_turned: FloatArray
    """(M, F/2, F)."""
    head_bias: FloatArray
    """(M, F/2)."""
    last: FloatArray
    """(M, F/2 + 1), the bias at the end."""


class Room(NamedTuple):
    """Arrays that one structure after the other is worked out in."""

    pairs: FloatArray
    """(P, 14) atoms, unit vector, first row of the table, shares and slopes."""
    h: FloatArray
    """(A, F)."""
    x: FloatArray
    """(I, A, F) what atoms send."""
    sigmoid: FloatArray
    """(I, A, F) slopes of the activations."""
    message: FloatArray
    """(A, F)."""
    other: FloatArray
    """(A, F)."""
    narrow: FloatArray
    """(A, F/2)."""
    narrow_slope: FloatArray
    """(A, F/2)."""
    slope: FloatArray
    """(P,) ∂E/∂r, eV/Å."""


def weights_of(architecture: Architecture, members: tuple[Parameters, ...], numbers: list[int]) -> Weights:
    """Return the weights of M members, bound to A atoms."""
    grid, blocks = architecture.grid, range(architecture.interactions)
    tensors = grid_tensors(grid, torch.float64)
    doubled = [{name: value.double() for name, value in member.items()} for member in members]

    def stack(name: str) -> FloatArray:
        return np.stack([member[name].numpy() for member in doubled])

    def stacked(names: tuple[str, ...]) -> FloatArray:
        return np.stack(
            [np.stack([stack(f"interactions.{b}.{name}") for name in names], axis=1) for b in blocks], axis=1
        )

    turned = stacked(("conv.lin1.weight", "conv.lin2.weight", "lin.weight"))
    tables = [np.stack([filter_table(member, b, tensors).numpy() for b in blocks]) for member in doubled]
    return Weights(
        scalars=np.array([grid.cutoff, grid.spacing, float(grid.smooth)]),
        embedded=np.ascontiguousarray(stack("embedding.weight")[:, numbers]),
        tables=np.stack(tables),
        blocks=np.ascontiguousarray(turned.swapaxes(-1, -2)),
        turned=np.ascontiguousarray(turned),
        biases=stacked(("conv.lin2.bias", "lin.bias")),
        head=np.ascontiguousarray(stack("lin1.weight").swapaxes(-1, -2)),
        head_turned=stack("lin1.weight"),
        head_bias=stack("lin1.bias"),
        last=np.concatenate([stack("lin2.weight")[:, 0], stack("lin2.bias")], axis=1),
    )


def make_room(weights: Weights) -> Room:
    """Allocate room for structures of the composition that the weights are bound to."""
    _, atoms, features = weights.embedded.shape
    interactions, pairs = weights.tables.shape[1], atoms * (atoms - 1) // 2
    narrow = weights.head.shape[2]
    return Room(
        pairs=np.zeros((pairs, 14)),
        h=np.zeros((atoms, features)),
        x=np.zeros((interactions, atoms, features)),
        sigmoid=np.zeros((interactions, atoms, features)),
        message=np.zeros((atoms, features)),
        other=np.zeros((atoms, features)),
        narrow=np.zeros((atoms, narrow)),
        narrow_slope=np.zeros((atoms, narrow)),
        slope=np.zeros(pairs),
    )


@numba.njit(cache=True, nogil=True, error_model="numpy")
def find_pairs(positions: FloatArray, scalars: FloatArray, pairs: FloatArray) -> int:
    """Fill the pairs within the cutoff of (A, 3) Å and return how many there are; see `FilterGrid.weights`."""
    cutoff, spacing = scalars[0], scalars[1]
    count = 0
    last = math.floor(cutoff / spacing + 0.5) + MARGIN - 1
    for i in range(len(positions)):
        for j in range(i + 1, len(positions)):
            x = positions[j, 0] - positions[i, 0]
            y = positions[j, 1] - positions[i, 1]
            z = positions[j, 2] - positions[i, 2]
            r = math.sqrt(x * x + y * y + z * z)
            if not r < cutoff and r == r:  # noqa: PLR0124 - a NaN must go through, so that it shows
                continue
            row = pairs[count]
            row[0], row[1], row[2], row[3], row[4] = i, j, x / r, y / r, z / r
            place = r / spacing + MARGIN
            whole = min(math.floor(place), last) if r == r else MARGIN  # noqa: PLR0124
            t = place - whole
            if scalars[2] > 0:
                s = r / cutoff
                value = 1 - s**3 * (10 - 15 * s + 6 * s * s)
                change = -30 * s * s * (1 - s) ** 2 / cutoff
            else:
                value = 0.5 * (math.cos(math.pi * r / cutoff) + 1)
                change = -0.5 * math.pi / cutoff * math.sin(math.pi * r / cutoff)
            row[5] = whole - 1
            row[6] = (1 - t) ** 3 / 6
            row[7] = (3 * t**3 - 6 * t**2 + 4) / 6
            row[8] = (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6
            row[9] = t**3 / 6
            row[10] = -((1 - t) ** 2) / (2 * spacing)
            row[11] = (3 * t**2 - 4 * t) / (2 * spacing)
            row[12] = (-3 * t**2 + 2 * t + 1) / (2 * spacing)
            row[13] = t**2 / (2 * spacing)
            for k in range(4):
                row[10 + k] = row[10 + k] * value + row[6 + k] * change
                row[6 + k] *= value
            count += 1
    return count


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def add_product(a: FloatArray, b: FloatArray, out: FloatArray) -> None:
    """Add the product of (A, K) and (K, N) to (A, N).

    Two rows by four columns of `a` at a time stay in registers. With so few rows this keeps up with a linear algebra
    library, needs no threads of its own, and gives the same bits on every run.
    """
    atoms, inner = a.shape
    for i in range(0, atoms, 2):
        j = min(i + 1, atoms - 1)
        o, q = out[i], out[j]
        both = 1.0 if j > i else 0.0
        for k in range(0, inner - inner % 4, 4):
            a0, a1, a2, a3 = a[i, k], a[i, k + 1], a[i, k + 2], a[i, k + 3]
            c0, c1, c2, c3 = both * a[j, k], both * a[j, k + 1], both * a[j, k + 2], both * a[j, k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            for n in range(b.shape[1]):
                o[n] += a0 * b0[n] + a1 * b1[n] + a2 * b2[n] + a3 * b3[n]
                q[n] += c0 * b0[n] + c1 * b1[n] + c2 * b2[n] + c3 * b3[n]
        for k in range(inner - inner % 4, inner):
            for n in range(b.shape[1]):
                o[n] += a[i, k] * b[k, n]
                q[n] += both * a[j, k] * b[k, n]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _send(pairs: FloatArray, table: FloatArray, x: FloatArray, out: FloatArray) -> None:
    """Fill messages (A, F) of features (A, F)."""
    out[:] = 0.0
    for p in range(len(pairs)):
        i, j, g = int(pairs[p, 0]), int(pairs[p, 1]), int(pairs[p, 5])
        s0, s1, s2, s3 = pairs[p, 6], pairs[p, 7], pairs[p, 8], pairs[p, 9]
        t0, t1, t2, t3 = table[g], table[g + 1], table[g + 2], table[g + 3]
        xi, xj, oi, oj = x[i], x[j], out[i], out[j]
        for f in range(x.shape[1]):
            w = s0 * t0[f] + s1 * t1[f] + s2 * t2[f] + s3 * t3[f]
            oi[f] += w * xj[f]
            oj[f] += w * xi[f]


@numba.njit(cache=True, nogil=True, fastmath=FAST, error_model="numpy")
def _return(
    pairs: FloatArray, table: FloatArray, x: FloatArray, gradient: FloatArray, out: FloatArray, slope: FloatArray
) -> None:
    """Fill the gradient (A, F) with respect to what was sent, and add to the slopes (P,) of the energy."""
    out[:] = 0.0
    for p in range(len(pairs)):
        i, j, g = int(pairs[p, 0]), int(pairs[p, 1]), int(pairs[p, 5])
        s0, s1, s2, s3 = pairs[p, 6], pairs[p, 7], pairs[p, 8], pairs[p, 9]
        d0, d1, d2, d3 = pairs[p, 10], pairs[p, 11], pairs[p, 12], pairs[p, 13]
        t0, t1, t2, t3 = table[g], table[g + 1], table[g + 2], table[g + 3]
        xi, xj, gi, gj, oi, oj = x[i], x[j], gradient[i], gradient[j], out[i], out[j]
        total = 0.0
        for f in range(x.shape[1]):
            w = s0 * t0[f] + s1 * t1[f] + s2 * t2[f] + s3 * t3[f]
            d = d0 * t0[f] + d1 * t1[f] + d2 * t2[f] + d3 * t3[f]
            oi[f] += w * gj[f]
            oj[f] += w * gi[f]
            total += d * (xi[f] * gj[f] + xj[f] * gi[f])
        slope[p] += total


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _activate(values: FloatArray, slopes: FloatArray) -> None:
    """Replace x by ln((1 + eˣ) / 2) and fill the slopes 1 / (1 + e⁻ˣ)."""
    for i in range(values.shape[0]):
        for f in range(values.shape[1]):
            x = values[i, f]
            e = math.exp(-abs(x))
            values[i, f] = max(x, 0.0) + math.log1p(e) - 0.6931471805599453
            slopes[i, f] = 1.0 / (1.0 + e) if x >= 0 else e / (1.0 + e)


@numba.njit(cache=True, nogil=True, error_model="numpy")
def member_pass(member: int, count: int, share: float, weights: Weights, room: Room) -> float:
    """Return a member's energy, eV, and, if its share is not 0, add its slopes times the share."""
    pairs, interactions = room.pairs[:count], weights.tables.shape[1]
    h, message, other = room.h, room.message, room.other
    h[:] = weights.embedded[member]
    for b in range(interactions):
        room.x[b] = 0.0
        add_product(h, weights.blocks[member, b, 0], room.x[b])
        _send(pairs, weights.tables[member, b], room.x[b], message)
        other[:] = weights.biases[member, b, 0]
        add_product(message, weights.blocks[member, b, 1], other)
        _activate(other, room.sigmoid[b])
        h += weights.biases[member, b, 1]
        add_product(other, weights.blocks[member, b, 2], h)
    room.narrow[:] = weights.head_bias[member]
    add_product(h, weights.head[member], room.narrow)
    _activate(room.narrow, room.narrow_slope)
    last = weights.last[member]
    wide = len(last) - 1
    energy = 0.0
    for i in range(len(h)):
        energy += last[wide]
        for f in range(wide):
            energy += room.narrow[i, f] * last[f]
            room.narrow_slope[i, f] *= last[f] * share
    if share == 0.0:
        return energy
    h[:] = 0.0
    add_product(room.narrow_slope, weights.head_turned[member], h)
    for b in range(interactions - 1, -1, -1):
        other[:] = 0.0
        add_product(h, weights.turned[member, b, 2], other)
        other *= room.sigmoid[b]
        message[:] = 0.0
        add_product(other, weights.turned[member, b, 1], message)
        _return(pairs, weights.tables[member, b], room.x[b], message, other, room.slope)
        if b > 0:
            add_product(other, weights.turned[member, b, 0], h)
    return energy


@numba.njit(cache=True, nogil=True)
def add_forces(count: int, room: Room, forces: FloatArray) -> None:
    """Add the forces (A, 3) that follow from the slopes, and clear these."""
    for p in range(count):
        i, j = int(room.pairs[p, 0]), int(room.pairs[p, 1])
        for axis in range(3):
            push = room.slope[p] * room.pairs[p, 2 + axis]
            forces[i, axis] += push
            forces[j, axis] -= push
        room.slope[p] = 0.0


@numba.njit(cache=True, nogil=True)
def drive(
    positions: FloatArray, shares: FloatArray, weights: Weights, room: Room, energies: FloatArray, forces: FloatArray
) -> None:
    """Fill the energies (M,) of all members and the forces (A, 3) of the energy that they share, at (A, 3) Å."""
    count = find_pairs(positions, weights.scalars, room.pairs)
    for member in range(len(shares)):
        energies[member] = member_pass(member, count, shares[member], weights, room)
    forces[:] = 0.0
    add_forces(count, room, forces)


@numba.njit(cache=True, nogil=True)
def evaluate_frames(
    positions: FloatArray, weights: Weights, room: Room, energies: FloatArray, forces: FloatArray
) -> None:
    """Fill energies (F, M) and forces (F, M, A, 3) of (F, A, 3) Å."""
    for frame in range(len(positions)):
        count = find_pairs(positions[frame], weights.scalars, room.pairs)
        for member in range(energies.shape[1]):
            energies[frame, member] = member_pass(member, count, 1.0, weights, room)
            forces[frame, member] = 0.0
            add_forces(count, room, forces[frame, member])
