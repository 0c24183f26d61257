"""How much of the reference the generated crystals cover, and how much of them is near it: COV, AMSD and AMCD."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Bool, Float, Int

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.geometry import check_structures
from repdiff.errors import UserError
from repdiff.metrics.base import (
    METRICS,
    Constant,
    Context,
    Metric,
    MetricResult,
    MetricValue,
    absent,
    mean,
    share,
    tally,
)
from repdiff.metrics.charge_balance import OXIDATION_STATES
from repdiff.metrics.fingerprints import MIN_VOLUME_PER_ATOM, SAME_SITE, Fingerprints, compute_fingerprints
from repdiff.metrics.validity import NOT_MADE, check_crystal_composition

DISTANCES_AT_ONCE = 4_000_000


@dataclass(frozen=True)
class Cutoffs:
    """Largest distances at which a crystal covers another.

    Attributes:
        structure: Cutoff of the distance of mean CrystalNN fingerprints.
        composition: Cutoff of the distance of z-scored Magpie features.
    """

    structure: float
    composition: float


CUTOFFS = {
    "cdvae": {
        "perov_5": Cutoffs(0.2, 4.0),
        "carbon_24": Cutoffs(0.2, 4.0),
        "mp_20": Cutoffs(0.4, 10.0),
    },
    "structrepdiff": {
        "perov_5": Cutoffs(0.8, 6.0),
        "carbon_24": Cutoffs(1.0, 4.0),
        "mp_20": Cutoffs(0.6, 12.0),
    },
}
VALID = f"cdvae-{OXIDATION_STATES}-fingerprint"
NO_REFERENCE = "no reference structure has a fingerprint"
NO_FINGERPRINT = "no structure has a fingerprint"


@dataclass(frozen=True, kw_only=True)
class Nearest:
    """What each crystal of one set has nearest to it in another, by two distances that are looked at apart.

    A row is NaN, and its index -1, if the crystal has no fingerprint or the other set has none at all.

    Attributes:
        structure: Least Euclidean distance of the mean CrystalNN fingerprints.
        composition: Least Euclidean distance of the z-scored Magpie features, perhaps to another crystal.
        index: Which crystal of the other set has the least structural distance, the first of several.
    """

    structure: Float[np.ndarray, " n"]
    composition: Float[np.ndarray, " n"]
    index: Int[np.ndarray, " n"]

    def within(self, cutoffs: Cutoffs) -> Bool[np.ndarray, " n"]:
        """Tell which crystals have something within both cutoffs, not necessarily one crystal within both."""
        return (self.structure <= cutoffs.structure) & (self.composition <= cutoffs.composition)


def find_nearest(one: Fingerprints, other: Fingerprints) -> tuple[Nearest, Nearest]:
    """Find for each crystal of two sets the nearest of the other set.

    The distances are computed in blocks of rows, so that memory stays below about 100 MB.

    Returns:
        The nearest of `one` in `other`, and of `other` in `one`.
    """
    rows, columns = np.flatnonzero(one.present), np.flatnonzero(other.present)
    structure = _least(one.structure[rows], other.structure[columns])
    composition = _least(one.composition[rows], other.composition[columns])
    return (
        _nearest(len(one.reasons), rows, columns, structure[0], composition[0]),
        _nearest(len(other.reasons), columns, rows, structure[1], composition[1]),
    )


@METRICS.register("coverage")
class Coverage(Metric):
    """Shares of the reference and of the generated crystals that have a counterpart within the cutoffs.

    Recall asks of each reference crystal whether any generated one is near, precision asks the reverse. A
    crystal is covered if the nearest structure and the nearest composition are within their cutoffs; they may
    belong to two crystals. AMSD and AMCD are the means of these nearest distances. Crystals that have no
    fingerprint are not covered, cover nothing, and have no distance.

    Intervals are over the crystals that the value is a mean over, with their nearest distances held fixed: a
    change of the other set is not in them.

    Source: Xie et al., arXiv 2110.06197, section 5 and its published evaluation; cutoffs of the protocol
        `structrepdiff` by the paper arXiv 2408.07213.
    """

    description = "share of the reference that is covered, and of the structures that are near it (COV, AMSD)"
    needs = frozenset({"reference"})
    takes = frozenset({"benchmark"})

    def samples(self, generated: CrystalSet, context: Context) -> bool:
        """Score a sample of large sets: a fingerprint takes a twentieth of a second, and all pairs are compared."""
        return True

    def compute(self, generated: CrystalSet, context: Context) -> MetricResult:
        """Fingerprint both sets and compare them.

        Raises:
            UserError: If there is no reference, or the benchmark has no published cutoffs.
        """
        benchmark, known = context.benchmark, context.known()
        if any(benchmark not in cutoffs for cutoffs in CUTOFFS.values()):
            raise UserError(
                f"benchmark {benchmark!r} has no published cutoffs, expected one of "
                f"{', '.join(CUTOFFS['cdvae'])}: choose whose shall hold by `benchmark`"
            )
        crystals = sorted(known.crystals, key=lambda crystal: crystal.id)  # so that ties go to the first name
        reference, ours = _fingerprints(crystals, context), _fingerprints(generated.crystals, context)
        nearest, covering = find_nearest(ours, reference)
        values: dict[str, MetricValue] = {}
        columns: dict[str, Sequence[float | int | str | bool | None]] = {}
        missing = len(generated.failed)
        for protocol, by_benchmark in CUTOFFS.items():
            suffix, cutoffs = "" if protocol == "cdvae" else f"_{protocol}", by_benchmark[benchmark]
            name = f"{protocol}-{benchmark}"
            recalled = covering.within(cutoffs)[reference.present].tolist()
            covered = nearest.within(cutoffs).tolist() + [False] * missing
            values[f"cov_recall{suffix}"] = (
                share(recalled, name, reason=NO_REFERENCE)
                if len(generated)
                else absent(name, "no structures", "fraction")
            )
            values[f"cov_precision{suffix}"] = (
                share(covered, name) if reference.present.any() else absent(name, NO_REFERENCE, "fraction")
            )
            columns[f"covered{suffix}"] = covered
        values |= _mean_distances(nearest, covering, f"cdvae-{benchmark}")
        sizes = len(generated), int(reference.present.sum())
        values = {key: replace(value, sizes=sizes) for key, value in values.items()}
        values["valid"] = _valid_as_published(generated, ours)
        ids = [None if index < 0 else crystals[index].id for index in nearest.index]
        columns |= {
            "nearest_reference": ids + [None] * missing,
            "structure_distance": _plain(nearest.structure) + [None] * missing,
            "composition_distance": _plain(nearest.composition) + [None] * missing,
            "fingerprint_reason": [*ours.reasons, *[NOT_MADE] * missing],
        }
        return MetricResult(
            values=values,
            protocols={
                **{f"{name}-{benchmark}": _constants(CUTOFFS[name][benchmark]) for name in CUTOFFS},
                VALID: {
                    "valid": "structure and composition valid, and a fingerprint exists",
                    "oxidation_states": OXIDATION_STATES,
                },
            },
            columns=columns,
            details={
                "reasons": tally(ours.reasons),
                "reference_without_fingerprint": {
                    crystal.id: reason
                    for crystal, reason in zip(crystals, reference.reasons, strict=True)
                    if reason
                },
                "n_reference": int(reference.present.sum()),
            },
        )


def _valid_as_published(generated: CrystalSet, fingerprints: Fingerprints) -> MetricValue:
    """Return the share that is valid by CDVAE's program, which calls a crystal without fingerprint invalid."""
    checks = check_structures(generated.crystals)
    flags = [
        check.valid and not reason and check_crystal_composition(crystal).valid
        for crystal, check, reason in zip(generated.crystals, checks, fingerprints.reasons, strict=True)
    ]
    return share(flags + [False] * len(generated.failed), VALID)


def _fingerprints(crystals: Sequence[Crystal], context: Context) -> Fingerprints:
    return compute_fingerprints(
        crystals, cache=context.cache, n_workers=context.n_workers, progress=context.progress
    )


def _constants(cutoffs: Cutoffs) -> dict[str, Constant]:
    from importlib.metadata import version

    return {
        "structure_cutoff": cutoffs.structure,
        "composition_cutoff": cutoffs.composition,
        "structure": "mean CrystalNN fingerprint 'ops'",
        "composition": "Magpie features, z-scored by the constants of CDVAE",
        "matminer": version("matminer"),
        "min_volume_per_atom_angstrom3": MIN_VOLUME_PER_ATOM,
        "same_site_angstrom": SAME_SITE,
        "without_fingerprint_counts_as": "not covered; left out of the reference and of mean distances",
        "interval": "nearest distances held fixed",
    }


def _mean_distances(nearest: Nearest, covering: Nearest, protocol: str) -> dict[str, MetricValue]:
    """Give AMSD and AMCD, recall over the reference and precision over the generated crystals."""
    return {
        f"{name}_{side}": mean(
            distances[np.isfinite(distances)].tolist(), protocol, reason=f"{NO_FINGERPRINT} on one side"
        )
        for side, found in (("recall", covering), ("precision", nearest))
        for name, distances in (("amsd", found.structure), ("amcd", found.composition))
    }


def _least(
    one: Float[np.ndarray, "n d"], other: Float[np.ndarray, "m d"]
) -> tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """Return the least distance and where it is, for the rows of both sets; nothing if one set is empty."""
    from scipy.spatial.distance import cdist

    if not len(one) or not len(other):
        empty = np.zeros(0), np.zeros(0, np.int64)
        return empty, empty
    least, where = np.full(len(other), np.inf), np.zeros(len(other), np.int64)
    parts = []
    step = max(1, DISTANCES_AT_ONCE // len(other))
    for start in range(0, len(one), step):
        distances = cdist(one[start : start + step], other)
        at = distances.argmin(1)
        parts.append((distances[np.arange(len(at)), at], at))
        nearer = distances.min(0) < least
        where[nearer] = start + distances[:, nearer].argmin(0)
        least = np.minimum(least, distances.min(0))
    return (np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])), (least, where)


def _nearest(
    n: int,
    rows: Int[np.ndarray, " n_rows"],
    columns: Int[np.ndarray, " n_columns"],
    structure: tuple[np.ndarray, np.ndarray],
    composition: tuple[np.ndarray, np.ndarray],
) -> Nearest:
    """Put what was found for the crystals with fingerprints into their places among all `n`."""
    distances, index = np.full((2, n), np.nan), np.full(n, -1, np.int64)
    if len(columns) and len(rows):
        distances[0, rows], distances[1, rows] = structure[0], composition[0]
        index[rows] = columns[structure[1]]
    return Nearest(structure=distances[0], composition=distances[1], index=index)


def _plain(numbers: Float[np.ndarray, " n"]) -> list[float | None]:
    return [None if np.isnan(number) else float(number) for number in numbers]
