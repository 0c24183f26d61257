"""Compiled loops over the neighbours of each atom, for the arguments that `descriptors.ead_compiled` prepares.

Neighbours of one element and crystal have the same weights, so sums are kept by element and mixed at the end: the
innermost loop runs over monomials alone. Monomials are made, and their gradient taken back, along a chain: each is an
earlier one times x, y or z.
"""

import math
from typing import no_type_check

import numba
import numpy as np

from descriptors.jit import FAST, compiled
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER

TOUCHING = 1e-6  # Å; atoms nearer than this have no direction, rather than one that is not a number
LANES = 16  # numbers that a processor multiplies at once; sums over monomials are padded to a multiple of it


@numba.njit(nogil=True, fastmath=FAST, inline="always")
@no_type_check
def _hermite(t):
    """Return the weights of two values and two slopes at t in [0, 1]."""
    u = 1 - t
    return (1 + 2 * t) * u * u, t * u * u, t * t * (3 - 2 * t), -t * t * u


@numba.njit(nogil=True, fastmath=FAST, inline="always")
@no_type_check
def _hermite_slopes(t):
    """Return the derivatives of the weights by t."""
    u = 1 - t
    return -6 * t * u, u * (1 - 3 * t), 6 * t * u, t * (3 * t - 2)


@compiled
@no_type_check
def forward(
    vectors, present, neighbor_idx, numbers, weights, cutoff, first, step, n_centers, unit_vectors, envelope, radial,
    sides, parents, axes, factors, edges, moments, densities
):  # fmt: skip
    """Fill `moments`, (atom, radial function, weight, monomial), and their sums of squares, `densities`."""
    n_weights, n_angular, n_etas, n_orders = weights.shape[1], len(parents), len(radial), len(edges)
    n_points, middle, n_radial = radial.shape[1] - 1, radial.shape[3] // 2, len(radial) * n_centers
    real = vectors.dtype.type
    squared_cutoff, to_envelope, to_grid = cutoff * cutoff, (len(envelope) - 1) / cutoff, real(1) / step
    n_padded = n_angular if n_angular < LANES // 2 else -(-n_angular // LANES) * LANES
    monomials, steps = np.zeros(n_padded, vectors.dtype), np.zeros(3, vectors.dtype)
    sums = np.zeros((MAX_ATOMIC_NUMBER + 1, n_radial, n_padded), vectors.dtype)
    place_of, example = np.full(MAX_ATOMIC_NUMBER + 1, -1), np.zeros(MAX_ATOMIC_NUMBER + 1, np.int64)
    for i in range(vectors.shape[0]):
        n_kinds, spoiled = 0, False
        for slot in range(vectors.shape[1]):
            if not present[i, slot]:
                continue
            x, y, z = vectors[i, slot, 0], vectors[i, slot, 1], vectors[i, slot, 2]
            squared = x * x + y * y + z * z
            if not squared < squared_cutoff:
                spoiled |= squared != squared
                continue
            j = neighbor_idx[i, slot]
            if place_of[numbers[j]] < 0:
                place_of[numbers[j]] = n_kinds
                example[n_kinds] = j
                sums[n_kinds] = 0
                n_kinds += 1
            mine = sums[place_of[numbers[j]]]
            r = math.sqrt(squared)
            at = r * to_envelope
            p = min(int(at), len(envelope) - 2)
            v0, s0, v1, s1 = _hermite(at - real(p))
            monomials[0] = (
                v0 * envelope[p, 0] + s0 * envelope[p, 1] + v1 * envelope[p + 1, 0] + s1 * envelope[p + 1, 1]
            )
            scale = real(1) / max(r, real(TOUCHING)) if unit_vectors else real(1)
            steps[0], steps[1], steps[2] = x * scale, y * scale, z * scale
            for a in range(1, n_angular):
                monomials[a] = monomials[parents[a]] * steps[axes[a]]
            at = (r - first) * to_grid
            nearest = math.floor(at + real(0.5))
            at = (at - real(nearest) + real(0.5)) * real(n_points)
            p = min(int(at), n_points - 1)
            v0, s0, v1, s1 = _hermite(at - real(p))
            for e in range(n_etas):
                side = sides[e]
                lower, upper = radial[e, p], radial[e, p + 1]
                for k in range(max(nearest - side, 0), min(nearest + side + 1, n_centers)):
                    m = k + middle - nearest
                    g = v0 * lower[0, m] + s0 * lower[1, m] + v1 * upper[0, m] + s1 * upper[1, m]
                    row = mine[e * n_centers + k]
                    for a in range(n_padded):
                        row[a] += g * monomials[a]
        moments[i] = np.nan if spoiled else real(0)
        for kind in range(n_kinds):
            place_of[numbers[example[kind]]] = -1
            for w in range(n_weights):
                weight = weights[example[kind], w]
                for k in range(n_radial):
                    for a in range(n_angular):
                        moments[i, k, w, a] += weight * sums[kind, k, a]
        for w in range(n_weights):
            for order in range(n_orders):
                for k in range(n_radial):
                    total = real(0)
                    for a in range(edges[order, 0], edges[order, 1]):
                        total += factors[a] * moments[i, k, w, a] ** 2
                    densities[i, (w * n_orders + order) * n_radial + k] = total


@compiled
@no_type_check
def backward(
    vectors, present, neighbor_idx, numbers, weights, cutoff, first, step, n_centers, unit_vectors, envelope, radial,
    sides, parents, axes, factors, edges, moments, upstream, gradient
):  # fmt: skip
    """Fill `gradient` by the vectors from the gradient by the densities, `upstream`."""
    n_weights, n_angular, n_etas, n_orders = weights.shape[1], len(parents), len(radial), len(edges)
    n_points, middle, n_radial = radial.shape[1] - 1, radial.shape[3] // 2, len(radial) * n_centers
    real = vectors.dtype.type
    squared_cutoff, to_envelope, to_grid = cutoff * cutoff, (len(envelope) - 1) / cutoff, real(1) / step
    n_padded = n_angular if n_angular < LANES // 2 else -(-n_angular // LANES) * LANES
    monomials, steps, pull = (
        np.zeros(n_padded, vectors.dtype),
        np.zeros(3, vectors.dtype),
        np.zeros(3, vectors.dtype),
    )
    by_value, by_slope = np.zeros(n_padded, vectors.dtype), np.zeros(n_padded, vectors.dtype)
    push = np.zeros((n_radial, n_weights, n_angular), vectors.dtype)
    sums = np.zeros((MAX_ATOMIC_NUMBER + 1, n_radial, n_padded), vectors.dtype)
    place_of, example = np.full(MAX_ATOMIC_NUMBER + 1, -1), np.zeros(MAX_ATOMIC_NUMBER + 1, np.int64)
    for i in range(vectors.shape[0]):
        n_kinds = 0
        for w in range(n_weights):
            for order in range(n_orders):
                for k in range(n_radial):
                    pushed = 2 * upstream[i, (w * n_orders + order) * n_radial + k]
                    for a in range(edges[order, 0], edges[order, 1]):
                        push[k, w, a] = pushed * factors[a] * moments[i, k, w, a]
        for slot in range(vectors.shape[1]):
            if not present[i, slot]:
                continue
            x, y, z = vectors[i, slot, 0], vectors[i, slot, 1], vectors[i, slot, 2]
            squared = x * x + y * y + z * z
            if not squared < squared_cutoff:
                continue
            j = neighbor_idx[i, slot]
            if place_of[numbers[j]] < 0:
                place_of[numbers[j]] = n_kinds
                example[n_kinds] = j
                for k in range(n_radial):
                    for a in range(n_angular):
                        total = real(0)
                        for w in range(n_weights):
                            total += weights[j, w] * push[k, w, a]
                        sums[n_kinds, k, a] = total
                n_kinds += 1
            mine = sums[place_of[numbers[j]]]
            r = math.sqrt(squared)
            inverse = real(1) / max(r, real(TOUCHING))
            by_value[:] = 0
            by_slope[:] = 0
            at = (r - first) * to_grid
            nearest = math.floor(at + real(0.5))
            at = (at - real(nearest) + real(0.5)) * real(n_points)
            p = min(int(at), n_points - 1)
            v0, s0, v1, s1 = _hermite(at - real(p))
            d0, t0, d1, t1 = _hermite_slopes(at - real(p))
            for e in range(n_etas):
                side = sides[e]
                lower, upper = radial[e, p], radial[e, p + 1]
                for k in range(max(nearest - side, 0), min(nearest + side + 1, n_centers)):
                    m = k + middle - nearest
                    g = v0 * lower[0, m] + s0 * lower[1, m] + v1 * upper[0, m] + s1 * upper[1, m]
                    h = d0 * lower[0, m] + t0 * lower[1, m] + d1 * upper[0, m] + t1 * upper[1, m]
                    row = mine[e * n_centers + k]
                    for a in range(n_padded):
                        by_value[a] += g * row[a]
                        by_slope[a] += h * row[a]
            at = r * to_envelope
            p = min(int(at), len(envelope) - 2)
            v0, s0, v1, s1 = _hermite(at - real(p))
            d0, t0, d1, t1 = _hermite_slopes(at - real(p))
            damped = (
                v0 * envelope[p, 0] + s0 * envelope[p, 1] + v1 * envelope[p + 1, 0] + s1 * envelope[p + 1, 1]
            )
            falling = (
                d0 * envelope[p, 0] + t0 * envelope[p, 1] + d1 * envelope[p + 1, 0] + t1 * envelope[p + 1, 1]
            )
            scale = inverse if unit_vectors else real(1)
            steps[0], steps[1], steps[2] = x * scale, y * scale, z * scale
            monomials[0] = damped
            for a in range(1, n_angular):
                monomials[a] = monomials[parents[a]] * steps[axes[a]]
            along = real(0)
            for a in range(n_padded):
                along += by_slope[a] * monomials[a]
            along *= to_grid * n_points
            pull[:] = 0
            for a in range(n_angular - 1, 0, -1):
                pull[axes[a]] += by_value[a] * monomials[parents[a]]
                by_value[parents[a]] += by_value[a] * steps[axes[a]]
            along += by_value[0] * falling * to_envelope
            if unit_vectors:
                along -= (pull[0] * steps[0] + pull[1] * steps[1] + pull[2] * steps[2]) * inverse
            gradient[i, slot, 0] = along * x * inverse + pull[0] * scale
            gradient[i, slot, 1] = along * y * inverse + pull[1] * scale
            gradient[i, slot, 2] = along * z * inverse + pull[2] * scale
        for kind in range(n_kinds):
            place_of[numbers[example[kind]]] = -1


@compiled
@no_type_check
def find(frac_coords, lattice, reach, centres, systems, first_atom, cutoff, counts, neighbor_idx, shifts):
    """Write the neighbours of each centre to its row until the row is full, and count all of them; fill up the row.

    Centre `centres[row]` is an atom of crystal s = `systems[row]`, whose atoms are side by side from `first_atom[s]`
    on. The shifts that a sphere around an atom may touch along an axis are those within `reach`, the cutoff over the
    distance of opposite faces.
    """
    limit = cutoff * cutoff
    low, high, step = np.zeros(3), np.zeros(3), np.zeros(3)
    for row in range(len(centres)):
        i, s = centres[row], systems[row]
        cell = lattice[s]
        count = 0
        for j in range(first_atom[s], first_atom[s + 1]):
            for axis in range(3):
                step[axis] = frac_coords[j, axis] - frac_coords[i, axis]
                low[axis] = math.ceil(-reach[s, axis] - step[axis])
                high[axis] = math.floor(reach[s, axis] - step[axis])
            for u in range(int(low[0]), int(high[0]) + 1):
                fu = step[0] + u
                ux, uy, uz = fu * cell[0, 0], fu * cell[0, 1], fu * cell[0, 2]
                for v in range(int(low[1]), int(high[1]) + 1):
                    fv = step[1] + v
                    vx, vy, vz = ux + fv * cell[1, 0], uy + fv * cell[1, 1], uz + fv * cell[1, 2]
                    for w in range(int(low[2]), int(high[2]) + 1):
                        fw = step[2] + w
                        x, y, z = vx + fw * cell[2, 0], vy + fw * cell[2, 1], vz + fw * cell[2, 2]
                        if x * x + y * y + z * z > limit or (i == j and u == 0 and v == 0 and w == 0):
                            continue
                        if count < neighbor_idx.shape[1]:
                            neighbor_idx[row, count] = j
                            shifts[row, count, 0] = u
                            shifts[row, count, 1] = v
                            shifts[row, count, 2] = w
                        count += 1
        counts[row] = count
        for slot in range(count, neighbor_idx.shape[1]):
            neighbor_idx[row, slot] = i
            shifts[row, slot, 0] = 1
            shifts[row, slot, 1] = 0
            shifts[row, slot, 2] = 0


@compiled
@no_type_check
def separate(frac_coords, lattice, neighbor_idx, shifts, centres, systems, present, vectors):
    """Fill `vectors` with those from each centre to its neighbours; absent ones are (1, 1, 1)."""
    step = np.zeros(3, vectors.dtype)
    for row in range(len(centres)):
        i, cell = centres[row], lattice[systems[row]]
        for slot in range(neighbor_idx.shape[1]):
            if not present[row, slot]:
                vectors[row, slot] = 1
                continue
            j = neighbor_idx[row, slot]
            for axis in range(3):
                step[axis] = frac_coords[j, axis] + shifts[row, slot, axis] - frac_coords[i, axis]
            for axis in range(3):
                vectors[row, slot, axis] = (
                    step[0] * cell[0, axis] + step[1] * cell[1, axis] + step[2] * cell[2, axis]
                )


@compiled
@no_type_check
def gather(
    frac_coords, lattice, neighbor_idx, shifts, centres, systems, present, upstream, by_frac, by_lattice
):
    """Add the gradient by the vectors, `upstream`, up into those by fractional coordinates and by cells."""
    pull, step = np.zeros(3, upstream.dtype), np.zeros(3, upstream.dtype)
    for row in range(len(centres)):
        i, s = centres[row], systems[row]
        cell = lattice[s]
        for slot in range(neighbor_idx.shape[1]):
            if not present[row, slot]:
                continue
            j = neighbor_idx[row, slot]
            x, y, z = upstream[row, slot, 0], upstream[row, slot, 1], upstream[row, slot, 2]
            for axis in range(3):
                pull[axis] = x * cell[axis, 0] + y * cell[axis, 1] + z * cell[axis, 2]
                step[axis] = frac_coords[j, axis] + shifts[row, slot, axis] - frac_coords[i, axis]
                by_frac[j, axis] += pull[axis]
                by_frac[i, axis] -= pull[axis]
                by_lattice[s, axis, 0] += step[axis] * x
                by_lattice[s, axis, 1] += step[axis] * y
                by_lattice[s, axis, 2] += step[axis] * z
