"""What the crystals are made of: sizes, proportions, variety of formulas."""

from collections import Counter

from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import (
    anonymous_formula,
    count_elements,
    is_abx3,
    is_strict_abx3,
    reduced_formula,
)
from repdiff.metrics.base import METRICS, Context, Metric, MetricResult, mean, share

PROTOCOL = "counts"


@METRICS.register("composition")
class CompositionSummary(Metric):
    """Proportions, numbers of elements and atoms, and how many different formulas there are."""

    description = (
        "proportions (ABX3 and others), mean numbers of elements and atoms, share of distinct formulas"
    )

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Count; a crystal of no atoms or unknown elements has no formula and enters only the ABX3 shares."""
        counts = [count_elements(crystal) for crystal in generated.crystals]
        readable = [c for c in counts if c and min(c) >= 1 and max(c) <= MAX_ATOMIC_NUMBER]
        missing = [False] * len(generated.failed)
        reduced = {reduced_formula(c) for c in readable}
        histogram = Counter(anonymous_formula(c) for c in readable)
        nothing = "no structure has a formula"
        return MetricResult(
            values={
                "abx3": share([is_abx3(c) for c in counts] + missing, PROTOCOL),
                "abx3_strict": share([is_strict_abx3(c) for c in counts] + missing, PROTOCOL),
                "mean_n_elements": mean([len(c) for c in readable], PROTOCOL, reason=nothing),
                "mean_n_atoms": mean([sum(c.values()) for c in readable], PROTOCOL, reason=nothing),
                "distinct_formulas": mean(
                    [1.0] * len(reduced) + [0.0] * (len(readable) - len(reduced)),
                    PROTOCOL,
                    reason=nothing,
                    unit="fraction",
                ),
            },
            protocols={
                PROTOCOL: {
                    "abx3": "5 atoms, 3 of them N, O, F or S",
                    "abx3_strict": "5 atoms as 1:1:3",
                    "distinct_formulas": "by reduced formula",
                }
            },
            columns={
                "proportions": [anonymous_formula(c) if c else None for c in counts] + [None] * len(missing)
            },
            details={"proportions": dict(sorted(histogram.items(), key=lambda item: (-item[1], item[0])))},
        )
