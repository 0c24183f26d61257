"""How many generated crystals are distinct from one another, and from those that the model was trained on."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
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
)
from repdiff.metrics.by_formula import Likeness, find_likeness
from repdiff.metrics.primitive_cells import MAX_CANDIDATES
from repdiff.metrics.structure_groups import ANGLE_TOL, LTOL, STOL, MatcherName
from repdiff.metrics.substitution_matcher import MAX_ELECTRONEGATIVITY_DIFFERENCE, MAX_RADIUS_DIFFERENCE
from repdiff.metrics.templates import without_templates
from repdiff.metrics.validity import NOT_MADE

log = logging.getLogger(__name__)


def unique_flags(
    crystals: Sequence[Crystal],
    *,
    matcher: MatcherName = "mattergen-ordered",
    n_workers: int = 1,
    progress: bool = False,
) -> list[bool]:
    """Mark one crystal of each group of duplicates, see `group_same`; one that fails `check_structures` is none.

    How many are marked does not depend on the order of the crystals.

    Args:
        crystals: They may be of any quality.
        matcher: What counts as the same.
        n_workers: Processes, where it helps.
        progress: Show bars on stderr.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite, rock_salt
        >>> unique_flags([rock_salt("a"), rock_salt("b"), cubic_perovskite()])
        [True, False, True]
    """
    found = _find(crystals, None, matcher=matcher, n_workers=n_workers, progress=progress)
    return _are_first(found.first.tolist())


def novel_flags(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal],
    *,
    matcher: MatcherName = "mattergen-ordered",
    n_workers: int = 1,
    progress: bool = False,
) -> list[bool]:
    """Mark the crystals that are none of the known ones; one that fails `check_structures` is not novel.

    Args:
        crystals: They may be of any quality.
        known: Those that the model was trained on, say; any quality.
        matcher: What counts as the same.
        n_workers: Processes, where it helps.
        progress: Show bars on stderr.

    Example:
        >>> from repdiff.testing.example_crystals import cubic_perovskite, rock_salt
        >>> novel_flags([rock_salt(), cubic_perovskite()], known=[rock_salt()])
        [False, True]
    """
    found = _find(crystals, known, grouped=False, matcher=matcher, n_workers=n_workers, progress=progress)
    return _are_novel(found)


@METRICS.register("uniqueness")
class Uniqueness(Metric):
    """Fractions of crystals that no other one duplicates, that training did not hold, and both.

    Source: Zeni et al., arXiv 2312.03687, whose published evaluation takes pymatgen's tolerances for ordered crystals.
    """

    description = "share of crystals that are distinct from one another, and not in the training set"
    takes = frozenset({"training"})

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Compare; what was not reconstructed or fails `check_structures` is neither unique nor novel."""
        matcher, training = context.matcher, context.training
        n_failed, names = len(generated.failed), generated.ids
        found = _find(
            generated.crystals,
            None if training is None else training.crystals,
            matcher=matcher,
            n_workers=context.n_workers,
            progress=context.progress,
        )
        first = found.first.tolist()
        unique = _are_first(first) + [False] * n_failed
        values = {"unique": share(unique, matcher)}
        columns: dict[str, Sequence[CellValue]] = {
            "unique": unique,
            "duplicate_of": [None if k in (-1, row) else names[k] for row, k in enumerate(first)]
            + [None] * n_failed,
            "uniqueness_reason": [*found.reasons, *[NOT_MADE] * n_failed],
        }
        details: dict[str, object] = {"unique_pairs_not_compared": found.n_pairs_dropped}
        if training is None:
            values |= dict.fromkeys(("novel", "unique_and_novel"), _unknown(matcher))
        else:
            novel = _are_novel(found) + [False] * n_failed
            both = [u and n for u, n in zip(unique, novel, strict=True)]
            values |= {"novel": share(novel, matcher), "unique_and_novel": share(both, matcher)}
            values |= without_templates(
                generated,
                {"novel": novel, "unique_and_novel": both},
                dict.fromkeys(("novel", "unique_and_novel"), matcher),
            )
            if refusal := training.refusal:
                reason = f"not claimed over all training crystals: {refusal}"
                values |= {
                    name: replace(value, reason=value.reason or reason)
                    for name, value in values.items()
                    if "novel" in name
                }
            columns["novel"] = novel
            columns["known_as"] = [
                None if row < 0 else training.crystals[row].id for row in found.known.tolist()
            ] + [None] * n_failed
            details |= {
                "novel_pairs_not_compared": found.n_known_dropped,
                "n_training": len(training.crystals),
            }
        return MetricResult(
            values=values,
            protocols={matcher: _constants(matcher) | _named_training(context)},
            columns=columns,
            details=details,
        )


def _find(
    crystals: Sequence[Crystal],
    known: Sequence[Crystal] | None,
    *,
    grouped: bool = True,
    matcher: MatcherName,
    n_workers: int,
    progress: bool,
) -> Likeness:
    found = find_likeness(
        crystals,
        known,
        grouped=grouped,
        matcher=matcher,
        max_candidates=MAX_CANDIDATES,
        n_workers=n_workers,
        progress=progress,
    )
    _warn(found.n_pairs_dropped, "more may be duplicates than were found")
    _warn(found.n_known_dropped, "more may be known than were found")
    return found


def _warn(n_not_compared: int, consequence: str) -> None:
    if n_not_compared:
        log.warning(
            "%d pairs of equal formula were not compared, each crystal with the %d nearest only: %s",
            n_not_compared, MAX_CANDIDATES, consequence,
        )  # fmt: skip


def _are_first(first: Sequence[int]) -> list[bool]:
    return [row == k for row, k in enumerate(first)]


def _are_novel(found: Likeness) -> list[bool]:
    return [not reason and row < 0 for reason, row in zip(found.reasons, found.known.tolist(), strict=True)]


def _unknown(matcher: MatcherName) -> MetricValue:
    return absent(matcher, NEEDS["training"], "fraction")


def _named_training(context: Context) -> dict[str, Constant]:
    if context.training is None:
        return {}
    return novelty_constants(context.training, "training crystals")


def novelty_constants(known: CrystalSet, name: str) -> dict[str, Constant]:
    """Return what a protocol must say about novelty against a set of known crystals."""
    return {
        "novel_against": name,
        "n_novel_against": len(known.crystals),
        "n_novel_against_not_read": known.n_unread,
    }


def matcher_constants(matcher: MatcherName) -> dict[str, Constant]:
    """Return what a protocol must say about the comparison of crystals."""
    alloys: dict[str, Constant] = {
        "alloys": "orderings of one alloy are the same",
        "replaceable_radius_difference": MAX_RADIUS_DIFFERENCE,
        "replaceable_electronegativity_difference": MAX_ELECTRONEGATIVITY_DIFFERENCE,
    }
    return {
        "matcher": "pymatgen StructureMatcher",
        "pymatgen": version("pymatgen"),
        "stol": STOL,
        "ltol": LTOL,
        "angle_tol_deg": ANGLE_TOL,
        "primitive_cells": True,
        "volumes_made_equal": True,
        **(alloys if matcher == "mattergen-disordered" else {}),
    }


def _constants(matcher: MatcherName) -> dict[str, Constant]:
    return {
        **matcher_constants(matcher),
        "groups": "around a first member",
        "compared_with_at_most": MAX_CANDIDATES,
        "invalid_counts_as": "neither unique nor novel",
    }
