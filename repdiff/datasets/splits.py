"""Train, validation and test, with duplicates together."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from repdiff.crystals.crystal import SPLITS, Crystal
from repdiff.crystals.duplicates import group_duplicates

FRACTIONS = (0.6, 0.2, 0.2)


def assign_splits(
    crystals: Sequence[Crystal],
    *,
    fractions: tuple[float, float, float] = FRACTIONS,
    seed: int,
    progress: bool = True,
) -> list[str]:
    """Name the split of every crystal: the one it has if all have one, otherwise one drawn at random.

    Drawn splits keep all duplicates of a crystal (see `group_duplicates`) on one side. Groups are taken in
    random order, each for the split that lacks most, so that the fractions are met as closely as the groups
    allow.

    Args:
        crystals: Any number.
        fractions: Shares of train, validation and test, summing to 1.
        seed: Seed of the order of the groups.
        progress: Show bars on stderr for large sets.

    Raises:
        ValueError: If a fraction is negative or they do not sum to 1.
    """
    _check(fractions)
    official = [crystal.split for crystal in crystals if crystal.split is not None]
    if len(official) == len(crystals):
        return official
    drawn = draw_splits(group_duplicates(crystals, progress=progress), fractions=fractions, seed=seed)
    return [SPLITS[split] for split in drawn]


def draw_splits(
    groups: Int[np.ndarray, " n"], *, fractions: tuple[float, float, float] = FRACTIONS, seed: int
) -> Int[np.ndarray, " n"]:
    """Draw the split of every crystal as `assign_splits` does, as its place in `SPLITS`.

    Args:
        groups: Equal numbers stay together.
        fractions: Shares of train, validation and test, summing to 1.
        seed: Seed of the order of the groups.

    Raises:
        ValueError: If a fraction is negative or they do not sum to 1.
    """
    _check(fractions)
    names, members, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    lacking = np.array(fractions) * len(groups)
    chosen = np.zeros(len(names), dtype=np.int64)
    for place in np.random.default_rng(seed).permutation(len(names)):
        chosen[place] = lacking.argmax()
        lacking[chosen[place]] -= sizes[place]
    return chosen[members]


def _check(fractions: tuple[float, float, float]) -> None:
    if min(fractions) < 0 or abs(sum(fractions) - 1) > 1e-9:
        raise ValueError(f"fractions are {fractions}, expected three shares that sum to 1")


def draw_rows(n_rows: int, n: int | None, seed: int | np.random.Generator) -> list[int]:
    """Draw `n` different rows at random and return them in ascending order; all rows if `n` is None or too large.

    Args:
        n_rows: Rows that there are.
        n: Rows to draw.
        seed: Seed, or a generator that goes on after the draw.

    Example:
        >>> draw_rows(3, None, 0), len(draw_rows(100, 5, 0))
        ([0, 1, 2], 5)
    """
    if n is None or n >= n_rows:
        return list(range(n_rows))
    return sorted(np.random.default_rng(seed).choice(n_rows, size=n, replace=False).tolist())
