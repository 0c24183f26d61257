"""Given crystals in primitive cells, as a model has learnt its own."""

from repdiff.crystals.crystal import Crystal, from_structure, to_structure
from repdiff.crystals.niggli import niggli_reduced
from repdiff.errors import UserError

SAME_SITE = 0.05  # Å; a smaller cell is taken where atoms repeat within this


def in_primitive_cell(crystal: Crystal, *, niggli: bool) -> Crystal:
    """Return a crystal in a primitive cell, the Niggli cell if wanted.

    Raises:
        UserError: If there is none.
    """
    try:
        structure = to_structure(crystal).get_primitive_structure(tolerance=SAME_SITE)
        primitive = from_structure(structure, id=crystal.id) if len(structure) < crystal.n_atoms else crystal
        return niggli_reduced(primitive) if niggli else primitive
    except Exception as error:  # pymatgen gives up on some cells with any of several exceptions
        raise UserError(f"no primitive cell: {error}") from error
