import numpy as np
import pytest
from scipy.linalg import sqrtm

from repdiff.metrics.gaussian import Moments, frechet_distance, frechet_infinite, moments, random_blocks


def exact(mean, covariance, n=1000):
    """Moments of a sample that has just this mean and covariance."""
    mean = np.asarray(mean, dtype=float)
    return Moments(n, n * mean, (n - 1) * np.asarray(covariance) + n * np.outer(mean, mean))


def random_covariance(rng, d, rank=None):
    factor = rng.normal(size=(d, rank or d))
    return factor @ factor.T


def reference_distance(one, other):
    """The formula as it is written, by SciPy's general matrix root."""
    shift = one.mean - other.mean
    root = sqrtm(one.covariance @ other.covariance).real
    return shift @ shift + np.trace(one.covariance + other.covariance - 2 * root)


def test_one_dimension_gives_the_closed_form():
    assert frechet_distance(exact([1.0], [[4.0]]), exact([4.0], [[25.0]])) == pytest.approx(
        3**2 + (5 - 2) ** 2
    )


def test_commuting_covariances_give_the_closed_form():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    one, other = rng.uniform(0.1, 3, (2, 5))
    mean = rng.normal(size=5)
    distance = frechet_distance(
        exact(mean, (axes * one**2) @ axes.T), exact(np.zeros(5), (axes * other**2) @ axes.T)
    )
    assert distance == pytest.approx(mean @ mean + ((one - other) ** 2).sum(), rel=1e-10)


@pytest.mark.parametrize("seed", range(5))
def test_distance_equals_the_formula_with_scipys_root(seed):
    rng = np.random.default_rng(seed)
    one, other = (
        moments(rng.normal(size=(40, 6))),
        moments(rng.normal(size=(60, 6)) @ rng.normal(size=(6, 6))),
    )
    assert frechet_distance(one, other) == pytest.approx(reference_distance(one, other), rel=1e-9)


def test_distance_is_symmetric():
    rng = np.random.default_rng(1)
    one = exact(rng.normal(size=6), random_covariance(rng, 6))
    other = exact(rng.normal(size=6), random_covariance(rng, 6, rank=2))
    assert frechet_distance(one, other) == pytest.approx(frechet_distance(other, one), rel=1e-12)


@pytest.mark.parametrize("n", [2, 10, 63, 500])
def test_distance_to_itself_is_zero_also_where_the_covariance_is_singular(n):
    sample = moments(np.random.default_rng(2).normal(size=(n, 64)))
    assert frechet_distance(sample, sample) == pytest.approx(0, abs=1e-10)


def test_covariances_without_a_common_direction_add_their_traces():
    one, other = exact(np.zeros(4), np.diag([1.0, 2, 0, 0])), exact(np.zeros(4), np.diag([0.0, 0, 3, 4]))
    assert frechet_distance(one, other) == pytest.approx(10)


def test_moments_are_those_of_numpy_and_add_up():
    sample = np.random.default_rng(3).normal(size=(50, 3))
    first, second, whole = moments(sample[:20]), moments(sample[20:]), moments(sample)
    np.testing.assert_allclose(whole.covariance, np.cov(sample.T))
    np.testing.assert_allclose((first + second).covariance, whole.covariance)
    np.testing.assert_allclose((whole - second).covariance, first.covariance, atol=1e-12)


def test_blocks_are_a_partition():
    sample = np.random.default_rng(4).normal(size=(47, 3))
    blocks = random_blocks(sample, np.random.default_rng(0), 5)
    np.testing.assert_allclose(sum(block.total for block in blocks), sample.sum(0))
    assert sorted(block.n for block in blocks) == [9, 9, 9, 10, 10]


@pytest.mark.parametrize("stretch", [1.0, 1.3])
@pytest.mark.parametrize("n", [2 * 16, 10 * 16])
def test_extrapolation_takes_away_nearly_all_of_what_small_samples_add(n, stretch):
    rng, d = np.random.default_rng(5), 16
    plain, infinite = [], []
    for _ in range(60):
        one, other = rng.normal(size=(n, d)), stretch * rng.normal(size=(n, d))
        plain.append(frechet_distance(moments(one), moments(other)))
        infinite.append(frechet_infinite(random_blocks(one, rng), random_blocks(other, rng))[0])
    truth = d * (stretch - 1) ** 2
    error = np.std(infinite) / np.sqrt(len(infinite))
    assert np.mean(plain) - truth > 20 * error
    assert abs(np.mean(infinite) - truth) < 0.05 * (np.mean(plain) - truth) + 3 * error


@pytest.mark.parametrize("stretch", [1.0, 1.3])
def test_nineteen_of_twenty_extrapolations_lie_within_two_standard_errors(stretch):
    rng, d = np.random.default_rng(7), 8
    hits = 0
    for _ in range(100):
        one, other = rng.normal(size=(150, d)), stretch * rng.normal(size=(150, d))
        value, error = frechet_infinite(random_blocks(one, rng), random_blocks(other, rng))
        hits += abs(value - d * (stretch - 1) ** 2) < 2.093 * error
    assert hits >= 90


def test_extrapolation_refuses_blocks_that_do_not_pair():
    blocks = random_blocks(np.random.default_rng(6).normal(size=(40, 2)), np.random.default_rng(0), 4)
    with pytest.raises(ValueError, match="zip"):
        frechet_infinite(blocks, blocks[:3])
