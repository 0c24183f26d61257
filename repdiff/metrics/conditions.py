"""Whether crystals are what they were asked to be, measured on them again."""

from collections.abc import Mapping
from importlib.metadata import version

from repdiff.conditions.grammar import read_back
from repdiff.conditions.kinds import Condition
from repdiff.conditions.verdicts import ASKED, Verdict, columns, verdicts
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.stored_crystals import LARGE
from repdiff.crystals.symmetry import SYMPREC
from repdiff.metrics.base import (
    METRICS,
    CellValue,
    Constant,
    Context,
    Metric,
    MetricResult,
    MetricValue,
    absent,
    share,
)

PROTOCOL = "asked-and-obtained"


@METRICS.register("conditions")
class Conditions(Metric):
    """For each condition the share of the crystals that obey, of those that were made and asked for it.

    What was asked stands in labels that `generate` or `reconstruct` wrote, and nothing else of them is used.
    """

    description = "share of crystals that are within what was asked, for each condition; obtained values"

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Read what was asked, measure what is there, and compare."""
        told = []
        for start in range(0, len(generated.crystals), LARGE):
            crystals = list(generated.crystals[start : start + LARGE])
            told += verdicts(crystals, [_asked(crystal) for crystal in crystals], progress=context.progress)
        names = sorted({name for verdict in told for name in verdict})
        rows: list[Mapping[str, CellValue]] = [columns(verdict) for verdict in told]
        keys = sorted({key for row in rows for key in row})
        values = {name: _share(name, told) for name in names}
        return MetricResult(
            values=values
            or {"within": absent(PROTOCOL, "no crystal says what it was asked to be", "fraction")},
            protocols={PROTOCOL: _constants()},
            columns={key: [row.get(key) for row in rows] + [None] * len(generated.failed) for key in keys},
            details={"n_not_made": len(generated.failed)},
        )


def _asked(crystal: Crystal) -> list[Condition]:
    texts = {
        label.removesuffix(ASKED): str(text)
        for label, text in crystal.labels.items()
        if label.endswith(ASKED) and text is not None
    }
    return [read_back(name, text) for name, text in texts.items()]


def _share(name: str, told: list[dict[str, Verdict]]) -> MetricValue:
    flags = [verdict[name].within for verdict in told if name in verdict]
    known = [flag for flag in flags if flag is not None]
    return share(known, PROTOCOL, reason="no crystal tells it: judge it by a model of its own")


def _constants() -> dict[str, Constant]:
    return {
        "of": "crystals that were made and asked for it",
        "space_groups": f"moyopy {version('moyopy')}",
        "symprec_angstrom": SYMPREC,
        "lattice": "conventional cell",
    }
