"""Ways to put elements on the sites of a prototype; here metals and single elements, the salts are in `ions`.

Metals keep the contacts of the original, or fill space well; their bond lengths are data-mined ones.
Weights only
order the ways: what cannot be is left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from repdiff.datasets.prototypes.library import SHELL_WIDTH, Prototype
from repdiff.datasets.prototypes.species import SpeciesTable, bond_radii, group_of, is_metal, is_metallic

MAX_COMBINATIONS = 60_000  # of species on the sites of one prototype; beyond, a sample
MISFIT, MAX_MISFIT = 0.05, 0.1  # of bond lengths in one crystal, relative: standard deviation and limit
MIN_PACKING, MIN_PACKING_OF_SALT = 0.5, 0.67  # of touching spheres: CsCl passes the second, rocksalt does not
MAX_SIZE_RATIO, MAX_SIZE_RATIO_OF_SALT = 1.55, 1.4
MIN_ELEMENT_BOND, MAX_ELEMENT_SIZE = 0.85, 1.15  # of the bond length, and of the cube root of the volume


@dataclass(frozen=True, kw_only=True, eq=False)
class Decorations:
    """Ways to put elements on the kinds of sites of one prototype.

    Attributes:
        species: Row of the species table for each kind of site.
        log_scale: Logarithm of the factor from the lengths of the library entry to real ones.
        log_weight: Logarithm of how plausible it is, relative to the others.
    """

    species: Int[np.ndarray, "n_ways n_kinds"]
    log_scale: Float[np.ndarray, " n_ways"]
    log_weight: Float[np.ndarray, " n_ways"]

    def __len__(self) -> int:
        """Count the ways."""
        return len(self.species)

    def where(self, keep: Bool[np.ndarray, " n_ways"]) -> "Decorations":
        """Keep some of the ways."""
        return Decorations(
            species=self.species[keep], log_scale=self.log_scale[keep], log_weight=self.log_weight[keep]
        )


def join(parts: Sequence[Decorations], n_kinds: int) -> Decorations:
    """Put lists of ways one after another."""
    return Decorations(
        species=np.concatenate([np.zeros((0, n_kinds), np.int64), *(part.species for part in parts)]),
        log_scale=np.concatenate([np.zeros(0), *(part.log_scale for part in parts)]),
        log_weight=np.concatenate([np.zeros(0), *(part.log_weight for part in parts)]),
    )


def combine(
    lists: Sequence[Int[np.ndarray, " _"]], rng: np.random.Generator
) -> Int[np.ndarray, "n_ways n_kinds"]:
    """List all combinations, or a sample when there are too many."""
    sizes = [len(rows) for rows in lists]
    if np.prod(sizes, dtype=float) <= MAX_COMBINATIONS:
        grid = np.indices(sizes).reshape(len(sizes), -1)
    else:
        grid = np.stack([rng.integers(size, size=MAX_COMBINATIONS) for size in sizes])
    return np.stack([rows[index] for rows, index in zip(lists, grid, strict=True)], axis=1)


def all_different(numbers: Int[np.ndarray, "n_ways n_kinds"]) -> Bool[np.ndarray, " n_ways"]:
    """Tell where no element is on two kinds of sites."""
    return np.asarray((np.diff(np.sort(numbers, axis=1), axis=1) > 0).all(1))


def decorate_with_metals(prototype: Prototype, table: SpeciesTable, rng: np.random.Generator) -> Decorations:
    """List the ways with a different metal on each kind of site.

    Prototypes named after metals keep their contacts; of the others, binary ones that metals fill well are
    taken.
    """
    rows = combine([table.metals_like(symbol) for symbol in prototype.symbols], rng)
    rows = rows[all_different(table.atomic_number[rows])]
    radii = table.bond_radius(rows, prototype.counts)
    first, second = np.triu_indices(prototype.n_kinds)
    distances = prototype.shortest[first, second]
    fit = distances / (radii[:, first] + radii[:, second])
    log_scale = -np.log(fit.min(1))
    volume = prototype.volume * np.exp(3 * log_scale)
    packing = 4 / 3 * np.pi * (radii**3 @ prototype.counts) / volume
    size_ratio = radii.max(1) / radii.min(1)
    log_weight = np.log(table.miscibility(rows)) + np.log(2.0) * table.n_same_role(rows, prototype.symbols)
    if all(is_metallic(symbol) for symbol in prototype.symbols):
        original = bond_radii(prototype.symbols, prototype.counts)
        wanted = distances / (original[first] + original[second])
        misfit = np.abs(_contacts(fit) - _contacts(wanted[None])).max(1)
        log_weight -= 0.5 * (misfit / MISFIT) ** 2
        keep = (misfit < MAX_MISFIT) & (packing > MIN_PACKING) & (size_ratio < MAX_SIZE_RATIO)
    elif prototype.n_kinds == 2:
        keep = (packing > MIN_PACKING_OF_SALT) & (size_ratio < MAX_SIZE_RATIO_OF_SALT)
    else:
        keep = np.zeros(len(rows), dtype=bool)
    return Decorations(species=rows, log_scale=log_scale, log_weight=log_weight).where(keep)


def decorate_with_one_element(prototype: Prototype, table: SpeciesTable) -> Decorations:
    """List the elements for an elemental prototype: metals for metals, else those of the original's group.

    Metals get the measured volume per atom of the element, covalent elements their bond length; where bonds
    come out too short or the volume too large for the element there is no such way.
    """
    symbol = prototype.symbols[0]
    rows = table.metals if is_metal(symbol) else table.covalent_elements(symbol)
    volume = prototype.volume / prototype.n_atoms
    bonds = np.log(2 * table.bond_radius(rows[:, None], prototype.counts)[:, 0] / prototype.distances.min())
    volumes = np.log(table.atomic_volume[rows] / volume) / 3
    log_scale = volumes if is_metal(symbol) else bonds
    keep = (log_scale - bonds > np.log(MIN_ELEMENT_BOND)) & (log_scale - volumes < np.log(MAX_ELEMENT_SIZE))
    like = table.group[rows] == group_of(symbol)
    log_weight = np.log(1.0 + 3.0 * like)
    return Decorations(species=rows[:, None], log_scale=log_scale, log_weight=log_weight).where(keep)


def _contacts(fit: Float[np.ndarray, "n_ways n_pairs"]) -> Float[np.ndarray, "n_ways n_pairs"]:
    """Return log(distance over sum of radii), 0 for the tightest pair and no more than a limit."""
    return np.log(np.minimum(fit / fit.min(1, keepdims=True), SHELL_WIDTH))
