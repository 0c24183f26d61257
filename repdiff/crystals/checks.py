"""Is a crystal fit for use? One reason in words per crystal that is not."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from jaxtyping import Float

from descriptors.neighbors import find_pairs
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.execution.progress import progress_bar
from repdiff.settings.limits import MAX_ATOMS

MIN_VOLUME = 0.1  # Å³ of the whole cell; an atom takes several
MIN_DISTANCE = 0.1  # Å; the shortest bond there is, H-H, takes 0.74
MIN_ATOM_VOLUME = 1.0  # Å³ an atom; diamond has 5.7, hydrogen under 400 GPa about 2
MAX_ATOM_VOLUME = 1e5  # Å³ an atom; a lone atom in a box of 20 Å takes 8000
MAX_LENGTH = 1e4  # Å; beyond it fractional coordinates lose the digits that distances need
CRYSTALS_PER_BATCH = 2000


def check_crystal(crystal: Crystal, max_atoms: int | None = None) -> str | None:
    """Say why a crystal cannot be used, or return None if it can.

    Refused are: no atoms, more than `max_atoms` (never more than 3000), arrays that do not fit together, NaN
    or infinite numbers, unknown elements, a cell below 0.1 Å³ or longer than 10 000 Å, less than 1 or more than
    100 000 Å³ an atom, and atoms (or an atom and its own image) closer than 0.1 Å through any periodic image.
    Sites of partial occupancy never become a `Crystal`: the readers refuse them.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite
        >>> check_crystal(cubic_perovskite(), max_atoms=3)
        '5 atoms, expected at most 3'
    """
    return check_crystals([crystal], max_atoms, progress=False)[0]


def check_crystals(
    crystals: Sequence[Crystal], max_atoms: int | None = None, *, progress: bool = True
) -> list[str | None]:
    """Apply `check_crystal` to many crystals, the distances of thousands at a time.

    Args:
        crystals: Any number.
        max_atoms: Largest allowed number of atoms in a cell; None allows 3000.
        progress: Show a bar on stderr when there are more than 10 000.
    """
    reasons = [_check_values(crystal, max_atoms) for crystal in crystals]
    sound = [number for number, reason in enumerate(reasons) if reason is None]
    sound.sort(key=lambda number: crystals[number].n_atoms)  # equal sizes together keep the memory bounded
    with progress_bar(
        total=len(sound), desc="check distances", unit="", disable=not progress or len(sound) < 10_000
    ) as bar:
        for part in _parts([crystals[number].n_atoms for number in sound]):
            for number, reason in zip(
                sound[part], _overlaps([crystals[n] for n in sound[part]]), strict=True
            ):
                reasons[number] = reason
            bar.update(part.stop - part.start)
    return reasons


def check_sizes(
    crystals: Sequence[Crystal], max_atoms: int | None = None, *, progress: bool = True
) -> list[str | None]:
    """Refuse nothing but cells of too many atoms; for a judge, who is to see all the rest.

    Args:
        crystals: Any number.
        max_atoms: Largest allowed number of atoms in a cell; None allows 3000.
        progress: Not used; there is nothing to wait for.
    """
    return [_check_size(crystal.n_atoms, max_atoms) for crystal in crystals]


def _check_size(n_atoms: int, max_atoms: int | None) -> str | None:
    largest = min(MAX_ATOMS if max_atoms is None else max_atoms, MAX_ATOMS)
    return f"{n_atoms} atoms, expected at most {largest}" if n_atoms > largest else None


def _check_values(crystal: Crystal, max_atoms: int | None) -> str | None:
    numbers, lattice, frac = crystal.atomic_numbers, crystal.lattice, crystal.frac_coords
    n_atoms = len(numbers)
    if n_atoms == 0:
        return "no atoms"
    if reason := _check_size(n_atoms, max_atoms):
        return reason
    if lattice.shape != (3, 3) or frac.shape != (n_atoms, 3):
        return f"{n_atoms} atoms with a cell of shape {lattice.shape} and coordinates of shape {frac.shape}"
    if not np.isfinite(lattice).all():
        return "a cell vector is NaN or infinite"
    if not np.isfinite(frac).all():
        return "a coordinate is NaN or infinite"
    if numbers.min() < 1 or numbers.max() > MAX_ATOMIC_NUMBER:
        unknown = numbers[(numbers < 1) | (numbers > MAX_ATOMIC_NUMBER)][0]
        return f"unknown element: atomic number {unknown}, expected 1 to {MAX_ATOMIC_NUMBER}"
    if (length := float(np.linalg.norm(lattice, axis=1).max())) > MAX_LENGTH:
        return f"a cell vector of {length:.3g} Å, expected at most {MAX_LENGTH:g} Å"
    if crystal.volume < MIN_VOLUME:
        return f"the cell has a volume of {crystal.volume:.2g} Å³, expected at least {MIN_VOLUME} Å³"
    share = crystal.volume / n_atoms
    if share < MIN_ATOM_VOLUME:
        return f"{share:.2g} Å³ an atom, expected at least {MIN_ATOM_VOLUME:g} Å³: is the cell in Å?"
    if share > MAX_ATOM_VOLUME:
        return f"{share:.2g} Å³ an atom, expected at most {MAX_ATOM_VOLUME:g} Å³: is it a crystal?"
    return None


def _parts(sizes: Sequence[int]) -> list[slice]:
    """Cut into batches of at most 2000 crystals and about 4 million pairs of atoms."""
    pairs = np.cumsum(np.square(np.array(sizes, dtype=np.int64)))
    bucket = np.maximum(pairs // 4_000_000, 0) + np.arange(len(sizes)) // CRYSTALS_PER_BATCH
    edges = [0, *(np.flatnonzero(np.diff(bucket)) + 1).tolist(), len(sizes)]
    return [slice(low, high) for low, high in pairwise(edges) if high > low]


def _overlaps(crystals: Sequence[Crystal]) -> list[str | None]:
    batch = to_batch([_compact(crystal) for crystal in crystals]).wrapped()
    pairs = find_pairs(batch, MIN_DISTANCE)
    reasons: list[str | None] = [None] * len(crystals)
    if not pairs.pair_idx.shape[1]:
        return reasons
    lengths = pairs.displacements(batch).norm(dim=1)
    order = torch.argsort(lengths, descending=True, stable=True)  # the shortest is written last and stays
    systems = batch.system_idx[pairs.pair_idx[0]]
    first = torch.searchsorted(batch.system_idx, systems)
    for k in order.tolist():
        i, j = sorted((pairs.pair_idx[:, k] - first[k]).tolist())
        who = f"atom {i} and its own image" if i == j else f"atoms {i} and {j}"
        reasons[int(systems[k])] = (
            f"overlapping atoms: {who} are {float(lengths[k]):.2g} Å apart, "
            f"expected at least {MIN_DISTANCE} Å"
        )
    return reasons


def _compact(crystal: Crystal) -> Crystal:
    """Describe a cell of needles by shorter vectors, so that few images need to be searched."""
    lattice = crystal.lattice
    if _plane_heights(lattice).min() > MIN_DISTANCE:
        return crystal
    from pymatgen.core import Lattice

    reduced = Lattice(lattice).get_lll_reduced_lattice().matrix
    frac = crystal.frac_coords @ lattice @ np.linalg.inv(reduced)
    return crystal.replace(lattice=np.array(reduced), frac_coords=frac)


def _plane_heights(lattice: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, " 3"]:
    return 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
