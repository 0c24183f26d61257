"""Compiled loops of the messages: what torch does with large intermediate arrays, these do pair by pair.

Rows of `sent` are: what scalars get, what goes along the direction to the neighbour, and, if there are five rows, the
three components of the vectors passed on. `filters` has a row for scalars and, with five, one for vectors.
"""

from typing import no_type_check

import numpy as np

from descriptors.jit import compiled


@compiled
@no_type_check
def send(
    first: np.int64,
    last: np.int64,
    pairs: np.ndarray,
    sent: np.ndarray,
    filters: np.ndarray,
    directed: np.ndarray,
    out: np.ndarray,
) -> None:
    """Add the messages of pairs `first` to `last` (not included) to their centres, in `out`: scalar, vector."""
    width = sent.shape[2]
    for p in range(first, last):
        i, j = pairs[0, p], pairs[1, p]
        total, given, weight = out[i, 0], sent[j, 0], filters[p, 0]
        for c in range(width):
            total[c] += given[c] * weight[c]
        given = sent[j, 1]
        for k in range(3):
            total, along = out[i, k + 1], directed[p, k]
            if sent.shape[1] == 2:
                for c in range(width):
                    total[c] += given[c] * along[c]
            else:
                carried, weight = sent[j, k + 2], filters[p, 1]
                for c in range(width):
                    total[c] += given[c] * along[c] + carried[c] * weight[c]


@compiled
@no_type_check
def send_back(
    first: np.int64,
    last: np.int64,
    pairs: np.ndarray,
    sent: np.ndarray,
    filters: np.ndarray,
    directed: np.ndarray,
    by_out: np.ndarray,
    by_sent: np.ndarray,
    by_filters: np.ndarray,
    by_directed: np.ndarray,
) -> None:
    """Add to the gradients by `sent` and write those by `filters` and `directed`, for the gradient by `out`."""
    width = sent.shape[2]
    for p in range(first, last):
        i, j = pairs[0, p], pairs[1, p]
        by, given, weight, by_given, by_weight = (
            by_out[i, 0],
            sent[j, 0],
            filters[p, 0],
            by_sent[j, 0],
            by_filters[p, 0],
        )
        for c in range(width):
            by_given[c] += by[c] * weight[c]
            by_weight[c] = by[c] * given[c]
        given, by_given = sent[j, 1], by_sent[j, 1]
        for k in range(3):
            by, along, by_along = by_out[i, k + 1], directed[p, k], by_directed[p, k]
            for c in range(width):
                by_given[c] += by[c] * along[c]
                by_along[c] = by[c] * given[c]
        if sent.shape[1] == 2:
            continue
        weight, by_weight = filters[p, 1], by_filters[p, 1]
        by_weight[:] = 0
        for k in range(3):
            by, carried, by_carried = by_out[i, k + 1], sent[j, k + 2], by_sent[j, k + 2]
            for c in range(width):
                by_weight[c] += by[c] * carried[c]
                by_carried[c] += by[c] * weight[c]
