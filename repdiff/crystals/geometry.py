"""Cells and shortest distances of crystals of any quality."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_pairs
from descriptors.reduction import reduced_cells
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal, to_batch

MIN_DISTANCE = 0.5  # Å
MIN_VOLUME = 0.1  # Å³
CRYSTALS_AT_ONCE = 10_000
PAIRS_PER_SEARCH = 2_000_000  # atoms squared, summed over the crystals searched at once


@dataclass(frozen=True, kw_only=True, slots=True)
class StructureCheck:
    """What the structure test found.

    Attributes:
        valid: Whether the crystal passed.
        reason: Why not; "" if it did.
        shortest_distance: Å, through all images, those of an atom itself included; None if there is no cell
            to measure in.
        volume: Å³; None if not finite.
    """

    valid: bool
    reason: str
    shortest_distance: float | None
    volume: float | None


def check_structures(crystals: Sequence[Crystal]) -> list[StructureCheck]:
    """Test that cells have at least 0.1 Å³ and no two atoms, in any image, are closer than 0.5 Å.

    Any input is answered: NaN, no atoms, parallel cell vectors and unknown elements fail with their reason.

    Source: Xie et al., arXiv 2110.06197, and its published evaluation for the two constants. There the images
        of an atom itself are left out; they count here, since a 0.3 Å cell vector is as impossible as a bond
        of that length.
    """
    if len(crystals) > CRYSTALS_AT_ONCE:
        starts = range(0, len(crystals), CRYSTALS_AT_ONCE)
        return [
            check
            for start in starts
            for check in check_structures(crystals[start : start + CRYSTALS_AT_ONCE])
        ]
    crystals = list(crystals)
    checks = [_check_cell(crystal) for crystal in crystals]
    sound = [index for index, check in enumerate(checks) if check.valid]
    distances = shortest_distances([crystals[index] for index in sound])
    for index, distance in zip(sound, distances, strict=True):
        near = distance < MIN_DISTANCE
        checks[index] = StructureCheck(
            valid=not near,
            reason=f"atoms closer than {MIN_DISTANCE} Å" if near else "",
            shortest_distance=distance,
            volume=checks[index].volume,
        )
    return checks


def shortest_distances(crystals: Sequence[Crystal]) -> list[float]:
    """Return the shortest distance between two atoms of each crystal, Å, through all images.

    The radius of the search starts at 0.5 Å and doubles for the crystals in which nothing was found. Cells are reduced
    first, so that few images lie within it, however long and flat the cell of a bad crystal is.

    Args:
        crystals: Finite, each with atoms and a volume.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> shortest_distances([rock_salt(a=5.64)])
        [2.82]
    """
    shortest = np.full(len(crystals), np.inf)
    cutoff = MIN_DISTANCE
    while len(open_cases := np.flatnonzero(np.isinf(shortest))):
        for part in _parts(open_cases, crystals):
            batch = _reduced(to_batch([crystals[index] for index in part]))
            pairs = find_pairs(batch, cutoff)
            squared = (pairs.displacements(batch) ** 2).sum(1)
            system = batch.system_idx[pairs.pair_idx[0]]
            least = torch.full((len(part),), torch.inf, dtype=squared.dtype)
            least.scatter_reduce_(0, system, squared, "amin")
            shortest[part] = least.sqrt().numpy()
        cutoff *= 2
    return shortest.tolist()


def _reduced(batch: CrystalBatch) -> CrystalBatch:
    """Return the same crystals in the shortest bases of their lattices."""
    basis, change = reduced_cells(batch.lattice)
    coords = torch.linalg.solve(change.mT[batch.system_idx], batch.frac_coords[:, :, None])[:, :, 0]
    return replace(batch, lattice=basis, frac_coords=coords - coords.floor())


def _check_cell(crystal: Crystal) -> StructureCheck:
    """Test all that needs no distance."""
    finite = bool(np.isfinite(crystal.lattice).all() and np.isfinite(crystal.frac_coords).all())
    volume = crystal.volume if finite else None
    numbers = crystal.atomic_numbers
    reason = ""
    if crystal.n_atoms == 0:
        reason = "no atoms"
    elif volume is None or not np.isfinite(volume):
        reason, volume = "a coordinate or a cell vector is not finite", None
    elif numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        reason = "unknown element"
    elif volume < MIN_VOLUME:
        reason = f"volume below {MIN_VOLUME} Å³"
    return StructureCheck(valid=not reason, reason=reason, shortest_distance=None, volume=volume)


def _parts(indices: np.ndarray, crystals: Sequence[Crystal]) -> Iterator[np.ndarray]:
    """Cut a list of crystals so that each part has a bounded number of pairs of atoms."""
    n_pairs = np.cumsum([crystals[index].n_atoms ** 2 for index in indices])
    return iter(np.split(indices, np.flatnonzero(np.diff(n_pairs // PAIRS_PER_SEARCH)) + 1))
