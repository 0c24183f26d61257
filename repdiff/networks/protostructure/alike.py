"""Rows of a batch that are alike, so that the network sees each of them once.

Many draws of a batch begin in the same way: all candidates of a sample have the same prototype, and few elements are
likely. What the network says of an unfinished protostructure depends on nothing but what is drawn of it so far.
"""

from typing import NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor


class Alike(NamedTuple):
    """Which of some rows are alike.

    Attributes:
        first: Place, among the rows, of one row of each kind.
        kind: Kind of each row.
    """

    first: Int[Tensor, " n_kinds"]
    kind: Int[Tensor, " n"]


def alike(*columns: Int[Tensor, " n"]) -> Alike:
    """Find the rows that are equal in all columns.

    >>> first, kind = alike(torch.tensor([7, 7, 5, 7]), torch.tensor([1, 1, 1, 2]))
    >>> kind.tolist(), len(first)
    ([1, 1, 0, 2], 3)

    Args:
        columns: Numbers that are not negative.
    """
    key = columns[0]
    for column in columns[1:]:
        key = torch.unique(key, return_inverse=True)[1]  # small numbers, so that no product overflows
        key = key * (column.max() + 1 if len(column) else 1) + column
    kinds, kind = torch.unique(key, return_inverse=True)
    places = torch.arange(len(key), device=key.device)
    return Alike(torch.zeros_like(kinds).scatter_(0, kind, places), kind)
