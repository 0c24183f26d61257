"""Names that people read: of metrics, of axes with their units, of sets of crystals."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from repdiff.crystals.symmetry import CRYSTAL_SYSTEMS

Better = Literal["up", "down"]
SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True, kw_only=True)
class MetricLabel:
    """How a metric is shown.

    Attributes:
        name: A few words.
        text: One line that says what it is.
        better: Which direction is better; None where neither is.
    """

    name: str
    text: str
    better: Better | None = None


@dataclass(frozen=True, kw_only=True)
class Axis:
    """How a quantity is drawn.

    Attributes:
        name: Label of the axis.
        unit: "" if it has none.
        text: One line for the caption.
        whole: Whether it takes whole numbers only, so that each has a bar of its own.
        log: Whether its logarithm is drawn.
    """

    name: str
    unit: str = ""
    text: str = ""
    whole: bool = False
    log: bool = False

    @property
    def title(self) -> str:
        """Name and unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name


AXES: Mapping[str, Axis] = {
    "density": Axis(name="Density", unit="g/cm³", text="Mass of the cell over its volume."),
    "volume_per_atom": Axis(name="Volume per atom", unit="Å³", text="Volume of the cell over its atoms."),
    "n_elements": Axis(name="Number of elements", text="Distinct elements in a structure.", whole=True),
    "n_atoms": Axis(name="Atoms in the cell", text="Atoms in the cell as it was given.", whole=True),
    "shortest_distance": Axis(
        name="Shortest distance", unit="Å", text="Between two atoms, through all images of the cell."
    ),
    "e_above_hull": Axis(
        name="Energy above hull", unit="eV/atom", text="After relaxation; by the force field of the run."
    ),
    "relaxed_energy": Axis(
        name="Energy", unit="eV/atom", text="After relaxation; by the force field of the run."
    ),
    "energy_change": Axis(
        name="Energy change by relaxation",
        unit="eV/atom",
        text="From the generated to the relaxed crystal.",
    ),
    "rmsd_relaxed": Axis(
        name="Displacement by relaxation", unit="Å", text="Root mean square over the atoms of a crystal."
    ),
    "loss": Axis(
        name="Reconstruction loss",
        text="Relative distance between the vector that was asked for and that of the crystal that was found.",
        log=True,
    ),
    "confidence": Axis(
        name="Confidence",
        text="Estimated probability that the crystal found is the one the vector describes.",
    ),
    "seconds": Axis(name="Time for a structure", unit="s", text="Of the reconstruction.", log=True),
}
"""How the quantities of a structure are drawn, by the name of their column."""

SHARE = Axis(name="Share of structures", unit="%")

UP: Better = "up"
DOWN: Better = "down"
LABELS: Mapping[str, MetricLabel] = {
    "structure_valid": MetricLabel(
        name="Structure valid", text="No two atoms closer than 0.5 Å, in a cell that has a volume.", better=UP
    ),
    "composition_valid": MetricLabel(
        name="Composition valid",
        text="Oxidation states can balance the charge (smact). Real crystals do not reach 100 %.",
        better=UP,
    ),
    "valid": MetricLabel(name="Valid", text="Structure and composition both valid.", better=UP),
    "cov_recall": MetricLabel(
        name="Coverage, recall",
        text="Known crystals that some generated one resembles, in structure and composition.",
        better=UP,
    ),
    "cov_precision": MetricLabel(
        name="Coverage, precision",
        text="Generated crystals that resemble some known one, in structure and composition.",
        better=UP,
    ),
    "amsd_recall": MetricLabel(
        name="Structure distance, recall",
        text="Mean distance of structure fingerprints from each known crystal to the nearest generated one.",
        better=DOWN,
    ),
    "amsd_precision": MetricLabel(
        name="Structure distance, precision",
        text="Mean distance of structure fingerprints from each generated crystal to the nearest known one.",
        better=DOWN,
    ),
    "amcd_recall": MetricLabel(
        name="Composition distance, recall",
        text="Mean distance of composition fingerprints from each known crystal to the nearest generated one.",
        better=DOWN,
    ),
    "amcd_precision": MetricLabel(
        name="Composition distance, precision",
        text="Mean distance of composition fingerprints from each generated crystal to the nearest known one.",
        better=DOWN,
    ),
    "emd_density": MetricLabel(
        name="Density, EMD",
        text="Earth mover's distance between the densities of generated and known crystals.",
        better=DOWN,
    ),
    "emd_n_elements": MetricLabel(
        name="Number of elements, EMD",
        text="Earth mover's distance between the numbers of elements of generated and known crystals.",
        better=DOWN,
    ),
    "emd_volume_per_atom": MetricLabel(
        name="Volume per atom, EMD",
        text="Earth mover's distance between the volumes per atom of generated and known crystals.",
        better=DOWN,
    ),
    "emd_n_atoms": MetricLabel(
        name="Number of atoms, EMD",
        text="Earth mover's distance between the numbers of atoms of generated and known cells.",
        better=DOWN,
    ),
    "js_space_groups": MetricLabel(
        name="Space groups, JSD",
        text="Jensen–Shannon divergence between the space groups of generated and known crystals, in bits: 0 if "
        "alike, 1 if disjoint.",
        better=DOWN,
    ),
    "chi2_space_groups": MetricLabel(
        name="Space groups, χ²",
        text="Of the frequencies of generated and known crystals, over the space groups of the known ones; 0 if alike.",
        better=DOWN,
    ),
    "js_crystal_systems": MetricLabel(
        name="Crystal systems, JSD",
        text="Jensen–Shannon divergence between the crystal systems of generated and known crystals, in bits.",
        better=DOWN,
    ),
    "read": MetricLabel(
        name="Protostructure read",
        text="Structures whose space group and Wyckoff positions could be read within the tolerance.",
        better=UP,
    ),
    "distinct_prototypes": MetricLabel(
        name="Distinct prototypes",
        text="Number of prototypes (protostructures without elements) among the valid structures.",
        better=UP,
    ),
    "new_prototypes": MetricLabel(
        name="New prototypes", text="Valid structures whose prototype the training set lacks."
    ),
    "new_prototypes_symmetric": MetricLabel(
        name="New prototypes, not P1",
        text="The same, with more symmetry than translations: a large cell without symmetry is easily new.",
    ),
    "new_protostructures": MetricLabel(
        name="New protostructures",
        text="Valid structures whose protostructure, elements included, the training set lacks.",
        better=UP,
    ),
    "from_template": MetricLabel(
        name="Started from a template",
        text="Structures built from a known crystal of the same prototype.",
    ),
    "match_rate": MetricLabel(
        name="Match rate", text="Structures that StructureMatcher identifies with their target.", better=UP
    ),
    "match_rate_at_k": MetricLabel(
        name="Match rate, best of k", text="Targets that any of their k attempts matches.", better=UP
    ),
    "rmse_at_k": MetricLabel(
        name="RMSE, best of k", text="Of the best attempt at each target that was matched.", better=DOWN
    ),
    "rmse": MetricLabel(
        name="RMSE of matches",
        text="Displacement of matched atoms over the cube root of the volume per atom, averaged.",
        better=DOWN,
    ),
    "metre": MetricLabel(
        name="METRe",
        text="Known crystals that any generated one matches, duplicates accounted for.",
        better=UP,
    ),
    "crmse": MetricLabel(
        name="cRMSE", text="RMSE in which each miss counts as the largest displacement allowed.", better=DOWN
    ),
    "rediscovered": MetricLabel(
        name="Rediscovered", text="Known crystals that are among the generated ones.", better=UP
    ),
    "unique": MetricLabel(
        name="Unique", text="Generated structures that differ from all generated before.", better=UP
    ),
    "novel": MetricLabel(name="Novel", text="Generated structures that the training set lacks.", better=UP),
    "unique_and_novel": MetricLabel(
        name="Unique and novel", text="Distinct structures that the training set lacks.", better=UP
    ),
    "symmetric": MetricLabel(
        name="Symmetric", text="Structures that have more symmetry than translations, within the tolerance."
    ),
    **{
        system: MetricLabel(name=system.capitalize(), text=f"Structures of the {system} crystal system.")
        for system in CRYSTAL_SYSTEMS
    },
    "frechet_chgnet": MetricLabel(
        name="Fréchet distance, CHGNet",
        text="Distance between Gaussians fitted to features of a pretrained network; compare equal sizes only.",
        better=DOWN,
    ),
    "frechet_chgnet_infinite": MetricLabel(
        name="Fréchet distance, CHGNet, infinite sets",
        text="The same, extrapolated to infinitely many structures, so that sizes do not matter.",
        better=DOWN,
    ),
    "computed": MetricLabel(
        name="Features computed", text="Structures that the pretrained network could describe.", better=UP
    ),
    "match_rate_valid": MetricLabel(
        name="Match rate, valid only",
        text="The same, where structures with an invalid composition count as no match, as CDVAE has it.",
        better=UP,
    ),
    "rediscovered_valid": MetricLabel(
        name="Rediscovered, valid only",
        text="The same, where structures with an invalid composition count as no match.",
        better=UP,
    ),
    "p1": MetricLabel(
        name="Without symmetry (P1)",
        text="Structures with no symmetry but translation, at the tolerance of the protocol.",
    ),
    "stable": MetricLabel(
        name="Stable",
        text="Relaxed structures on or close above the convex hull of the force field.",
        better=UP,
    ),
    "on_hull": MetricLabel(
        name="On the hull", text="Relaxed structures that no known mixture of phases lies below.", better=UP
    ),
    "sun": MetricLabel(name="S.U.N.", text="Stable, unique and novel at once.", better=UP),
    "sun_symmetric": MetricLabel(
        name="S.U.N., symmetric",
        text="Stable, unique and novel, and with more symmetry than translations after relaxation.",
        better=UP,
    ),
    "sun_symmetric_before": MetricLabel(
        name="S.U.N., symmetric before relaxation",
        text="Stable, unique and novel, and with more symmetry than translations before relaxation.",
        better=UP,
    ),
    "symmetry_kept": MetricLabel(
        name="Space group kept by relaxation",
        text="Relaxed structures whose space group is the one they had before.",
        better=UP,
    ),
    "e_above_hull": MetricLabel(
        name="Energy above hull, mean",
        text="Of relaxed structures, by the force field of the protocol.",
        better=DOWN,
    ),
    "e_above_hull_median": MetricLabel(
        name="Energy above hull, median", text="The same, less moved by a few bad structures.", better=DOWN
    ),
    "energy_emd": MetricLabel(
        name="Energy, EMD",
        text="Earth mover's distance between energies of generated and known crystals, by one force field.",
        better=DOWN,
    ),
    "energy_change": MetricLabel(
        name="Energy change by relaxation",
        text="From the generated to the relaxed crystal; 0 in a local minimum.",
    ),
    "rmsd": MetricLabel(
        name="RMSD to relaxed", text="How far relaxation moves the atoms: 0 in a local minimum.", better=DOWN
    ),
    "converged": MetricLabel(
        name="Relaxation converged", text="Relaxations that reached the limit of forces in time.", better=UP
    ),
    "abx3": MetricLabel(name="ABX₃, at large", text="Five atoms of which three are N, O, F or S.", better=UP),
    "abx3_strict": MetricLabel(name="ABX₃, strict", text="Five atoms in the proportions 1 : 1 : 3."),
    "mean_n_elements": MetricLabel(name="Elements, mean", text="Mean number of elements of a structure."),
    "mean_n_atoms": MetricLabel(name="Atoms, mean", text="Mean number of atoms of a cell."),
    "distinct_formulas": MetricLabel(
        name="Distinct formulas", text="Distinct reduced formulas among the structures.", better=UP
    ),
}
"""Labels of the metrics, by the name of the value."""

FAMILIES: Mapping[str, str] = {
    "validity": "Validity",
    "composition": "Composition",
    "coverage": "Coverage",
    "distributions": "Distributions",
    "matching": "Agreement with known crystals",
    "metre": "Everyone to reference (METRe)",
    "uniqueness": "Uniqueness",
    "novelty": "Novelty",
    "symmetry": "Symmetry",
    "prototypes": "Prototypes",
    "stability": "Stability",
    "frechet": "Fréchet distance",
    "cost": "Cost",
}
"""Headings of the families of metrics."""

BASELINES: Mapping[str, tuple[str, str]] = {
    "training": ("training", "what real crystals of the training set score against the reference"),
    "reference": ("reference", "what a part of the reference scores against the rest of it"),
    "halves": ("halves", "what one half of the reference scores against the other"),
}
"""Short name and explanation of each baseline."""


def shown_number(value: float | int) -> str:
    """Write a number for people with three digits: "0.00339", "1.47 × 10⁻⁶", a true minus.

    Example:
        >>> shown_number(0.000123456), shown_number(1234)
        ('0.000123', '1.23 × 10³')
    """
    digits, _, exponent = f"{value:.3g}".partition("e")
    if exponent:
        digits += " × 10" + str(int(exponent)).translate(SUPERSCRIPTS)
    return digits.replace("-", "−")


def shown_symbol(symbol: str) -> str:
    """Write a Hermann-Mauguin symbol with its screw axes as subscripts: "P2₁/c" of "P2_1/c"."""
    return re.sub(r"_(\d)", lambda found: found[1].translate(SUBSCRIPTS), symbol)


def metric_label(name: str) -> MetricLabel:
    """Return the label of a value, of the value that it is a variant of, or one made from its name."""
    if name in LABELS:
        return LABELS[name]
    if (known := name.removesuffix("_without_templates")) in LABELS and known != name:
        label = LABELS[known]
        text = f"{label.text} Structures started from templates are left out."
        return MetricLabel(name=f"{label.name}, without templates", text=text, better=label.better)
    known, _, variant = name.rpartition("_")
    if known in LABELS and variant:
        label = LABELS[known]
        return MetricLabel(name=f"{label.name}, {variant}", text=label.text, better=label.better)
    words = name.replace("_", " ").replace(".", ", ").strip()
    return MetricLabel(name=words[:1].upper() + words[1:], text="")


def family_label(name: str) -> str:
    """Return the heading of a family of metrics."""
    words = name.replace("_", " ")
    return FAMILIES.get(name, words[:1].upper() + words[1:])
