"""Which prototypes the crystals have, and how many of these the training set lacks."""

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.symmetry import SYMPREC
from repdiff.metrics.base import (
    METRICS,
    NEEDS,
    CellValue,
    Constant,
    Context,
    Metric,
    MetricResult,
    MetricValue,
    absent,
    share,
    tally,
)
from repdiff.metrics.charge_balance import OXIDATION_STATES
from repdiff.metrics.prototype_labels import PrototypeLabels, read_labels
from repdiff.metrics.templates import template_share
from repdiff.metrics.validity import NOT_MADE, check_crystal_composition

NO_VALID = "no valid structure"


@METRICS.register("prototypes")
class Prototypes(Metric):
    """How many prototypes there are among the valid crystals, and the shares that training did not hold.

    A protostructure is the space group and which element sits on which Wyckoff position; the prototype is the same
    without the elements. Both are compared in a canonical form, equal for all equivalent settings. A crystal is valid
    if its structure and its composition are; one whose protostructure cannot be read counts as not new.

    Args:
        symprec: How far an atom may be from where an operation puts it, Å.

    Source: Kazeev et al., arXiv 2503.02407, who count "novel templates".
    """

    description = "distinct prototypes, and shares of prototypes and protostructures new to the training set"
    takes = frozenset({"training"})

    def __init__(self, symprec: float = SYMPREC) -> None:
        self.symprec = symprec

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Read protostructures off all crystals, those of the training set too, and compare."""
        missing = len(generated.failed)
        found = self._read(generated, context)
        lost = PrototypeLabels(protostructure=None, prototype=None, reason=NOT_MADE)
        found += missing * [lost]
        checks = check_structures(generated.crystals)
        valid = [
            check.valid and check_crystal_composition(crystal).valid
            for crystal, check in zip(generated.crystals, checks, strict=True)
        ] + missing * [False]
        name = f"moyopy-{self.symprec:g}-valid-{OXIDATION_STATES}"
        distinct = {one.prototype for one, fine in zip(found, valid, strict=True) if fine and one.prototype}
        known = None if context.training is None else self._read(context.training, context)
        values, columns = _news(found, valid, known, name)
        care = _care(context.training, known)
        values = {key: replace(value, reason=value.reason or care) for key, value in values.items()}
        names = generated.ids
        return MetricResult(
            values={
                "read": share([one.prototype is not None for one in found], name),
                "distinct_prototypes": MetricValue(value=float(len(distinct)), n=sum(valid), protocol=name)
                if any(valid)
                else absent(name, NO_VALID),
                **values,
                **template_share(generated, name),
            },
            protocols={name: self._constants(context, known)},
            columns={
                "protostructure": [one.protostructure for one in found],
                "prototype": [one.prototype for one in found],
                **columns,
                "protostructure_reason": [one.reason for one in found],
            },
            details={
                "not_read": {key: one.reason for key, one in zip(names, found, strict=True) if one.reason},
                "not_read_reasons": tally(one.reason for one in found),
                "training_not_read_reasons": tally(one.reason for one in known or ()),
            },
        )

    def _read(self, crystals: CrystalSet, context: Context) -> list[PrototypeLabels]:
        return read_labels(
            crystals.crystals,
            symprec=self.symprec,
            cache=context.cache,
            n_workers=context.n_workers,
            progress=context.progress,
            encoded=crystals.encoded,
        )

    def _constants(self, context: Context, known: Sequence[PrototypeLabels] | None) -> dict[str, Constant]:
        training = {} if known is None else {
            "new_to": "training crystals",
            "n_training": len(known),
            "n_training_not_read": sum(one.prototype is None for one in known),
            "n_training_refused": sum(context.training.refused.values()) if context.training else 0,
        }  # fmt: skip
        return {
            "library": "moyopy",
            "version": version("moyopy"),
            "symprec_angstrom": self.symprec,
            "valid": f"structure and composition ({OXIDATION_STATES})",
            "without_protostructure_counts_as": "not new",
            **training,
        }


def _care(training: CrystalSet | None, known: Sequence[PrototypeLabels] | None) -> str:
    """Say over which training crystals nothing is claimed to be new: rows refused, and crystals without a prototype."""
    if training is None or known is None:
        return ""
    lost = sum(one.prototype is None for one in known)
    found = [training.refusal, f"{lost} of {len(known)} have no prototype that could be read" if lost else ""]
    said = "; ".join(text for text in found if text)
    return f"not claimed over all training crystals: {said}" if said else ""


def _news(
    found: Sequence[PrototypeLabels],
    valid: Sequence[bool],
    known: Sequence[PrototypeLabels] | None,
    protocol: str,
) -> tuple[dict[str, MetricValue], dict[str, Sequence[CellValue]]]:
    """Tell which crystals have labels that the training set lacks."""
    names = ("new_prototypes", "new_prototypes_symmetric", "new_protostructures")
    if known is None:
        return dict.fromkeys(names, absent(protocol, NEEDS["training"], "fraction")), {}
    prototypes = {one.prototype for one in known}
    protostructures = {one.protostructure for one in known}
    new = [one.prototype is not None and one.prototype not in prototypes for one in found]
    symmetric = [flag and one.space_group != 1 for flag, one in zip(new, found, strict=True)]
    decorated = [
        one.protostructure is not None and one.protostructure not in protostructures for one in found
    ]
    values = {
        name: share(
            [flag for flag, fine in zip(flags, valid, strict=True) if fine], protocol, reason=NO_VALID
        )
        for name, flags in zip(names, (new, symmetric, decorated), strict=True)
    }
    return values, {"new_prototype": new, "new_protostructure": decorated}
