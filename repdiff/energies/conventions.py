"""What the energies of a force field mean, and the Materials Project's corrections for those that lack them.

The Materials Project computes oxides and fluorides of some transition metals with PBE+U and everything else with PBE.
Its corrections make the two comparable, and shift anions to measured formation enthalpies. Without them there is no
common hull: an oxide computed with U stands beside metals computed without. A force field reproduces whichever
energies it was fitted to, so each one states its convention.

Source: Wang et al., Sci. Rep. 11, 15496 (2021); applied by pymatgen's `MaterialsProject2020Compatibility`.
"""

import warnings
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Literal

from repdiff.crystals.crystal import Crystal, to_structure

if TYPE_CHECKING:
    from pymatgen.core import Composition
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

Convention = Literal["mp2020", "uncorrected", "consistent", "unstated"]
CONVENTIONS: dict[Convention, str] = {
    "mp2020": "PBE and PBE+U with the corrections MaterialsProject2020",
    "uncorrected": "PBE and PBE+U as computed, without corrections",
    "consistent": "one functional for all crystals",
}
BEFORE_THEY_WERE_STATED: dict[str, Convention] = {"chgnet": "mp2020"}  # for files without a convention
ANIONS = frozenset(("Br", "I", "Se", "Si", "Sb", "Te", "H", "N", "F", "Cl"))  # corrected by oxidation state


def convention_of(name: str) -> Convention:
    """Return the convention of a force field whose file was written before conventions were stated."""
    return BEFORE_THEY_WERE_STATED.get(name, "uncorrected")


def hull_convention(convention: Convention) -> Convention:
    """Return the convention in which energies of a force field are put on a hull: uncorrected ones get corrected."""
    return "mp2020" if convention == "uncorrected" else convention


def describe_correction(convention: Convention) -> str:
    """Say what is added to energies of this convention before they are compared with a hull."""
    if convention != "uncorrected":
        return "none"
    return f"MaterialsProject2020Compatibility of pymatgen {version('pymatgen')}, by element, anion and U"


def mp2020_correction(crystal: Crystal) -> float:
    """Return what the Materials Project adds to the PBE or PBE+U energy of a crystal, eV per atom.

    Follows the project's own input sets: U is applied where oxygen or fluorine is the most electronegative element
    and the metal is Co, Cr, Fe, Mn, Mo, Ni, V or W. Oxides, peroxides and superoxides are told apart by the distances
    between oxygen atoms, and other anions by oxidation states that pymatgen guesses from the formula.

    Args:
        crystal: Ordered, with a cell that pymatgen can read.

    Raises:
        ValueError: If pymatgen has no correction for it.
    """
    from pymatgen.entries.computed_entries import ComputedStructureEntry

    structure = to_structure(crystal)
    scheme = _scheme()
    hubbard = _hubbard_u(structure.composition, scheme)
    parameters = {"run_type": "GGA+U" if hubbard else "GGA", "hubbards": hubbard}
    data = {"oxidation_states": dict(_oxidation_states(structure.composition.reduced_formula))}
    entry = ComputedStructureEntry(structure, 0.0, parameters=parameters, data=data)
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Failed to guess oxidation states"
        )  # then the rule is electronegativity
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        adjustments = scheme.get_adjustments(entry)
    return sum(float(adjustment.value) for adjustment in adjustments) / len(structure)


def hull_energy(crystal: Crystal, energy: float, convention: Convention) -> tuple[float | None, str]:
    """Return an energy as it is put on a hull, and why there is none.

    Args:
        crystal: What the energy is of.
        energy: eV per atom, as the force field gives it.
        convention: What the energies of the force field mean.

    Returns:
        eV per atom, with the Materials Project's correction where the convention lacks it; and the reason, "" if there
        is a value.
    """
    if convention != "uncorrected":
        return energy, ""
    try:
        return energy + mp2020_correction(crystal), ""
    except Exception as error:  # pymatgen gives up on some crystals with any of several exceptions
        return None, f"no correction of MaterialsProject2020: {type(error).__name__}"


@lru_cache(maxsize=1)
def _scheme() -> "MaterialsProject2020Compatibility":
    from pymatgen.entries.compatibility import MaterialsProject2020Compatibility

    return MaterialsProject2020Compatibility(check_potcar=False)


def _hubbard_u(composition: "Composition", scheme: "MaterialsProject2020Compatibility") -> dict[str, float]:
    """Return the U values, eV, that the input sets of the Materials Project give the elements of a crystal."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No Pauling electronegativity")
        anion = max(composition.elements, key=lambda element: element.X if element.X == element.X else 0.0)
    settings: dict[str, Any] = scheme.u_settings.get(anion.symbol, {})
    values = {element.symbol: float(settings.get(element.symbol, 0)) for element in composition.elements}
    return {symbol: value for symbol, value in values.items() if value > 0}


@lru_cache(maxsize=100_000)
def _oxidation_states(formula: str) -> tuple[tuple[str, float], ...]:
    """Guess the oxidation states of a formula; nothing where they cannot matter or cannot be guessed."""
    from pymatgen.core import Composition

    composition = Composition(formula)
    if len(composition) == 1 or not ANIONS & {element.symbol for element in composition.elements}:
        return ()
    try:
        guesses = composition.oxi_state_guesses(max_sites=-20)
    except (
        ValueError
    ):  # more than 20 atoms in the formula: the rule of electronegativity holds, as in pymatgen
        return ()
    return tuple(guesses[0].items()) if guesses else ()
