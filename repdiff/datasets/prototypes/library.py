"""`Prototype`, a crystal type without its chemistry, and the library of them that pymatgen ships."""

import functools
import importlib.util
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from monty.io import zopen
from pymatgen.core import Element, Structure

NEIGHBOR_CUTOFF = 7.0  # Å at the scale of the library entry: beyond the first shell of every one of them
SHELL_WIDTH = 1.25  # neighbours up to this multiple of the shortest distance belong to the first shell


@dataclass(frozen=True, kw_only=True, eq=False)
class Prototype:
    """A crystal type: where atoms sit and which are alike, at the scale of the crystal it is named after.

    Attributes:
        name: AFLOW label and the formula of the crystal it is named after: "AB3C_cP5_221_a_c_b:CaTiO3".
        spacegroup: International number.
        symbols: The element of each kind of site in that crystal.
        site_kind: Which kind each atom is of.
        lattice: Niggli-reduced primitive cell, rows in Å.
        frac_coords: Fractional coordinates.
        pairs: Centre, neighbour of all pairs within `NEIGHBOR_CUTOFF`, atoms by number.
        distances: Å, of those pairs.
    """

    name: str
    spacegroup: int
    symbols: tuple[str, ...]
    site_kind: Int[np.ndarray, " n_atoms"]
    lattice: Float[np.ndarray, "3 3"]
    frac_coords: Float[np.ndarray, "n_atoms 3"]
    pairs: Int[np.ndarray, "2 n_pairs"]
    distances: Float[np.ndarray, " n_pairs"]

    @property
    def n_kinds(self) -> int:
        """Number of kinds of sites, one element each."""
        return len(self.symbols)

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the primitive cell."""
        return len(self.site_kind)

    @property
    def volume(self) -> float:
        """Volume of the cell, Å³."""
        return abs(float(np.linalg.det(self.lattice)))

    @property
    def counts(self) -> Int[np.ndarray, " n_kinds"]:
        """Atoms of each kind in the cell."""
        return np.bincount(self.site_kind, minlength=self.n_kinds)

    @property
    def electronegative_kind(self) -> int:
        """The kind of site that holds the most electronegative element of the original crystal."""
        return int(np.argmax([float(Element(symbol).X) for symbol in self.symbols]))

    @property
    def shortest(self) -> Float[np.ndarray, "n_kinds n_kinds"]:
        """Shortest distance between two kinds, Å; infinite beyond the cutoff."""
        table = np.full((self.n_kinds, self.n_kinds), np.inf)
        np.minimum.at(table, tuple(self.site_kind[self.pairs]), self.distances)
        return table

    def n_bonds(self, kind: int, bond_length: float) -> float:
        """Return how many neighbours of its own kind an atom has within a bond length, Å, on average."""
        kinds = self.site_kind[self.pairs]
        bonded = (kinds == kind).all(0) & (self.distances < bond_length)
        return float(bonded.sum() / self.counts[kind])


@functools.cache
def load_prototypes(*, max_atoms: int) -> tuple[Prototype, ...]:
    """Read the AFLOW prototypes that pymatgen ships, one of each that are the same but for their chemistry.

    Args:
        max_atoms: Largest primitive cell to keep.

    Returns:
        In the order of the library, so the same in every process.

    Source: Mehl et al., Comput. Mater. Sci. 136, S1 (2017), doi:10.1016/j.commatsci.2017.01.017.
    """
    prototypes: list[Prototype] = []
    groups: dict[tuple[str, int], list[Structure]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries, about themselves
        from pymatgen.analysis.structure_matcher import StructureMatcher
    matcher = StructureMatcher(ltol=0.02, stol=0.03, angle_tol=1, primitive_cell=False)
    for entry in _entries():
        structure = (
            Structure.from_dict(entry["snl"]).get_reduced_structure("niggli").get_primitive_structure()
        )
        structure = Structure(structure.lattice, structure.species, structure.frac_coords)
        if len(structure) > max_atoms or _is_molecular(structure):
            continue
        alike = groups.setdefault((structure.composition.anonymized_formula, len(structure)), [])
        reduced = structure.get_reduced_structure("niggli")  # once, and not in each comparison
        if not any(matcher.fit_anonymous(reduced, other, skip_structure_reduction=True) for other in alike):
            alike.append(reduced)
            prototypes.append(_measure(structure, entry["tags"]))
    return tuple(prototypes)


def _entries() -> list[dict[str, Any]]:
    """Read the file behind `pymatgen.analysis.prototypes`, whose import takes ten seconds to check all citations."""
    module = importlib.util.find_spec("pymatgen.analysis.prototypes")
    assert module is not None
    assert module.origin is not None
    (file,) = Path(module.origin).parent.glob("aflow_prototypes.json*")
    with zopen(file, "rt", encoding="utf-8") as text:
        return json.load(text)


def _is_molecular(structure: Structure) -> bool:
    """Tell crystals of molecules: compounds of nonmetals alone, or with three of them, or with hydrogen."""
    nonmetals = [element for element in structure.elements if not (element.is_metal or element.is_metalloid)]
    n_elements = len(structure.elements)
    return n_elements > 1 and (
        len(nonmetals) in {n_elements, 3} or any(element.symbol == "H" for element in nonmetals)
    )


def _formula(structure: Structure) -> str:
    amounts = structure.composition.reduced_composition.get_el_amt_dict()
    ordered = sorted(amounts, key=lambda symbol: float(Element(symbol).X))
    return "".join(f"{symbol}{round(amounts[symbol]) if amounts[symbol] > 1 else ''}" for symbol in ordered)


def _measure(structure: Structure, tags: Mapping[str, Any]) -> Prototype:
    symbols = tuple(dict.fromkeys(site.specie.symbol for site in structure))
    centres, neighbors, _, distances = structure.get_neighbor_list(NEIGHBOR_CUTOFF)
    return Prototype(
        name=f"{tags['aflow']}:{_formula(structure)}",
        spacegroup=int(tags["aflow"].split("_")[2]),
        symbols=symbols,
        site_kind=np.array([symbols.index(site.specie.symbol) for site in structure], dtype=np.int64),
        lattice=np.array(structure.lattice.matrix, dtype=np.float64),
        frac_coords=np.array(structure.frac_coords, dtype=np.float64) % 1.0,
        pairs=np.stack([centres, neighbors]).astype(np.int64),
        distances=np.asarray(distances, dtype=np.float64),
    )
