"""The elements and ions that prototypes are decorated with, and their sizes, as arrays indexed by row."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int
from pymatgen.core import Element

HEAVIEST = 92
SKIPPED = ("H", "He", "Ne", "Ar", "Kr", "Tc", "Xe", "Pm", "Po", "At", "Rn", "Fr", "Ra", "Ac", "Pa")
METALLOIDS = ("B", "Si", "Ge", "As", "Sb")
CLOSED_SHELL = {"N": -3, "P": -3, "As": -3, "Sb": -3, "C": -4, "Si": -4, "Ge": -4} | {
    "O": -2, "S": -2, "Se": -2, "Te": -2, "F": -1, "Cl": -1, "Br": -1, "I": -1,
}  # fmt: skip
COVALENT_GROUPS = (("C", "Si", "Ge", "Sn"), ("P", "As", "Sb", "Bi"), ("S", "Se", "Te", "Po"))
COMMON_ANIONS = {"O": 4.0, "F": 2.0, "S": 2.0, "Se": 1.5, "Cl": 1.5, "C": 0.5, "Si": 0.5, "Ge": 0.5}
RARE_STATE = 0.2  # weight of an oxidation state that occurs in the ICSD but is not a common one
METAL_FAMILIES = ((1, 2), (3, 3), (4, 11), (12, 15))  # ranges of groups that play one role in alloys
IMMISCIBLE = (((1, 2), (3, 9)), ((3, 3), (4, 6)))  # ranges of groups
IMMISCIBLE_WEIGHT = 0.05
COORDINATION_SLACK = 1.0
HALOGENS = 17
LOOSE_CONTACT = 1.35  # of the bonding radius: where anions without a crystal radius meet
ROMAN = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII", "XIII", "XIV")
MOLAR_TO_ATOMIC = 1 / 0.602214076  # cm³/mol to Å³


class SpeciesTable:
    """Every element without charge, in its oxidation states, and as an anion with bonds to its like.

    Hydrogen, the noble gases and elements without long-lived isotopes are left out. Wherever rows are asked
    for or returned, they are places in the attributes below.

    Attributes:
        symbol, atomic_number, group, electronegativity: Facts of the element of each row; Pauling's scale.
        charge: Elementary charges; 0 in the rows without charge.
        log_prior: Logarithm of how usual the species is.
        atomic_volume: Å³ per atom in the element at ambient conditions.
        typical_radius: Å; crystal radius at coordination 6, or the bonding radius where there is none.
        contact: Å; half the distance at which two of the kind touch; 0 for anions that are bonded to their
            like.
        metals: Rows of the metals without charge.
        cations: Rows of the cations of metals and metalloids.
        all_cations: Rows of all cations.
        anions: Rows of the anions with a closed shell.

    Sources: crystal radii, at high spin, from Shannon, Acta Cryst. A32, 751 (1976); bonding radii, which
    depend on the spread of electronegativity, from pymatgen's DLSVolumePredictor; oxidation states as
    pymatgen lists them.
    """

    def __init__(self) -> None:
        species = _list_species()
        elements = [Element(symbol) for symbol, _ in species]
        self.symbol = np.array([symbol for symbol, _ in species])
        self.charge = np.array([charge for _, charge in species])
        self.atomic_number = np.array([element.Z for element in elements])
        self.group = np.array([element.group for element in elements])
        self.electronegativity = np.array([float(element.X) for element in elements])
        self.atomic_volume = np.array([float(element.molar_volume) * MOLAR_TO_ATOMIC for element in elements])
        self.log_prior = np.log(
            [_prior(element, int(q)) for element, q in zip(elements, self.charge, strict=True)]
        )
        self._bond_radius = np.array([_bond_parameters(symbol) for symbol, _ in species])
        radii = [_crystal_radii(element, int(q)) for element, q in zip(elements, self.charge, strict=True)]
        self._crystal_radius = np.array([_interpolate(known) for known in radii])
        self._known_coordination = np.array([(min(k, default=0), max(k, default=len(ROMAN))) for k in radii])
        six = self._crystal_radius[:, ROMAN.index("VI")]
        closed = np.array([CLOSED_SHELL.get(symbol) == charge for symbol, charge in species])
        loose = LOOSE_CONTACT * self._bond_radius[:, 0]
        self.typical_radius = np.where(np.isfinite(six), six, self._bond_radius[:, 0])
        self.contact = np.where(closed, np.where(np.isfinite(six), six, loose), self._bond_radius[:, 0])
        self.contact[(self.charge < 0) & ~closed] = 0.0
        metal = np.array([element.is_metal for element in elements])
        metallic = metal | np.isin(self.symbol, METALLOIDS)
        self.metals = np.flatnonzero(metal & (self.charge == 0))
        self.cations = np.flatnonzero(metallic & (self.charge > 0))
        self.all_cations = np.flatnonzero(self.charge > 0)
        self.anions = np.flatnonzero(closed)

    def bonded_anions(self, symbol: str, n_bonds: float) -> Int[np.ndarray, " n_species"]:
        """Return the anions of the element's group that lack 8 - N - n_bonds electrons; none if not whole."""
        charge = group_of(symbol) - 18 + n_bonds
        return np.flatnonzero((self.group == group_of(symbol)) & (self.charge == charge) & (self.charge < 0))

    def covalent_elements(self, symbol: str) -> Int[np.ndarray, " n_species"]:
        """Return the elements, without charge, that form the same covalent structures as this one."""
        alike = [s for family in COVALENT_GROUPS if symbol in family for s in family]
        return np.flatnonzero(np.isin(self.symbol, alike) & (self.charge == 0))

    def cations_like(self, symbol: str) -> Int[np.ndarray, " n_species"]:
        """Return the cations for its place: of nonmetals only if it is one, of halogens only if it is one."""
        if is_metallic(symbol):
            return self.cations
        halogen = group_of(symbol) == HALOGENS
        return self.all_cations[(self.group[self.all_cations] == HALOGENS) == halogen]

    def usual_radii(self, symbols: Sequence[str], anion: int) -> Float[np.ndarray, " n_kinds"]:
        """Return the elements' mean radii, Å: over cations, but over anions at the place `anion`."""
        sign = np.array([-1 if kind == anion else 1 for kind in range(len(symbols))])
        states = [(self.symbol == s) & (self.charge * q > 0) for s, q in zip(symbols, sign, strict=True)]
        return np.array([self.typical_radius[rows].mean() for rows in states])

    def metals_like(self, symbol: str) -> Int[np.ndarray, " n_species"]:
        """Return all metals, without charge; for Si, Ge, As and Sb only those of neighbouring groups."""
        main_group = symbol in METALLOIDS and symbol != "B"
        return (
            self.metals[_within(self.group[self.metals], METAL_FAMILIES[-1])] if main_group else self.metals
        )

    def n_same_role(
        self, rows: Int[np.ndarray, "n_ways n_kinds"], symbols: Sequence[str]
    ) -> Int[np.ndarray, " n_ways"]:
        """Count the kinds of sites that hold a metal of the family of the original element."""
        same = np.zeros(len(rows), dtype=np.int64)
        for kind, symbol in enumerate(symbols):
            for family in METAL_FAMILIES:
                if family[0] <= group_of(symbol) <= family[1]:
                    same += _within(self.group[rows[:, kind]], family)
        return same

    def coordinates(
        self, rows: Int[np.ndarray, "n_ways n_kinds"], coordination: Float[np.ndarray, " n_kinds"]
    ) -> Bool[np.ndarray, "n_ways n_kinds"]:
        """Tell which species are known with about that many neighbours; those without data may have any."""
        low, high = self._known_coordination[rows, 0], self._known_coordination[rows, 1]
        return (coordination >= low - COORDINATION_SLACK) & (coordination <= high + COORDINATION_SLACK)

    def miscibility(self, rows: Int[np.ndarray, "n_ways n_kinds"]) -> Float[np.ndarray, " n_ways"]:
        """Weigh alloys: metals of one kind dissolve rather than order, and some families hardly mix."""
        group, electronegativity = self.group[rows], self.electronegativity[rows]
        weight = np.minimum(0.2 + np.ptp(electronegativity, axis=1), 1.0)
        for one, other in IMMISCIBLE:
            both = _within(group, one).any(1) & _within(group, other).any(1)
            weight = np.where(both, IMMISCIBLE_WEIGHT * weight, weight)
        return weight

    def crystal_radius(
        self, rows: Int[np.ndarray, "n_ways n_kinds"], coordination: Float[np.ndarray, " n_kinds"]
    ) -> Float[np.ndarray, "n_ways n_kinds"]:
        """Return Shannon's crystal radii, Å, interpolated in the coordination number; NaN without data."""
        place = np.clip(coordination - 1, 0, len(ROMAN) - 1.001)
        low, part = place.astype(int), place % 1
        return self._crystal_radius[rows, low] * (1 - part) + self._crystal_radius[rows, low + 1] * part

    def bond_radius(
        self, rows: Int[np.ndarray, "n_ways n_kinds"], counts: Int[np.ndarray, " n_kinds"]
    ) -> Float[np.ndarray, "n_ways n_kinds"]:
        """Return data-mined bonding radii, Å, for compounds with these numbers of atoms of each kind."""
        return _spread_dependent(self._bond_radius[rows], self.electronegativity[rows], counts)


def bond_radii(symbols: Sequence[str], counts: Int[np.ndarray, " n_kinds"]) -> Float[np.ndarray, " n_kinds"]:
    """Return data-mined bonding radii, Å, of the elements of one compound, also of those not in the table."""
    parameters = np.array([_bond_parameters(symbol) for symbol in symbols])
    return _spread_dependent(parameters, np.array([float(Element(symbol).X) for symbol in symbols]), counts)


def group_of(symbol: str) -> int:
    """Return the group of the periodic table, 1 to 18, for any element."""
    return int(Element(symbol).group)


def is_metal(symbol: str) -> bool:
    """Tell metals from the other elements, for any element."""
    return bool(Element(symbol).is_metal)


def is_metallic(symbol: str) -> bool:
    """Tell metals and the metalloids that join them in intermetallic compounds from the other elements."""
    return is_metal(symbol) or symbol in METALLOIDS


def _within(group: Int[np.ndarray, "*any"], bounds: tuple[int, int]) -> Bool[np.ndarray, "*any"]:
    return (group >= bounds[0]) & (group <= bounds[1])


def _spread_dependent(
    parameters: Float[np.ndarray, "*ways n_kinds 2"],
    electronegativity: Float[np.ndarray, "*ways n_kinds"],
    counts: Int[np.ndarray, " n_kinds"],
) -> Float[np.ndarray, "*ways n_kinds"]:
    """Evaluate r + k σ, with σ the standard deviation of the electronegativity over the atoms."""
    weights = counts / counts.sum()
    mean = np.asarray(electronegativity @ weights)[..., None]
    spread = np.sqrt(np.asarray((electronegativity - mean) ** 2 @ weights))
    return parameters[..., 0] + parameters[..., 1] * spread[..., None]


def _list_species() -> list[tuple[str, int]]:
    species = []
    for number in range(1, HEAVIEST + 1):
        element = Element.from_Z(number)
        if element.symbol in SKIPPED:
            continue
        closed = CLOSED_SHELL.get(element.symbol)
        charges = {q for q in (*element.common_oxidation_states, *element.icsd_oxidation_states) if q > 0}
        if closed is not None:
            charges |= {closed} | {q for q in (-1, -2, -3) if element.group - 18 < q}
        species += [(element.symbol, charge) for charge in (0, *sorted(charges))]
    return species


def _prior(element: Element, charge: int) -> float:
    if charge < 0:
        return COMMON_ANIONS.get(element.symbol, 1.0)
    return 1.0 if charge == 0 or charge in element.common_oxidation_states else RARE_STATE


@functools.cache
def _bond_parameters(symbol: str) -> tuple[float, float]:
    from pymatgen.analysis.structure_prediction.volume_predictor import bond_params  # takes seconds to import

    return float(bond_params[symbol]["r"]), float(bond_params[symbol]["k"])


def _crystal_radii(element: Element, charge: int) -> dict[int, float]:
    """Return the largest radius, Å, at each coordination number that Shannon lists; empty without data."""
    table: Mapping[str, Mapping[str, Mapping[str, float]]] = element.data["Shannon radii"].get(
        str(charge), {}
    )
    known: dict[int, float] = {}
    for label, spins in table.items():
        number = ROMAN.index(label.removesuffix("SQ").removesuffix("PY")) + 1
        radius = max(float(spin["crystal_radius"]) for spin in spins.values())
        known[number] = max(known.get(number, -np.inf), radius)
    return known


def _interpolate(known: Mapping[int, float]) -> Float[np.ndarray, " n_coordinations"]:
    numbers = sorted(known)
    if not numbers:
        return np.full(len(ROMAN), np.nan)
    return np.interp(np.arange(1, len(ROMAN) + 1), numbers, [known[number] for number in numbers])
