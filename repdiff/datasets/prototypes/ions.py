"""Putting ions on the sites of a prototype: charges that balance and sizes that fit.

Each kind of site holds a cation or an anion. Charges are states found in the ICSD and sum to zero, every
cation is less electronegative than every anion, and ions of one sign do not touch. Bond lengths are sums of
Shannon's crystal radii at the coordination number of the site. Where the anions of the original are bonded
to each other (pyrite), only anions of their group go there, with the charge that an octet leaves them.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from repdiff.datasets.prototypes.decoration import (
    MAX_MISFIT,
    MISFIT,
    Decorations,
    all_different,
    combine,
    join,
)
from repdiff.datasets.prototypes.library import SHELL_WIDTH, Prototype
from repdiff.datasets.prototypes.species import SpeciesTable, bond_radii, group_of

SIZE_SPREAD, MAX_SIZE_DISTANCE = 0.12, 2.5  # of log(radius) around the original's, and the limit in its units
IONIC_GAP = 1.0  # difference of electronegativity from which on bonds count as fully ionic
SALT_FORMERS = ("N", "O", "F", "P", "S", "Cl", "As", "Se", "Br", "Te", "I")
BOND_WIDTH, MAX_BOND_STRETCH = 1.15, 0.15  # atoms of a kind nearer than that multiple of a bond are bonded
MIN_ANION_CONTACT, MIN_CATION_CONTACT = 0.85, 0.75  # of the sum of radii
MIN_CATION_DISTANCE = 0.95  # of the distance to the nearest anion, in the original
MAX_SALT_VOLUME = 1.75  # of the sum over its elements: keeps large ions out of open frameworks and layers
MAX_CHARGE = 6


def decorate_with_ions(prototype: Prototype, table: SpeciesTable, rng: np.random.Generator) -> Decorations:
    """List the charge-balanced ways, for prototypes named after a salt, its ions in place or swapped."""
    parts = []
    for signs in itertools.product((True, False), repeat=prototype.n_kinds):
        shells = _cation_shells(prototype, np.array(signs))
        if shells is not None:
            ways = [
                _fit_ions(prototype, table, shells, rows)
                for lists in _charge_balanced(prototype, table, shells)
                for rows in [combine(lists, rng)]
                if len(rows)
            ]
            parts.append(_prefer_anions_of_original(prototype, table, shells, join(ways, prototype.n_kinds)))
    return _prefer_sizes_of_original(prototype, table, join(parts, prototype.n_kinds))


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shells:
    """The anions around each kind of cation.

    Attributes:
        cations, anions: Kinds of sites.
        coordination: Mean number of unlike neighbours of each kind of site.
        share: What part of the neighbours of a cation are anions of each kind.
        distance: Mean length of the bonds of each kind of cation, Å, at the scale of the library.
    """

    cations: list[int]
    anions: list[int]
    coordination: Float[np.ndarray, " n_kinds"]
    share: Float[np.ndarray, "n_cations n_anions"]
    distance: Float[np.ndarray, " n_cations"]


def _cation_shells(prototype: Prototype, is_cation: Bool[np.ndarray, " n_kinds"]) -> _Shells | None:
    """Describe the shells, or return None where like charges would be nearer than unlike ones."""
    if is_cation.all() or not is_cation.any():
        return None
    kinds = prototype.site_kind[prototype.pairs]
    positive = is_cation[kinds]
    unlike = positive[0] != positive[1]
    nearest = np.full(prototype.n_atoms, np.inf)
    np.minimum.at(nearest, prototype.pairs[0][unlike], prototype.distances[unlike])
    too_near = positive.all(0) & (prototype.distances < MIN_CATION_DISTANCE * nearest[prototype.pairs[0]])
    if too_near.any() or not np.isfinite(nearest).all():
        return None
    bond = unlike & positive[0] & (prototype.distances < SHELL_WIDTH * nearest[prototype.pairs[0]])
    bonds = np.zeros((prototype.n_kinds, prototype.n_kinds))
    np.add.at(bonds, tuple(kinds[:, bond]), 1.0)
    lengths = np.bincount(kinds[0][bond], prototype.distances[bond], minlength=prototype.n_kinds)
    cations, anions = np.flatnonzero(is_cation), np.flatnonzero(~is_cation)
    if (bonds[:, anions].sum(0) == 0).any():
        return None
    n_bonds = bonds.sum(1)[cations]
    return _Shells(
        cations=cations.tolist(),
        anions=anions.tolist(),
        coordination=(bonds.sum(1) + bonds.sum(0)) / prototype.counts,
        share=bonds[np.ix_(cations, anions)] / n_bonds[:, None],
        distance=lengths[cations] / n_bonds,
    )


def _charge_balanced(
    prototype: Prototype, table: SpeciesTable, shells: _Shells
) -> Iterator[list[Int[np.ndarray, " _"]]]:
    """Yield, for each set of charges that sums to zero, the species that each kind of site may hold."""
    choices: list[dict[int, np.ndarray]] = []
    for kind, symbol in enumerate(prototype.symbols):
        if kind in shells.cations:
            rows = table.cations_like(symbol)
        else:
            bonds = prototype.n_bonds(kind, BOND_WIDTH * 2 * bond_radii((symbol,), np.ones(1, np.int64))[0])
            rows = table.bonded_anions(symbol, bonds) if bonds else table.anions
        charges = table.charge[rows]
        choices.append({int(q): rows[charges == q] for q in np.unique(charges) if abs(q) <= MAX_CHARGE})
    for charges in itertools.product(*choices):
        if np.dot(charges, prototype.counts) == 0:
            yield [choice[charge] for choice, charge in zip(choices, charges, strict=True)]


def _fit_ions(
    prototype: Prototype, table: SpeciesTable, shells: _Shells, rows: Int[np.ndarray, "n_ways n_kinds"]
) -> Decorations:
    """Keep the combinations whose electronegativities and sizes suit the sites, with their scales."""
    gap = table.electronegativity[rows][:, shells.anions].min(1)
    gap -= table.electronegativity[rows][:, shells.cations].max(1)
    different = all_different(table.atomic_number[rows])
    usual = table.coordinates(rows, shells.coordination)[:, shells.cations].all(1)
    rows, gap = rows[different & usual & (gap > 0)], gap[different & usual & (gap > 0)]
    ionic = table.crystal_radius(rows, shells.coordination)
    known = np.isfinite(ionic).all(axis=1, keepdims=True)
    radii = np.where(known, ionic, table.bond_radius(rows, prototype.counts))
    expected = radii[:, shells.cations] + radii[:, shells.anions] @ shells.share.T
    log_fit = np.log(expected / shells.distance)
    strength = table.charge[rows][:, shells.cations] * prototype.counts[shells.cations]
    log_scale = (log_fit * strength).sum(1) / strength.sum(1)
    misfit = np.abs(log_fit - log_scale[:, None]).max(1)
    volume = prototype.volume * np.exp(3 * log_scale)
    keep = (misfit < MAX_MISFIT) & (volume < MAX_SALT_VOLUME * (table.atomic_volume[rows] @ prototype.counts))
    keep &= ~_like_ions_touch(prototype, table, shells, rows, log_scale)
    log_weight = -0.5 * (misfit / MISFIT) ** 2 + table.log_prior[rows].sum(1)
    log_weight += np.log(np.minimum(gap, IONIC_GAP))
    return Decorations(species=rows, log_scale=log_scale, log_weight=log_weight).where(keep)


def _like_ions_touch(
    prototype: Prototype,
    table: SpeciesTable,
    shells: _Shells,
    rows: Int[np.ndarray, "n_ways n_kinds"],
    log_scale: Float[np.ndarray, " n_ways"],
) -> Bool[np.ndarray, " n_ways"]:
    """Tell where two cations, or two anions not meant to be bonded, come closer than their sizes allow."""
    touch = np.zeros(len(rows), dtype=bool)
    scale, shortest = np.exp(log_scale), prototype.shortest
    for kinds, limit in ((shells.cations, MIN_CATION_CONTACT), (shells.anions, MIN_ANION_CONTACT)):
        for first, second in itertools.combinations_with_replacement(kinds, 2):
            distance = shortest[first, second] * scale
            touch |= distance < limit * (table.contact[rows[:, first]] + table.contact[rows[:, second]])
    bond_radii_of = table.bond_radius(rows, prototype.counts)
    for kind in shells.anions:
        stretch = np.abs(np.log(shortest[kind, kind] * scale / (2 * bond_radii_of[:, kind])))
        touch |= (table.contact[rows[:, kind]] == 0) & (stretch > MAX_BOND_STRETCH)
    return touch


def _prefer_anions_of_original(
    prototype: Prototype, table: SpeciesTable, shells: _Shells, ways: Decorations
) -> Decorations:
    """Weigh up anions of the groups of the original ones, and weigh down ions that swap sites."""
    log_weight = ways.log_weight.copy()
    for kind in shells.anions:
        like = table.group[ways.species[:, kind]] == group_of(prototype.symbols[kind])
        log_weight += np.log(1.0 + like)
    if prototype.electronegative_kind not in shells.anions:
        log_weight -= np.log(5.0)
    return Decorations(species=ways.species, log_scale=ways.log_scale, log_weight=log_weight)


def _prefer_sizes_of_original(prototype: Prototype, table: SpeciesTable, ways: Decorations) -> Decorations:
    """Weigh by how near the ratios of the radii are to those of the original; keep none if it is no salt."""
    same = np.flatnonzero((table.symbol[ways.species] == np.array(prototype.symbols)).all(1))
    anion = prototype.symbols[prototype.electronegative_kind]
    if len(same):
        original = table.typical_radius[ways.species[same[0]]]
    elif anion in SALT_FORMERS and all(symbol in table.symbol for symbol in prototype.symbols):
        original = table.usual_radii(prototype.symbols, prototype.electronegative_kind)
    else:
        return ways.where(np.zeros(len(ways), dtype=bool))
    log_ratio = np.log(table.typical_radius[ways.species] / original)
    log_ratio -= log_ratio.mean(1, keepdims=True)
    distance = np.sqrt((log_ratio**2).sum(1)) / SIZE_SPREAD
    weighted = Decorations(
        species=ways.species, log_scale=ways.log_scale, log_weight=ways.log_weight - 0.5 * distance**2
    )
    return weighted.where(distance < MAX_SIZE_DISTANCE)
