"""Whether two crystals are orderings of one alloy: MatterGen's matcher for disordered structures.

Two ordered crystals of one formula are the same if StructureMatcher says so, or if it says so once the elements of
the first that could replace each other are spread evenly over their sites. Elements can replace each other, after
Hume-Rothery, if their atomic radii differ by at most 30 % of the mean and their electronegativities by at most 1; what
can be replaced by way of a third element counts too.

Source: Zeni et al., Nature 639, 624 (2025), the default of its published evaluation (mattergen 1.0.3).
"""

import math
import warnings
from collections.abc import Sequence
from functools import cache
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher
    from pymatgen.core import Structure

MAX_RADIUS_DIFFERENCE = 0.3  # over the mean of the two radii
MAX_ELECTRONEGATIVITY_DIFFERENCE = 1.0  # Pauling


def replaceable(one: str, other: str) -> bool:
    """Tell whether two elements could take each other's places; never where a radius or electronegativity is unknown.

    >>> replaceable("Fe", "Ni"), replaceable("Na", "Cl")
    (True, False)
    """
    from pymatgen.core import Element

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        gap = abs(Element(one).X - Element(other).X)
    first, second = Element(one).atomic_radius, Element(other).atomic_radius
    if first is None or second is None or math.isnan(gap):
        return False
    relative = abs(first - second) / ((first + second) / 2)
    return relative <= MAX_RADIUS_DIFFERENCE and gap <= MAX_ELECTRONEGATIVITY_DIFFERENCE


def alloy_groups(elements: Sequence[str]) -> list[set[str]]:
    """Gather elements that could replace each other, directly or by way of others; lone ones are left out."""
    groups: list[set[str]] = []
    for pair in combinations(sorted(set(elements)), 2):
        if replaceable(*pair):
            touched = [group for group in groups if group & set(pair)]
            groups = [group for group in groups if group not in touched]
            groups.append(set(pair).union(*touched))
    return groups


def spread_alloys(structure: "Structure") -> "Structure | None":
    """Give every site of a replaceable element the mixture of its group; None if there is no such group.

    Occupancies are the shares of the elements within their group, over the whole crystal.
    """
    counts = structure.composition.get_el_amt_dict()
    groups = alloy_groups(list(counts))
    if not groups:
        return None
    mixtures = {}
    for group in groups:
        total = sum(counts[symbol] for symbol in group)
        mixture = {symbol: counts[symbol] / total for symbol in sorted(group)}
        mixtures |= dict.fromkeys(group, mixture)
    spread = structure.copy()
    spread.replace_species(mixtures)
    return spread


def same_alloy(one: "Structure", known: "Structure") -> bool:
    """Tell whether a crystal is a known one with its alloyed elements on other sites, in any cell.

    Args:
        one: Ordered; the one whose elements are spread.
        known: Ordered, of the same formula.
    """
    spread = spread_alloys(one)
    return spread is not None and bool(_matcher().fit(spread, known))


@cache
def _matcher() -> "StructureMatcher":
    from pymatgen.analysis.structure_matcher import OrderDisorderElementComparator, StructureMatcher

    return StructureMatcher(
        stol=0.3,
        ltol=0.2,
        angle_tol=5.0,
        comparator=OrderDisorderElementComparator(),
        attempt_supercell=True,
        allow_subset=True,
    )
