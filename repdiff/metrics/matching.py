"""Whether crystals are the known ones: match rate and displacement by pymatgen's StructureMatcher."""

import math
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from repdiff.crystals.crystal import Crystal, to_structure
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import Formula, count_elements, reduced_formula
from repdiff.crystals.geometry import check_structures
from repdiff.errors import UserError
from repdiff.execution.jobs import map_jobs
from repdiff.metrics.base import METRICS, Constant, Context, Metric, MetricResult, mean, share
from repdiff.metrics.targets import best_attempts, find_targets
from repdiff.metrics.validity import NOT_MADE, check_crystal_composition

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

STOL, LTOL, ANGLE_TOL = 0.5, 0.3, 10.0  # site, length (both relative), angle in degrees
MAX_COMPARISONS = 200_000  # of one crystal with one other; about 10 ms each
COMPARISONS_PER_PROCESS = 1000  # with fewer, a process takes longer to start than it saves
OTHER_COMPOSITION = "other composition"
OTHER_SIZE = "no reference with as many atoms in the primitive cell"
UNPAIRED = "no reference of this name"
NO_MATCH = "beyond the tolerances"  # could be compared, and does not match


@dataclass(frozen=True)
class Match:
    """The outcome of comparing one crystal.

    Attributes:
        rms: Root mean square displacement of the atoms after the best superposition, divided by the cube root
            of the volume per atom; NaN if there is no match.
        reason: Why there is none; "" if there is one.
        matched_id: Name of the reference crystal that was matched.
    """

    rms: float
    reason: str
    matched_id: str | None = None


def match_pairs(
    generated: Sequence[Crystal],
    reference: Sequence[Crystal],
    *,
    progress: bool = False,
    n_workers: int = 1,
) -> Float[np.ndarray, " n_pairs"]:
    """Compare generated[i] with reference[i]: normalised RMS displacement, NaN where they do not match.

    Normalisation is that of CDVAE and all that follow it: the displacement in Å divided by the cube root of
    the volume per atom of the mean of the two cells, after both were made primitive and scaled to one volume.

    Raises:
        ValueError: If the numbers differ.

    Example:
        >>> from repdiff.testing.example_crystals import rock_salt
        >>> match_pairs([rock_salt(a=5.6)], [rock_salt(a=5.64)]).round(6).tolist()
        [0.0]
    """
    return np.array(
        [match.rms for match in compare_pairs(generated, reference, progress=progress, n_workers=n_workers)]
    )


def compare_pairs(
    generated: Sequence[Crystal],
    reference: Sequence[Crystal],
    *,
    progress: bool = False,
    n_workers: int = 1,
) -> list[Match]:
    """Do what `match_pairs` does, and give reasons.

    A crystal that fails `check_structures` matches nothing: the published evaluations discard it, too, and
    such cells can keep the matcher busy for hours.

    Raises:
        ValueError: If the numbers differ.
    """
    if len(generated) != len(reference):
        raise ValueError(f"{len(generated)} crystals and {len(reference)} references, expected pairs")
    candidates: list[list[Crystal]] = []
    reasons: list[str] = []
    for crystal, other, check in zip(generated, reference, check_structures(reference), strict=True):
        comparable = check.valid and _formula(crystal) == _formula(other)
        candidates.append([other] if comparable else [])
        reasons.append(f"reference: {check.reason}" if check.reason else OTHER_COMPOSITION)
    return _match_all(generated, candidates, reasons, progress=progress, n_workers=n_workers)


def match_any(
    generated: Sequence[Crystal],
    reference: Sequence[Crystal],
    *,
    progress: bool = False,
    n_workers: int = 1,
) -> list[Match]:
    """Compare each crystal with all references of its reduced formula and keep the nearest match.

    Only references whose primitive cell has as many atoms are handed to the matcher: it refuses all others.

    Raises:
        UserError: If that takes more than 200 000 comparisons.
    """
    formulas = [_formula(crystal) for crystal in generated]
    wanted = set(formulas)
    sound = [
        crystal
        for crystal, check in zip(reference, check_structures(reference), strict=True)
        if check.valid and _formula(crystal) in wanted
    ]
    known = {_formula(crystal) for crystal in sound}
    groups: dict[tuple[Formula, int], list[Crystal]] = defaultdict(list)
    for crystal in sound:
        groups[_formula(crystal), _primitive_size(crystal)].append(crystal)
    candidates = [
        groups.get((formula, _primitive_size(crystal)), []) if check.valid and formula in known else []
        for crystal, formula, check in zip(generated, formulas, check_structures(generated), strict=True)
    ]
    if (total := sum(map(len, candidates))) > MAX_COMPARISONS:
        raise UserError(
            f"{len(generated)} crystals against {len(reference)} references of few formulas take {total} "
            f"comparisons, expected at most {MAX_COMPARISONS}: score a sample, pair "
            "them by name, or ask for the metric metre, which compares each with its nearest only"
        )
    reasons = [OTHER_SIZE if formula in known else OTHER_COMPOSITION for formula in formulas]
    return _match_all(generated, candidates, reasons, progress=progress, n_workers=n_workers)


@METRICS.register("matching")
class Matching(Metric):
    """Match rate and RMSE against known crystals, pair by pair or against any of them.

    Where names or labels make several crystals attempts at one target (see `targets.find_targets`), the best attempt
    of each target is scored too: the match rate at k.

    Args:
        pairing: "id" pairs by name, for reconstructions of known crystals; "any" looks through all references
            of the same formula, for generated crystals; "auto" pairs by name if the reference has all names.
    """

    description = "share of crystals that StructureMatcher finds in the reference, and their displacement"
    needs = frozenset({"reference"})

    def __init__(self, pairing: Literal["auto", "id", "any"] = "auto") -> None:
        self.pairing = pairing

    def samples(self, generated: CrystalSet, context: Context) -> bool:
        """Score a sample of large sets where each crystal is compared with all references of its formula."""
        known = {crystal.id for crystal in context.known().crystals}
        return not self._by_name(find_targets(generated, known))

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Match; what was not reconstructed, cannot be read or has no partner counts as no match.

        Raises:
            UserError: If there is no reference, if it is to be paired by names that are not unique, or if it
                takes too many comparisons.
        """
        reference = context.known()
        known = Counter(crystal.id for crystal in reference.crystals)
        targets = find_targets(generated, known)
        n_named = sum(target is not None for target in targets)
        by_id = self._by_name(targets)
        if by_id:
            if repeated := [name for name, times in known.items() if times > 1]:
                raise UserError(
                    f"{len(repeated)} names occur more than once in the reference, "
                    f"such as {repeated[0]!r}, expected unique ones: use the pairing 'any'"
                )
            matches = _match_named(
                generated.crystals, targets, reference.crystals, context.progress, context.n_workers
            )
        else:
            matches = match_any(
                generated.crystals,
                reference.crystals,
                progress=context.progress,
                n_workers=context.n_workers,
            )
        matches = matches + [Match(math.nan, NOT_MADE)] * len(generated.failed)
        result = _summarise(generated, matches, by_id=by_id, n_named=n_named)
        return _with_best_attempts(result, targets, matches) if by_id else result

    def _by_name(self, targets: Sequence[str | None]) -> bool:
        every = len(targets) > 0 and all(target is not None for target in targets)
        return self.pairing == "id" or (self.pairing == "auto" and every)


def _with_best_attempts(
    result: MetricResult, targets: Sequence[str | None], matches: Sequence[Match]
) -> MetricResult:
    """Add the scores of the best attempt at each target, if any has several."""
    attempts = Counter(target for target in targets if target is not None)
    if not attempts or max(attempts.values()) == 1:
        return result
    best = list(best_attempts(targets, [match.rms for match in matches]).values())
    found = [rms for rms in best if not math.isnan(rms)]
    name = f"pairs-at-{max(attempts.values())}"
    constants: dict[str, Constant] = {
        **result.protocols["pairs"],
        "k": max(attempts.values()), "fewest_attempts": min(attempts.values()),
        "mean_over": "the targets that were attempted, the best attempt of each",
    }  # fmt: skip
    return replace(
        result,
        values={
            **result.values,
            "match_rate_at_k": share([not math.isnan(rms) for rms in best], name),
            "rmse_at_k": mean(found, name, reason="nothing matched"),
        },
        protocols={**result.protocols, name: constants},
        columns={**result.columns, "match_target": targets},
        details={**result.details, "n_targets": len(attempts)},
    )


def _summarise(generated: CrystalSet, matches: list[Match], *, by_id: bool, n_named: int) -> MetricResult:
    matched = [not math.isnan(match.rms) for match in matches]
    charges = [check_crystal_composition(crystal).valid for crystal in generated.crystals]
    charges += [False] * len(generated.failed)
    name = "pairs" if by_id else "any"
    constants: dict[str, Constant] = {
        "stol": STOL, "ltol": LTOL, "angle_tol_deg": ANGLE_TOL,
        "rms_unit": "cube root of the volume per atom", "rmse": "mean over the matched",
        "compared_with": "the reference of the same name" if by_id else "all references of the same formula",
    }  # fmt: skip
    rates = (
        ("match_rate", "match_rate_valid", "rmse")
        if by_id
        else ("rediscovered", "rediscovered_valid", "rmse")
    )
    return MetricResult(
        values={
            rates[0]: share(matched, name),
            rates[1]: share([m and c for m, c in zip(matched, charges, strict=True)], f"{name}-cdvae"),
            rates[2]: mean([m.rms for m in matches if m.reason == ""], name, reason="nothing matched"),
        },
        protocols={
            name: constants,
            f"{name}-cdvae": constants | {"composition_invalid_counts_as": "no match"},
        },
        columns={
            "match_rms": [None if math.isnan(match.rms) else match.rms for match in matches],
            "match_id": [match.matched_id for match in matches],
            "match_reason": [match.reason for match in matches],
        },
        details={
            "reasons": dict(sorted(Counter(match.reason for match in matches if match.reason).items())),
            "unpaired": [n for n, m in zip(generated.ids, matches, strict=True) if m.reason == UNPAIRED],
            "n_names_in_reference": n_named,
        },
    )


def _match_named(
    generated: Sequence[Crystal],
    targets: Sequence[str | None],
    reference: Sequence[Crystal],
    progress: bool,
    n_workers: int,
) -> list[Match]:
    by_name = {crystal.id: crystal for crystal in reference}
    paired = [(index, target) for index, target in enumerate(targets[: len(generated)]) if target is not None]
    compared = compare_pairs(
        [generated[index] for index, _ in paired],
        [by_name[target] for _, target in paired],
        progress=progress,
        n_workers=n_workers,
    )
    matches = [Match(math.nan, UNPAIRED)] * len(generated)
    for (index, _), match in zip(paired, compared, strict=True):
        matches[index] = match
    return matches


def _match_all(
    generated: Sequence[Crystal],
    candidates: Sequence[list[Crystal]],
    reasons: Sequence[str],
    *,
    progress: bool,
    n_workers: int,
) -> list[Match]:
    """Match each crystal with its candidates; `reasons` says why it has none, if it has none."""
    checks = check_structures(generated)
    answers = [Match(math.nan, check.reason or why) for check, why in zip(checks, reasons, strict=True)]
    todo = [index for index, found in enumerate(candidates) if found and checks[index].valid]
    items = [(generated[index], candidates[index]) for index in todo]
    n_workers = min(n_workers, sum(len(found) for _, found in items) // COMPARISONS_PER_PROCESS)
    found = map_jobs(
        _best_match, items, n_workers=n_workers, progress=progress, label="matching", instead=_not_compared
    )
    for index, match in zip(todo, found, strict=True):
        answers[index] = match
    return answers


def _not_compared(_item: object, reason: str) -> Match:
    return Match(math.nan, reason)


def _best_match(item: tuple[Crystal, list[Crystal]]) -> Match:
    """Compare one crystal with its candidates; ties go to the first name, so that order does not matter."""
    crystal, candidates = item
    matches = [_match(crystal, candidate) for candidate in candidates]
    found = [match for match in matches if match.reason == ""]
    if found:
        return min(found, key=lambda match: (match.rms, match.matched_id))
    return min(matches, key=lambda match: match.reason)


def _match(crystal: Crystal, candidate: Crystal) -> Match:
    try:
        found = _matcher().get_rms_dist(to_structure(crystal), to_structure(candidate))
    except Exception as error:  # the matcher gives up on some cells with any of several exceptions
        return Match(math.nan, f"StructureMatcher: {type(error).__name__}")
    if found is None:
        return Match(math.nan, NO_MATCH)
    return Match(float(found[0]), "", candidate.id)


@cache
def _matcher() -> "StructureMatcher":
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(stol=STOL, ltol=LTOL, angle_tol=ANGLE_TOL)


def _formula(crystal: Crystal) -> Formula:
    return reduced_formula(count_elements(crystal))


def _primitive_size(crystal: Crystal) -> int:
    """Count the atoms of the primitive cell, found as the matcher does; 0 if pymatgen finds none."""
    try:
        return len(to_structure(crystal).get_reduced_structure("niggli").get_primitive_structure())
    except Exception:  # as in `_match`
        return 0
