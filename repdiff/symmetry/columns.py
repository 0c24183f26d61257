"""Protostructures beside the crystals, as columns of their parquet file."""

from collections.abc import Sequence

from descriptors.symmetry.labels import parse_label, write_label
from descriptors.symmetry.protostructure import Protostructure
from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.symmetry.reading import Reading, SymmetrizedCrystal

PROTOSTRUCTURE = "protostructure"
DISPLACEMENT, STRAIN, TOLERANCE = "symmetry_displacement", "symmetry_strain", "symmetry_symprec"
REASON = "symmetry_reason"


def with_protostructures(crystals: Sequence[Crystal], readings: Sequence[Reading]) -> list[Crystal]:
    """Return the crystals with what was read off them as labels, which `write_crystals` keeps.

    Labels: the protostructure as text; how far it is from the crystal, as displacement in Å and as strain; the
    tolerance in Å; and the reason where there is none.
    """
    labelled = []
    for crystal, reading in zip(crystals, readings, strict=True):
        labels = {**symmetry_labels(reading.symmetrized), REASON: reading.reason or None}
        labelled.append(crystal.replace(labels={**crystal.labels, **labels}))
    return labelled


def symmetry_labels(found: SymmetrizedCrystal | None) -> dict[str, str | float | None]:
    """Return protostructure, displacement, strain and tolerance as labels, each None where there is none."""
    return {
        PROTOSTRUCTURE: None if found is None else write_label(found.protostructure),
        DISPLACEMENT: None if found is None else found.displacement,
        STRAIN: None if found is None else found.strain,
        TOLERANCE: None if found is None else found.symprec,
    }


def protostructures_of(crystals: Sequence[Crystal]) -> list[Protostructure | None]:
    """Read protostructures back from the labels of crystals, exactly; None where none could be read off.

    Raises:
        UserError: If a crystal has no such label, or a label that cannot be; the crystal is named.
    """
    found: list[Protostructure | None] = []
    for crystal in crystals:
        if PROTOSTRUCTURE not in crystal.labels:
            raise UserError(
                f"{crystal.id} has no label {PROTOSTRUCTURE!r}: read protostructures off the crystals first"
            )
        label = crystal.labels[PROTOSTRUCTURE]
        try:
            found.append(None if label is None else parse_label(str(label)))
        except ValueError as error:
            raise UserError(f"{crystal.id}: {error}") from error
    return found
