"""How much of the reference is found again, whatever is generated twice: METRe and cRMSE."""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import TYPE_CHECKING

from repdiff.crystals.crystal import to_structure
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import count_elements, reduced_formula
from repdiff.crystals.stored_crystals import CrystalRows
from repdiff.errors import UserError
from repdiff.execution.jobs import map_jobs
from repdiff.metrics.base import METRICS, Constant, Context, Metric, MetricResult, absent, mean, share
from repdiff.metrics.matching import ANGLE_TOL, LTOL, STOL
from repdiff.metrics.primitive_cells import MAX_CANDIDATES, Reduced, find_candidates, reduce_crystals

if TYPE_CHECKING:
    from pymatgen.analysis.structure_matcher import StructureMatcher

PROTOCOL = "metre"
MAX_COMPARISONS = 500_000  # of one crystal with one other; about 3 ms each
COMPARISONS_PER_PROCESS = 1000  # with fewer, a process takes longer to start than it saves
Best = tuple[float, int | None]  # rms, NaN without a match; place of the crystal among the candidates
log = logging.getLogger(__name__)


def match_reference(
    reference: Sequence[Reduced],
    generated: Sequence[Reduced],
    *,
    max_candidates: int = MAX_CANDIDATES,
    n_workers: int = 1,
    progress: bool = False,
) -> tuple[list[Best], int]:
    """Find for each reference crystal the generated one that matches it best.

    Args:
        reference: What `reduce_crystals` returned.
        generated: Generated crystals, from `reduce_crystals`.
        max_candidates: Largest number of generated crystals of the same formula and primitive size that a reference
            crystal is compared with; those of the nearest fingerprints are taken.
        n_workers: Processes, where it helps.
        progress: Show a bar on stderr.

    Returns:
        For each, the root mean square displacement over the cube root of the volume per atom, NaN without a match, and
        the row of the generated crystal; and how many pairs were not compared because as many as may be are nearer.

    Raises:
        UserError: If that takes more than 500 000 comparisons.
    """
    order = sorted(range(len(generated)), key=lambda row: _name(generated[row]))
    candidates = find_candidates(reference, [generated[row] for row in order], max_candidates=max_candidates)
    if (total := sum(map(len, candidates.rows))) > MAX_COMPARISONS:
        raise UserError(
            f"{len(reference)} references take {total} comparisons with generated crystals, expected at most "
            f"{MAX_COMPARISONS}: name a smaller reference, such as one split, or set max_candidates below "
            f"{max_candidates}"
        )
    asking = [row for row, others in enumerate(candidates.rows) if others]
    found = map_jobs(
        _best_of,
        [(reference[row], [generated[order[k]] for k in candidates.rows[row]]) for row in asking],
        n_workers=min(n_workers, total // COMPARISONS_PER_PROCESS),
        progress=progress and len(asking) > 0,
        label="reference",
    )
    best: list[Best] = [(math.nan, None)] * len(reference)
    for row, (rms, place) in zip(asking, found, strict=True):
        best[row] = (rms, None if place is None else order[candidates.rows[row][place]])
    return best, int(candidates.n_dropped.sum())


@METRICS.register("metre")
class Metre(Metric):
    """The share of the reference that some generated crystal matches, and its displacement with a penalty.

    METRe, "match everyone to reference", takes each reference crystal and asks whether any generated one matches it;
    generating the same crystal many times earns nothing, and a reference of many duplicates is found as a whole.
    cRMSE is the mean over all reference crystals of the smallest displacement among their matches, where one without
    a match counts as the site tolerance: the largest displacement that a match may have. The plain RMSE of the
    matched improves when hard crystals are not matched at all; this one does not.

    Args:
        max_candidates: Largest number of generated crystals of the same formula and primitive size that a reference
            crystal is compared with.

    Source: Martirossyan et al., "All that structure matches does not glitter", arXiv 2509.12178. The tolerances are
        those of `matching`. Unlike there, a limit holds where there are many candidates; what it drops is in the
        details.
    """

    description = "share of the reference that any crystal matches (METRe), displacement with penalty (cRMSE)"
    needs = frozenset({"reference"})

    def __init__(self, max_candidates: int = MAX_CANDIDATES) -> None:
        if max_candidates < 1:
            raise UserError(f"max_candidates is {max_candidates}, expected at least 1")
        self.max_candidates = max_candidates

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Match; a reference crystal that could not be read or fails `check_structures` is not matched.

        Raises:
            UserError: If there is no reference, or it takes too many comparisons.
        """
        reference = context.known()
        settings = {"n_workers": context.n_workers, "progress": context.progress}
        known = reduce_crystals(reference.crystals, **settings)
        formulas = {reduced_formula(count_elements(crystal)) for crystal in reference.crystals}
        rows = [
            row
            for row, crystal in enumerate(generated.crystals)
            if reduced_formula(count_elements(crystal)) in formulas
        ]
        made = reduce_crystals(CrystalRows(generated.crystals, rows), **settings)
        best, n_dropped = match_reference(known, made, max_candidates=self.max_candidates, **settings)
        if n_dropped:
            log.warning(
                "%d pairs of equal formula were not compared, each reference crystal with the %d nearest only: "
                "more may be matched than were found",
                n_dropped, self.max_candidates,
            )  # fmt: skip
        rms = [value for value, _ in best] + [math.nan] * len(reference.failed)
        matched = [not math.isnan(value) for value in rms]
        n_best = Counter(rows[row] for _, row in best if row is not None)
        reason = "no structures" if not len(generated) else "the reference is empty"
        values = dict.fromkeys(("metre", "crmse"), absent(PROTOCOL, reason))
        if len(generated) and len(reference):
            penalised = [STOL if math.isnan(value) else value for value in rms]
            values = {
                "metre": share(matched, PROTOCOL),
                "crmse": mean(penalised, PROTOCOL, reason=reason),
            }
        sizes = len(generated), len(reference)
        return MetricResult(
            values={name: replace(value, sizes=sizes) for name, value in values.items()},
            protocols={PROTOCOL: self._constants()},
            columns={"matched_references": [n_best[row] for row in range(len(generated))]},
            details={
                "n_reference": len(reference),
                "n_matched": sum(matched),
                "pairs_not_compared": n_dropped,
            },
        )

    def _constants(self) -> dict[str, Constant]:
        return {
            "matcher": "pymatgen StructureMatcher",
            "version": version("pymatgen"),
            "stol": STOL,
            "ltol": LTOL,
            "angle_tol_deg": ANGLE_TOL,
            "rms_unit": "cube root of the volume per atom",
            "mean_over": "the reference",
            "unmatched_counts_as": STOL,
            "compared_with_at_most": self.max_candidates,
        }


def _best_of(task: tuple[Reduced, Sequence[Reduced]]) -> Best:
    reduced, others = task
    found = [(_rms(other, reduced), place) for place, other in enumerate(others)]
    matched = [(rms, place) for rms, place in found if not math.isnan(rms)]
    return min(matched) if matched else (math.nan, None)


def _rms(one: Reduced, other: Reduced) -> float:
    if one.crystal is None or other.crystal is None:
        return math.nan
    try:
        found = _matcher().get_rms_dist(to_structure(one.crystal), to_structure(other.crystal))
    except Exception:  # the matcher gives up on some cells with any of several exceptions: no match, then
        return math.nan
    return math.nan if found is None else float(found[0])


@cache
def _matcher() -> "StructureMatcher":
    from pymatgen.analysis.structure_matcher import StructureMatcher

    return StructureMatcher(
        stol=STOL, ltol=LTOL, angle_tol=ANGLE_TOL, primitive_cell=False
    )  # they are already


def _name(reduced: Reduced) -> str:
    return "" if reduced.crystal is None else reduced.crystal.id
