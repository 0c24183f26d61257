"""95 % intervals by bootstrap: what the metric would have been with other structures of the same kind.

Percentiles of the resampled statistic are moved so that its mean falls on the measured value: a distance
between two sets grows when one of them is resampled, because some of its members are missing then, and the
plain percentiles would lie above the value.

Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapters 13 (percentiles) and 10 (bias).
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

Interval = tuple[float, float]
LEVEL = 0.95
N_RESAMPLES = 1000
NUMBERS_AT_ONCE = 4_000_000


def interval_of_mean(
    numbers: Sequence[float | int], *, seed: int = 0, n_resamples: int = N_RESAMPLES
) -> Interval | None:
    """Return the interval of a mean, the same in any order of the numbers; None for fewer than two.

    Example:
        >>> interval_of_mean([1.0]) is None, interval_of_mean([2.0, 2.0, 2.0])
        (True, (2.0, 2.0))
    """
    n = len(numbers)
    if n < 2:
        return None
    values = np.sort(np.asarray(numbers, dtype=np.float64))
    rng = np.random.default_rng(seed)
    if values[0] == values[-1]:
        return float(values[0]), float(values[0])
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) == 2:  # a fraction: the draws are binomial
        high = rng.binomial(n, counts[1] / n, n_resamples) / n
        return _percentiles(distinct[0] + high * (distinct[1] - distinct[0]))
    at_once = max(1, NUMBERS_AT_ONCE // n)
    means = [
        values[rng.integers(n, size=(min(at_once, n_resamples - start), n))].mean(1)
        for start in range(0, n_resamples, at_once)
    ]
    return _percentiles(np.concatenate(means))


def bootstrap(
    statistic: Callable[..., float],
    sizes: Sequence[int],
    value: float,
    *,
    seed: int,
    n_resamples: int = N_RESAMPLES,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Interval | None:
    """Return the interval of any statistic of one or several sets of structures.

    Args:
        statistic: Takes one array of indices for each set, drawn with replacement, and gives a finite number.
        sizes: Number of structures in each set.
        value: The statistic of the sets as they are.
        seed: Seed of the resampling.
        n_resamples: Number of draws; fewer where the statistic is slow.
        bounds: What the statistic cannot leave, such as (0, inf) of a distance.

    Returns:
        The interval; None if a set has fewer than two members.
    """
    if min(sizes) < 2:
        return None
    rng = np.random.default_rng(seed)
    found = np.array(
        [statistic(*[rng.integers(size, size=size) for size in sizes]) for _ in range(n_resamples)]
    )
    low, high = np.clip(_percentiles(found - found.mean() + value), *bounds).tolist()
    return low, high


def _percentiles(values: Float[np.ndarray, " n_resamples"]) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]).tolist()
    return low, high
