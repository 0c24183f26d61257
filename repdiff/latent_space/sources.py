"""Crystals on their way into an encoder: which of them it takes, and in which cells."""

import logging
from collections import Counter
from collections.abc import Collection, Sequence

from ase.data import chemical_symbols

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.niggli import niggli_reduced
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.metrics import CrystalSet

MAX_REASONS = 3
log = logging.getLogger(__name__)


def encodable(given: CrystalSet, backend: DpCdvae, name: str, *, at_least: int = 1) -> CrystalSet:
    """Bring crystals into cells as the model has learnt them; what it cannot encode counts as failed.

    Args:
        given: Crystals, valid or not.
        backend: Trained model.
        name: Name of the set in messages.
        at_least: Least number of crystals that must remain.

    Raises:
        UserError: If fewer are.
    """
    kept: list[Crystal] = []
    failed: dict[str, str] = {}
    seen = set(backend.model.elements.tolist())
    checks = check_crystals(given.crystals)
    pairs = zip(given.crystals, checks, strict=True)
    for crystal, check in progress_bar(
        pairs, desc="reducing cells", total=len(checks), unit="crystal", disable=len(checks) < 1000
    ):
        reason = check or _strange(crystal, seen)
        if reason is None and backend.niggli:
            try:
                kept.append(niggli_reduced(crystal))
            except ValueError as error:
                reason = str(error)
        elif reason is None:
            kept.append(crystal)
        if reason is not None:
            failed[crystal.id] = reason
    if failed:
        common = Counter(failed.values()).most_common(MAX_REASONS)
        log.warning(
            "%d of %d crystals cannot be encoded: %s",
            len(failed),
            len(checks),
            "; ".join(f"{count}: {reason}" for reason, count in common),
        )
    missing = {**given.failed, **failed}
    if len(kept) < at_least:
        first = next(iter(missing.values()), "there are none")
        raise UserError(
            f"{name}: {len(kept)} of {len(given)} crystals can be encoded, expected {at_least} or more; {first}"
        )
    return CrystalSet(crystals=kept, failed=missing)


def find_crystal(name: str | int | None, crystals: Sequence[Crystal], source: str) -> Crystal:
    """Return a crystal by its name, or else by its row, counted from 0.

    Raises:
        UserError: If there is none.
    """
    named = [crystal for crystal in crystals if crystal.id == str(name)]
    if named:
        return named[0]
    if str(name).isdecimal() and int(str(name)) < len(crystals):
        return crystals[int(str(name))]
    raise UserError(
        f"{source} has no crystal {name}, expected a name such as {crystals[0].id}, or a row from 0 to "
        f"{len(crystals) - 1}"
    )


def _strange(crystal: Crystal, seen: Collection[int]) -> str | None:
    strange = sorted(set(crystal.atomic_numbers.tolist()) - set(seen))
    symbols = ", ".join(chemical_symbols[number] for number in strange)
    return f"unknown to the model: {symbols}" if strange else None
