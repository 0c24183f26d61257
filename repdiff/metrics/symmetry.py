"""Which space groups crystals have, by moyopy within a named tolerance, and how many have none but translations."""

from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.symmetry import CRYSTAL_SYSTEMS, SYMPREC, Symmetry, find_symmetries
from repdiff.metrics.base import (
    METRICS,
    NEEDS,
    Constant,
    Context,
    Metric,
    MetricResult,
    MetricValue,
    absent,
    share,
)
from repdiff.metrics.distances import chi_squared, compare_samples, divergence
from repdiff.metrics.validity import NOT_MADE

NO_SPACE_GROUP = "no structure has a space group"
NO_REFERENCE_GROUP = "no reference structure has a space group"


@METRICS.register("symmetry")
class SymmetrySummary(Metric):
    """How many crystals have more symmetry than translations, and how their symmetries differ from the reference's.

    χ² is that of WyFormer, see `chi_squared`; the divergence of crystal systems is that of Jensen and Shannon. Both
    compare all crystals that have a space group, so those whose structure is valid, whatever their composition.

    Args:
        symprec: How far an atom may be from where an operation puts it, Å.
    """

    description = (
        "share of P1 and of each crystal system, χ² and divergence from the reference, by moyopy at 0.1 Å"
    )
    takes = frozenset({"reference"})

    def __init__(self, symprec: float = SYMPREC) -> None:
        self.symprec = symprec

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Find the space groups, of the reference too for its histogram.

        What has no space group counts as without symmetry in `symmetric`; the other shares are among those that
        have one.
        """

        def find(crystals: Sequence[Crystal]) -> list[Symmetry]:
            return find_symmetries(
                crystals, symprec=self.symprec, n_workers=context.n_workers, progress=context.progress
            )

        found = find(generated.crystals) + [Symmetry(None, NOT_MADE)] * len(generated.failed)
        name = f"moyopy-{self.symprec:g}"
        systems = [symmetry.crystal_system for symmetry in found if symmetry.number is not None]
        details: dict[str, object] = _histograms(found)
        known = None if context.reference is None else find(context.reference.crystals)
        if known is not None:
            details |= {f"reference_{key}": value for key, value in _histograms(known).items()}
        return MetricResult(
            values={
                "symmetric": share([(symmetry.number or 1) > 1 for symmetry in found], name),
                "p1": share(
                    [s.number == 1 for s in found if s.number is not None], name, reason=NO_SPACE_GROUP
                ),
                **{
                    system: share([other == system for other in systems], name, reason=NO_SPACE_GROUP)
                    for system in CRYSTAL_SYSTEMS
                },
                **_compare(found, known, name, context.seed),
            },
            protocols={name: _constants(self.symprec)},
            columns={
                "space_group": [symmetry.number for symmetry in found],
                "space_group_symbol": [symmetry.symbol for symmetry in found],
                "crystal_system": [symmetry.crystal_system for symmetry in found],
                "symmetry_reason": [symmetry.reason for symmetry in found],
            },
            details=details,
        )


def _constants(symprec: float) -> dict[str, Constant]:
    return {
        "library": "moyopy",
        "version": version("moyopy"),
        "symprec_angstrom": symprec,
        "angle_tolerance": "derived from symprec",
        "without_space_group_counts_as": "not symmetric, and in nothing else",
        "chi2": "of frequencies, over the space groups of the reference",
        "logarithm": "base 2",
    }


def _compare(
    found: Sequence[Symmetry], known: Sequence[Symmetry] | None, protocol: str, seed: int
) -> dict[str, MetricValue]:
    names = ("chi2_space_groups", "js_crystal_systems")
    if known is None:
        return dict.fromkeys(names, absent(protocol, NEEDS["reference"]))
    groups, systems = (
        [
            np.array([of(one) for one in some if one.number is not None], dtype=np.int64)
            for some in (found, known)
        ]
        for of in (lambda one: one.number, lambda one: CRYSTAL_SYSTEMS.index(one.crystal_system))
    )
    reasons = (NO_SPACE_GROUP, NO_REFERENCE_GROUP)
    if len(groups[0]) and len(groups[1]) and not np.isin(groups[0], groups[1]).any():
        chi2 = absent(protocol, "no structure has a space group that the reference has")
    else:
        chi2 = compare_samples(
            *groups, chi_squared, protocol, seed=seed, reasons=reasons, fixed_reference=True
        )
    js = compare_samples(*systems, divergence, protocol, seed=seed, reasons=reasons)
    return dict(zip(names, (chi2, js), strict=True))


def _histograms(found: Sequence[Symmetry]) -> dict[str, object]:
    """Count space groups by number and crystal systems, in the order of the tables."""
    numbers = Counter(symmetry.number for symmetry in found if symmetry.number is not None)
    systems = Counter(symmetry.crystal_system for symmetry in found)
    reasons = Counter(symmetry.reason for symmetry in found if symmetry.reason)
    return {
        "space_groups": {str(number): numbers[number] for number in sorted(numbers)},
        "crystal_systems": {system: systems[system] for system in CRYSTAL_SYSTEMS},
        "without_space_group": dict(sorted(reasons.items())),
    }
