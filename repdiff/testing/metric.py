"""What every metric must do: answer any set, in any order, and say what it lacks."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from descriptors.testing import require_declared
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.energies.relaxed import ForceFieldIdentity, Relaxation, RelaxedSet
from repdiff.metrics import Context, Metric
from repdiff.metrics.base import CellValue
from repdiff.testing.example_crystals import cubic_perovskite, invalid_crystals
from repdiff.testing.require import one_line, refused, require

KNOWN = [
    cubic_perovskite(),
    cubic_perovskite("BaTiO3", a_site=56, a=4.0),
    cubic_perovskite("CaTiO3", 20, a=3.85),
]
SETS = {
    "empty": CrystalSet(crystals=[]),
    "one": CrystalSet(crystals=KNOWN[:1]),
    "identical": CrystalSet(crystals=[KNOWN[0].replace(id=f"copy {i}") for i in range(3)]),
    "invalid": CrystalSet(crystals=invalid_crystals()),
    "failed only": CrystalSet(crystals=[], failed={"a": "no valid lattice", "b": "no formula"}),
    "mixed": CrystalSet(crystals=KNOWN + invalid_crystals(), failed={"a": "no valid lattice"}),
}
REFERENCES = {
    "known": CrystalSet(crystals=KNOWN),
    "other elements": CrystalSet(crystals=[cubic_perovskite("KMgF3", 19, 12, 9)]),
    "invalid": CrystalSet(crystals=invalid_crystals()),
    "empty": CrystalSet(crystals=[]),
}
RELAXED = RelaxedSet(
    force_field=ForceFieldIdentity(name="none", version="0", weights_sha256="0" * 64),
    relaxations={
        crystal.id: Relaxation(
            crystal=crystal, initial_energy=-4.0, energy=-5.0, n_steps=3, converged=True, rmsd=0.1
        )
        for crystal in KNOWN
    },
)

ABSENT: dict[str, Any] = {  # what a context holds of an entry that was not given
    "reference": None,
    "training": None,
    "relaxed": None,
    "known_set": None,
    "hull": None,
    "benchmark": "mp_20",
}


def check_metric(metric: Metric) -> None:
    """Hold a metric to all checks.

    Args:
        metric: Built with its settings.

    Raises:
        AssertionError: At the first check that fails; the message says what was found and expected.

    Example:
        >>> from repdiff.metrics import METRICS
        >>> check_metric(METRICS["validity"].example())
    """
    require_declared(metric, Metric)
    for check in CHECKS.values():
        check(metric)


def check_any_set(metric: Metric) -> None:
    """Check that every set and reference get values or reasons, and columns of full length."""
    for generated in SETS:
        for reference in REFERENCES:
            check_one_set(metric, generated, reference)


def check_one_set(metric: Metric, generated: str, reference: str) -> None:
    """Check the answer for one of `SETS` against one of `REFERENCES`."""
    crystals, known = SETS[generated], REFERENCES[reference]
    where = f"of the set {generated!r} against {reference!r}"
    result = metric.compute(crystals, _context(known))
    require(bool(result.values), f"no values {where}")
    for name, value in result.values.items():
        require(
            value.protocol in result.protocols, f"{name} {where} has the unknown protocol {value.protocol!r}"
        )
        most = max(len(crystals), len(known))
        require(value.n <= most, f"{name} {where} is a mean over {value.n} of {most} structures")
        finite = bool(value.reason) if value.value is None else math.isfinite(value.value)
        require(finite, f"{name} {where} is {value.value} without a reason")
        share = value.unit != "fraction" or value.value is None or 0 <= value.value <= 1
        require(share, f"{name} {where} is {value.value}, expected a fraction between 0 and 1")
    for name, column in result.columns.items():
        require(
            len(column) == len(crystals),
            f"column {name} {where} has {len(column)} entries for {len(crystals)}",
        )
    json.dumps([dict(result.protocols), dict(result.details), dict(result.columns)], allow_nan=False)


def check_order(metric: Metric) -> None:
    """Check that values do not depend on the order of the crystals, and that columns follow it."""
    crystals = SETS["mixed"].crystals
    one = metric.compute(CrystalSet(crystals=crystals), _context(REFERENCES["known"]))
    turned = CrystalSet(crystals=crystals[::-1])
    other = metric.compute(turned, _context(CrystalSet(crystals=KNOWN[::-1])))
    for key in one.values:
        found, expected = other.values[key].value, one.values[key].value
        require(_close(found, expected), f"{key} is {expected}, and {found} in another order")
    for key, column in one.columns.items():
        pairs = zip(column, other.columns[key][::-1], strict=True)
        require(
            all(_close(a, b) for a, b in pairs), f"column {key} does not follow the order of the crystals"
        )


def check_repeatable(metric: Metric) -> None:
    """Check that a second call says the same."""
    first = metric.compute(SETS["mixed"], _context(REFERENCES["known"]))
    second = metric.compute(SETS["mixed"], _context(REFERENCES["known"]))
    require(first == second, "a second call says something else")


def check_needs(metric: Metric) -> None:
    """Check that a metric computes without what it does not need, and names the option for what it does."""
    if metric.needs:
        with refused("a context without what the metric needs", "`"):
            metric.compute(SETS["mixed"], Context())
    else:
        require(bool(metric.compute(SETS["mixed"], Context()).values), "no values without a context")


def check_takes(metric: Metric) -> None:
    """Check that nothing of the context shapes the answer but what the metric says it needs or takes."""
    declared = metric.needs | metric.takes
    every = replace(
        _context(REFERENCES["known"]),
        known_set=CrystalSet(name="known", crystals=KNOWN[:2]),
        benchmark="perov_5",
    )
    fewer = {entry: value for entry, value in ABSENT.items() if entry not in declared}
    first = metric.compute(SETS["mixed"], every)
    second = metric.compute(SETS["mixed"], replace(every, **fewer))
    told = "what is not declared in `needs` or `takes` shapes the result"
    require(first == second, f"{told}: one of {', '.join(fewer)}")


def check_description(metric: Metric) -> None:
    """Check that the description fits a line."""
    one_line(metric.description)


CHECKS: dict[str, Callable[[Metric], None]] = {
    "any set": check_any_set,
    "order": check_order,
    "repeatable": check_repeatable,
    "needs": check_needs,
    "takes": check_takes,
    "description": check_description,
}


def _context(reference: CrystalSet) -> Context:
    return Context(reference=reference, training=reference, relaxed=RELAXED)


def _close(one: CellValue, other: CellValue) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9)
    return one == other
