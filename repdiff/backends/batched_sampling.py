"""Samples in parts that fit into memory, and the atoms of a formula."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from reconstruction.out_of_memory import in_halves
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition
from repdiff.execution.progress import progress_bar


def sample_in_parts(n: int, size: int, sample: Callable[[slice], list[Crystal]]) -> list[Crystal]:
    """Make `n` crystals, at most `size` together, with a bar on stderr.

    Args:
        n: Number of samples.
        size: Crystals at once; where memory is not enough, fewer.
        sample: Makes the crystals of a part, which the slice names.
    """
    crystals: list[Crystal] = []
    with progress_bar(total=n, desc="sampling", unit="crystal", disable=n < 2) as bar:
        for _, made in in_halves(n, size, sample):
            crystals += made
            bar.update(len(crystals) - bar.n)
    return crystals


def atoms_of(composition: Composition) -> Int[np.ndarray, " n_atoms"]:
    """List the atomic numbers of a formula's atoms, element by element in its order."""
    return np.repeat(list(composition), list(composition.values()))
