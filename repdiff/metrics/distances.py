"""Distances of two distributions, and their intervals."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, Int

from repdiff.metrics.base import MetricValue, absent
from repdiff.metrics.bootstrap import bootstrap

N_RESAMPLES = 200  # of up to 2 ms each, for sets of 10 000
Distance = Callable[[np.ndarray, np.ndarray, np.ndarray], float]  # of values and the two shares of each


def earth_movers_distance(
    values: Float[np.ndarray, " n_values"] | Int[np.ndarray, " n_values"],
    one: Float[np.ndarray, " n_values"],
    other: Float[np.ndarray, " n_values"],
) -> float:
    """Return the first Wasserstein distance of two distributions, in the unit of the values.

    `scipy.stats.wasserstein_distance` gives the same, and sorts anew with every call.

    Args:
        values: Ascending.
        one: Share of each value in one distribution.
        other: Share of each value in the other.
    """
    return float(np.abs(np.cumsum(one - other)[:-1]) @ np.diff(values))


def divergence(
    values: Int[np.ndarray, " n_values"],
    one: Float[np.ndarray, " n_values"],
    other: Float[np.ndarray, " n_values"],
) -> float:
    """Return the Jensen-Shannon divergence of two distributions, in bits: 0 if alike, 1 if disjoint.

    Args:
        values: Names of the classes, which do not matter.
        one: Share of each class in one distribution.
        other: Share of each class in the other.

    Source: Lin, IEEE Trans. Inf. Theory 1991, 37, 145, eq. 4.1 with equal weights.
    """
    from scipy.special import rel_entr

    middle = (one + other) / 2
    nats = (rel_entr(one, middle).sum() + rel_entr(other, middle).sum()) / 2
    return float(np.clip(nats / np.log(2), 0.0, 1.0))


def chi_squared(
    values: Int[np.ndarray, " n_values"],
    one: Float[np.ndarray, " n_values"],
    other: Float[np.ndarray, " n_values"],
) -> float:
    """Return χ² of frequencies as WyFormer defines it: 0 if alike, without an upper bound.

    χ² = Σ_g (q_g − p_g)² / p_g, where g runs over the classes that the reference has, p_g is the share of each in the
    reference, and q_g its share among those generated crystals whose class the reference has. Classes that it lacks do
    not enter. Frequencies, not counts: the value does not grow with the number of crystals, but a class that is rare in
    the reference weighs much. Where no class is common, all q_g are zero and the value is 1.

    Args:
        values: Names of the classes, which do not matter.
        one: Share of each class among the generated crystals.
        other: Share of each class in the reference.

    Source: Kazeev et al., arXiv 2503.02407, and its published evaluation, which takes `scipy.stats.chisquare` of
        frequencies.
    """
    known = other > 0
    expected, found = other[known], one[known]
    total = found.sum()
    return float(((found / (total or 1.0) - expected) ** 2 / expected).sum())


def compare_samples(
    ours: Float[np.ndarray, " n"] | Int[np.ndarray, " n"],
    theirs: Float[np.ndarray, " m"] | Int[np.ndarray, " m"],
    distance: Distance,
    protocol: str,
    *,
    seed: int,
    reasons: tuple[str, str],
    unit: str = "",
    fixed_reference: bool = False,
) -> MetricValue:
    """Measure the distance of two samples, and draw from both for its interval; values are sorted once.

    Args:
        ours: A number of each generated crystal.
        theirs: The same of each reference crystal.
        distance: Takes the distinct numbers, ascending, and the share that each has in the two samples.
        protocol: Protocol of the value.
        seed: Seed of the interval.
        reasons: Why there is no generated or no reference crystal, where there is none.
        unit: Unit of the value.
        fixed_reference: Draw from the generated crystals only.
    """
    if not len(ours) or not len(theirs):
        return absent(protocol, reasons[1] if len(ours) else reasons[0], unit)
    values, place = np.unique(np.concatenate([ours, theirs]), return_inverse=True)
    here, there = np.sort(place[: len(ours)]), np.sort(place[len(ours) :])

    def shares(places: Int[np.ndarray, " k"]) -> Float[np.ndarray, " n_values"]:
        return np.bincount(places, minlength=len(values)) / len(places)

    value = distance(values, shares(here), shares(there))
    return MetricValue(
        value=value,
        n=len(ours),
        protocol=protocol,
        unit=unit,
        sizes=(len(ours), len(theirs)),
        interval=bootstrap(
            lambda rows, others: distance(
                values, shares(here[rows]), shares(there if fixed_reference else there[others])
            ),
            (len(ours), len(theirs)),
            value,
            seed=seed,
            n_resamples=N_RESAMPLES,
            bounds=(0.0, 1.0 if distance is divergence else np.inf),
        ),
    )
