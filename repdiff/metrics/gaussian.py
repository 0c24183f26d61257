"""The Fréchet distance between Gaussians fitted to two samples, and its value for infinitely large samples."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

N_BLOCKS = 20


@dataclass(frozen=True)
class Moments:
    """What a Gaussian needs of a sample; moments of disjoint samples add up.

    Attributes:
        n: Number of vectors.
        total: Their sum.
        products: The sum of their outer products.
    """

    n: int
    total: Float[np.ndarray, " d"]
    products: Float[np.ndarray, "d d"]

    @property
    def mean(self) -> Float[np.ndarray, " d"]:
        """Mean of the sample."""
        return self.total / self.n

    @property
    def covariance(self) -> Float[np.ndarray, "d d"]:
        """Unbiased estimate, divided by n - 1; singular where there are fewer vectors than numbers in one."""
        return (self.products - self.n * np.outer(self.mean, self.mean)) / (self.n - 1)

    def __add__(self, other: "Moments") -> "Moments":
        """Return the moments of both samples together."""
        return Moments(self.n + other.n, self.total + other.total, self.products + other.products)

    def __sub__(self, other: "Moments") -> "Moments":
        """Return the moments of what is left of a sample without a part of it."""
        return Moments(self.n - other.n, self.total - other.total, self.products - other.products)


def moments(sample: Float[np.ndarray, "n d"]) -> Moments:
    """Sum up a sample. Numbers far from zero lose digits: subtract the same vector from both samples before."""
    return Moments(len(sample), sample.sum(0), sample.T @ sample)


def frechet_distance(one: Moments, other: Moments) -> float:
    """Return |μ₁ - μ₂|² + Tr(C₁ + C₂ - 2 (C₁ C₂)^½), in squared units of the features.

    The trace of the root of the product, which need not be symmetric, is the sum of the singular values of
    C₁^½ C₂^½: both roots come from symmetric eigenvalue problems, eigenvalues that rounding made negative
    count as zero, and no complex number arises, also for singular covariances.

    Args:
        one: Moments of one sample of at least two vectors.
        other: Moments of the other sample, of at least two vectors.

    Source: Heusel et al., Advances in Neural Information Processing Systems 30 (2017).

    Example:
        >>> one = moments(np.array([[0.0], [2.0]]))
        >>> round(frechet_distance(one, moments(np.array([[3.0], [5.0]]))), 9)
        9.0
    """
    first, second = one.covariance, other.covariance
    overlap = np.linalg.svd(_root(first) @ _root(second), compute_uv=False).sum()
    shift = one.mean - other.mean
    return max(0.0, float(shift @ shift + np.trace(first) + np.trace(second) - 2 * overlap))


def frechet_infinite(one: Sequence[Moments], other: Sequence[Moments]) -> tuple[float, float]:
    """Estimate the distance that infinitely large samples would have; a little below zero where they agree.

    The distance of two samples lies above that of their distributions by about c/n. A straight line in 1/n
    through the distance of the whole samples and the mean distance of those that lack one block (a jackknife)
    leads to 1/n = 0; how these distances scatter tells the error.

    Args:
        one: Moments of random blocks of equal size, at least two, whose sum is the sample.
        other: Moments of as many blocks of the other sample.

    Returns:
        The distance, and its standard error.

    Raises:
        ValueError: If the numbers of blocks differ.

    Source: Chong and Forsyth, Effectively Unbiased FID and Inception Score and Where to Find Them, CVPR (2020),
        for the extrapolation; unlike there, both samples shrink, and the two largest sizes replace a fit over
        fifteen, whose smallest samples no longer follow the line.
        Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 11, for the error.
    """
    n_blocks = len(one)
    whole, other_whole = _together(one), _together(other)
    distance = frechet_distance(whole, other_whole)
    lacking = np.array(
        [frechet_distance(whole - a, other_whole - b) for a, b in zip(one, other, strict=True)]
    )
    error = float(np.sqrt((n_blocks - 1) * lacking.var()))
    return n_blocks * distance - (n_blocks - 1) * float(lacking.mean()), error


def random_blocks(
    sample: Float[np.ndarray, "n d"], rng: np.random.Generator, n_blocks: int = N_BLOCKS
) -> list[Moments]:
    """Cut a sample into random blocks of equal size, give or take one."""
    return [moments(sample[rows]) for rows in np.array_split(rng.permutation(len(sample)), n_blocks)]


def _together(blocks: Sequence[Moments]) -> Moments:
    return Moments(
        sum(block.n for block in blocks),
        np.sum([block.total for block in blocks], axis=0),
        np.sum([block.products for block in blocks], axis=0),
    )


def _root(covariance: Float[np.ndarray, "d d"]) -> Float[np.ndarray, "d d"]:
    """Return the symmetric root; negative eigenvalues count as zero."""
    values, vectors = np.linalg.eigh(covariance)
    return (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
