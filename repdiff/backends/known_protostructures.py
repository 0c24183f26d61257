"""Protostructures that are known, of crystals that a model need not have been trained on."""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.crystals.crystal import read_crystals
from repdiff.errors import UserError
from repdiff.symmetry.columns import PROTOSTRUCTURE, protostructures_of
from repdiff.symmetry.templates import TemplateLibrary

CRYSTALS = "crystals.parquet"


@lru_cache(maxsize=2)
def known_protostructures(folder: Path) -> frozenset[Protostructure]:
    """Read the protostructures of an encoded set, whatever their split, each in the first of its settings.

    Raises:
        UserError: If the folder is no output of `repdiff encode`, or was encoded without protostructures.
    """
    if not (folder / CRYSTALS).is_file():
        raise UserError(
            f"`new_to` is {folder}, which holds no {CRYSTALS}, expected an output of `repdiff encode`"
        )
    crystals = read_crystals(folder / CRYSTALS)
    if not any(PROTOSTRUCTURE in crystal.labels for crystal in crystals):
        raise UserError(
            f"`new_to` is {folder}, which was encoded without protostructures: encode it again, with `symprec`"
        )
    return frozenset(canonical(one) for one in protostructures_of(crystals) if one is not None)


def tells_known(
    library: TemplateLibrary | None,
    known: frozenset[Protostructure] = frozenset(),
    found: list[Protostructure] | None = None,
) -> Callable[[Protostructure], bool] | None:
    """Return what tells known protostructures; None if nothing is known.

    Args:
        library: Training crystals that count as known; None for none.
        known: Further protostructures, canonical ones.
        found: What is known is appended to it.
    """
    if library is None and not known:
        return None

    def is_known(one: Protostructure) -> bool:
        trained = library is not None and library.holds(one)
        told = trained or (bool(known) and canonical(one) in known)
        if told and found is not None:
            found.append(one)
        return told

    return is_known
