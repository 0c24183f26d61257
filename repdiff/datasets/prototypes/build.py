"""`build_prototypes`, the embedded data set: known crystal types decorated with elements that suit them."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.prototypes.decoration import (
    Decorations,
    decorate_with_metals,
    decorate_with_one_element,
)
from repdiff.datasets.prototypes.ions import decorate_with_ions
from repdiff.datasets.prototypes.library import Prototype, load_prototypes
from repdiff.datasets.prototypes.species import SpeciesTable
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar

MAX_ATOMS = 20
MIN_WAYS, MAX_WAYS, MAX_ELEMENTS = 4, 60, 20  # decorations of one prototype; the last of an elemental one
ELEMENTAL_SHARE = 2  # an elemental prototype gets one crystal where others get this many
MIN_DISTANCE = 1.0  # Å


def build_prototypes(*, n_crystals: int = 2400, seed: int = 0, progress: bool = True) -> list[Crystal]:
    """Build plausible crystals of at most 20 atoms from the prototype library inside pymatgen.

    Each prototype gets about as many crystals as any other, elemental ones half as many. The same formula
    occurs once among all prototypes with the same space group and number of atoms.

    Args:
        n_crystals: Exact number of crystals.
        seed: Chooses among the plausible decorations; the same seed gives the same crystals in every process.
        progress: Show a bar on stderr.

    Returns:
        Crystals named "proto-0001-SrTiO3", ordered by prototype, with the labels `prototype` (AFLOW label
        and the crystal it is named after), `spacegroup` (international number) and `bonding` ("ions",
        "metals" or "element").

    Raises:
        UserError: If `n_crystals` is not positive, or more than the prototypes can be decorated to.
    """
    if n_crystals < 1:
        raise UserError(f"n_crystals is {n_crystals}, expected at least 1: ask for 2400, the default")
    taken: set[tuple[str, int, int]] = set()
    offers = []
    with progress_bar(desc="reading the prototype library", disable=not progress) as bar:
        table, prototypes = SpeciesTable(), load_prototypes(max_atoms=MAX_ATOMS)
        bar.reset(len(prototypes))
        bar.set_description("decorating prototypes")
        for number, prototype in enumerate(prototypes):
            offers.append(_offer(prototype, table, np.random.default_rng([seed, number]), taken))
            bar.update()
    capacity = np.array([len(offer) for offer in offers])
    if n_crystals > capacity.sum():
        raise UserError(f"n_crystals is {n_crystals}, expected at most {capacity.sum()}: ask for fewer")
    share = np.array([1 if prototype.n_kinds == 1 else ELEMENTAL_SHARE for prototype in prototypes])
    counts = _fill_evenly(capacity, share, n_crystals)
    chosen = [crystal for offer, count in zip(offers, counts, strict=True) for crystal in offer[:count]]
    return [crystal.replace(id=f"proto-{k:04d}-{crystal.id}") for k, crystal in enumerate(chosen, start=1)]


def _offer(
    prototype: Prototype, table: SpeciesTable, rng: np.random.Generator, taken: set[tuple[str, int, int]]
) -> list[Crystal]:
    """List the crystals of one prototype, best first, none if too few; add them to what is taken."""
    limit = MAX_ELEMENTS if prototype.n_kinds == 1 else MAX_WAYS
    if prototype.n_kinds == 1:
        lists = {"element": decorate_with_one_element(prototype, table)}
    else:
        lists = {
            "ions": decorate_with_ions(prototype, table, rng),
            "metals": decorate_with_metals(prototype, table, rng),
        }
    queues = [_draw(prototype, table, ways, bonding, rng) for bonding, ways in lists.items()]
    offer: dict[tuple[str, int, int], Crystal] = {}
    while queues and len(offer) < limit:
        queue = queues.pop(0)
        for crystal in queue:
            key = (crystal.id, prototype.spacegroup, prototype.n_atoms)
            if key not in taken and key not in offer:
                offer[key] = crystal
                queues.append(queue)
                break
    if len(offer) < MIN_WAYS:
        return []
    taken.update(offer)
    return list(offer.values())


def _draw(
    prototype: Prototype, table: SpeciesTable, ways: Decorations, bonding: str, rng: np.random.Generator
) -> Iterator[Crystal]:
    """Yield decorations in random order, plausible ones sooner: the keys are log weight plus Gumbel noise."""
    for way in np.argsort(-(ways.log_weight + rng.gumbel(size=len(ways))), kind="stable"):
        scale = float(np.exp(ways.log_scale[way]))
        if prototype.distances.min() * scale <= MIN_DISTANCE:
            continue
        row = ways.species[way]
        yield Crystal(
            id=_formula(table, row, prototype.counts),
            atomic_numbers=table.atomic_number[row][prototype.site_kind].astype(np.int64),
            lattice=prototype.lattice * scale,
            frac_coords=prototype.frac_coords.copy(),
            labels={"prototype": prototype.name, "spacegroup": prototype.spacegroup, "bonding": bonding},
        )


def _formula(
    table: SpeciesTable, row: Int[np.ndarray, " n_kinds"], counts: Int[np.ndarray, " n_kinds"]
) -> str:
    """Write the reduced formula with electronegativity ascending: SrTiO3."""
    divisor = int(np.gcd.reduce(counts))
    order = np.lexsort((table.atomic_number[row], table.electronegativity[row]))
    numbers = counts[order] // divisor
    return "".join(f"{table.symbol[r]}{n if n > 1 else ''}" for r, n in zip(row[order], numbers, strict=True))


def _fill_evenly(
    capacity: Int[np.ndarray, " n"], share: Int[np.ndarray, " n"], total: int
) -> Int[np.ndarray, " n"]:
    """Share out a total in proportion, one by one to whoever has least for its share, none above capacity."""
    counts = np.zeros_like(capacity)
    for _ in range(total):
        counts[np.where(counts < capacity, counts / share, np.inf).argmin()] += 1
    return counts
