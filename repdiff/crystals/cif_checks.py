"""What a CIF states about its crystal, compared with what was read from it."""

import math
import re
from collections import Counter
from collections.abc import Mapping

import numpy as np
from gemmi.cif import Block

from repdiff.crystals.arrays import HYDROGEN_ISOTOPES, Arrays
from repdiff.crystals.cif_symmetry import (
    SYMBOL,
    Operations,
    is_invariant,
    operations_of_group,
    same_but_for_origin,
    stated_groups,
)
from repdiff.crystals.cif_tags import number_of_tag, text_of
from repdiff.crystals.masses import GRAMS_PER_DALTON, atomic_masses

DENSITY_TOLERANCE = 0.05  # relative
SHORTEST_BOND = 1 / 3  # of the sum of the covalent radii; alkali metals under pressure come to 0.37
PART = re.compile(r"([A-Z][a-z]?)([0-9]*\.?[0-9]*)")
DENSITY = ("_exptl_crystal_density_diffrn",)


def check_stated(block: Block, arrays: Arrays, operations: Operations) -> None:
    """Compare a crystal with the formula, Z, density and space group symbol of its block, and bonds with radii.

    The radii are asked only where symmetry made atoms: in a list of all atoms, short distances are the
    crystal's own, and a judge is to see them.

    Raises:
        ValueError: If one does not hold.
    """
    from ase.data import chemical_symbols

    counts = Counter(chemical_symbols[number] for number in arrays.atomic_numbers.tolist())
    _check_formula(block, counts)
    if len(operations) > 1:
        check_bonds(arrays)
    _check_density(block, arrays)
    _check_symbol(block, arrays, operations)


def stated_formula(block: Block) -> dict[str, float] | None:
    """Return the numbers of atoms in the stated formula; None if there is none that can be read.

    Deuterium counts as hydrogen.
    """
    text = text_of(block, ("_chemical_formula_sum",))
    if not text or PART.sub("", text).strip(" \t\n'\"") or not PART.search(text):
        return None
    counts: dict[str, float] = {}
    for symbol, count in PART.findall(text):
        name = "H" if symbol in HYDROGEN_ISOTOPES else symbol
        counts[name] = counts.get(name, 0.0) + (1.0 if count in ("", ".") else float(count))
    return counts


def stated_elements(block: Block) -> frozenset[str] | None:
    """Return the elements of the stated formula, with D where it is written; None if there is no formula."""
    formula = stated_formula(block)
    return None if formula is None else frozenset(formula) | ({"D"} if "H" in formula else set())


def check_bonds(arrays: Arrays) -> None:
    """Refuse a crystal with two atoms closer than a third of the sum of their covalent radii.

    Raises:
        ValueError: If there are such atoms; with the pair and its distance.
    """
    from ase.data import chemical_symbols, covalent_radii
    from scipy.spatial import KDTree

    radii = covalent_radii[arrays.atomic_numbers]
    cutoff = 2 * SHORTEST_BOND * float(radii.max())
    heights = 1 / np.linalg.norm(np.linalg.inv(arrays.lattice), axis=0)
    reach = [np.arange(-n, n + 1) for n in np.floor(1 + cutoff / heights).astype(int)]
    shifts = np.stack(np.meshgrid(*reach, indexing="ij"), -1).reshape(-1, 3)
    home = arrays.frac_coords - np.floor(arrays.frac_coords)
    images = ((home[None] + shifts[:, None]) @ arrays.lattice).reshape(-1, 3)
    tree, found = KDTree(images), KDTree(home @ arrays.lattice)
    n_atoms = len(home)
    pairs = found.sparse_distance_matrix(tree, cutoff, output_type="ndarray")
    first, second = pairs["i"], pairs["j"] % n_atoms
    own = (first == second) & (np.abs(shifts[pairs["j"] // n_atoms]).sum(1) == 0)
    limits = SHORTEST_BOND * (radii[first] + radii[second])
    short = np.flatnonzero((pairs["v"] < limits) & ~own)
    if len(short):
        worst = short[np.argmin(pairs["v"][short])]
        names = [chemical_symbols[arrays.atomic_numbers[end]] for end in (first[worst], second[worst])]
        raise ValueError(
            f"overlapping atoms: the symmetry puts {names[0]} and {names[1]} {pairs['v'][worst]:.2g} Å apart, "
            "less than a third of the sum of their covalent radii"
        )


def _check_formula(block: Block, counts: Mapping[str, int]) -> None:
    formula, units = stated_formula(block), number_of_tag(block, ("_cell_formula_units_Z",))
    written = " ".join(f"{symbol}{count}" for symbol, count in counts.items())
    if formula is None:
        return
    ratios = {counts.get(symbol, 0) / count if count else 0.0 for symbol, count in formula.items()}
    scale = sum(counts.values()) / sum(formula.values())
    if set(counts) != set(formula) or any(abs(ratio - scale) > 0.01 * scale for ratio in ratios):
        raise ValueError(f"the atoms make {written}, which is not the formula the file states")
    if units is None or units <= 0 or math.isclose(scale, units, rel_tol=0.01):
        return
    whole = math.isclose(scale, 1, rel_tol=0.01)  # pymatgen states the formula of the whole cell beside Z
    if whole and all(count % units == 0 for count in counts.values()):
        return
    expected = units * sum(formula.values())
    raise ValueError(
        f"Z × formula asks for {expected:g} atoms, {sum(counts.values())} read ({written}): "
        "the operations, the symbol or Z is wrong"
    )


def _check_density(block: Block, arrays: Arrays) -> None:
    stated = number_of_tag(block, DENSITY)
    if stated is None or stated <= 0:
        return
    volume = abs(float(np.linalg.det(arrays.lattice)))
    found = float(atomic_masses()[arrays.atomic_numbers].sum()) * GRAMS_PER_DALTON / volume
    if abs(found - stated) > DENSITY_TOLERANCE * stated:
        raise ValueError(f"the atoms make a density of {found:.3f} g/cm³, the file states {stated:.3f}")


def _check_symbol(block: Block, arrays: Arrays, operations: Operations) -> None:
    """Hold listed operations against the stated symbol; those of another origin are let pass."""
    if operations.origin != "listed" or _plain(text_of(block, SYMBOL)) in ("", "P1"):
        return
    try:
        groups = stated_groups(block) or []
    except ValueError:
        return  # a symbol that nobody knows says nothing; the operations are listed
    allowed = [operations_of_group(group) for group in groups]
    if not allowed or any(same_but_for_origin(operations, one) for one in allowed):
        return
    if not any(
        is_invariant(arrays.atomic_numbers, arrays.frac_coords, arrays.lattice, one) for one in allowed
    ):
        raise ValueError(
            f"the {len(operations)} operations listed are not those of {text_of(block, SYMBOL)!r} "
            f"({len(allowed[0])}), in any of its settings, and the atoms do not have its symmetry"
        )


def _plain(symbol: str | None) -> str:
    return "".join((symbol or "").split())
