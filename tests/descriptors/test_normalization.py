import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors.normalization import MARGIN, Normalizer


def vectors(seed=0, n=2000):
    generator = torch.Generator().manual_seed(seed)
    plain = torch.rand(n, 2, generator=generator, dtype=torch.float64) * 5 - 1
    heavy = torch.randn(n, 2, generator=generator, dtype=torch.float64)
    heavy[:2, 0], heavy[2, 1] = torch.tensor([50.0, 300.0]), -80.0
    constant = torch.full((n, 1), 7.5, dtype=torch.float64)
    return torch.cat([plain, heavy, constant], 1)


def no_exact(features):
    return torch.zeros(features.shape[1], dtype=torch.bool)


def test_training_vectors_come_back_outliers_and_constants_included():
    features = vectors()
    normalizer = Normalizer.fit(features, exact=no_exact(features))
    unit = normalizer.normalize(features)
    assert unit.min() >= 0
    assert unit.max() <= 1
    torch.testing.assert_close(normalizer.restore(unit), features, rtol=1e-9, atol=1e-9)
    assert normalizer.tail_high[2] > 0
    assert normalizer.tail_low[3] > 0
    assert normalizer.tail_high[0] == 0
    assert (unit[:, 4] == 0.5).all()


def test_outliers_take_no_more_than_the_margin_of_the_range():
    features = vectors()
    unit = Normalizer.fit(features, exact=no_exact(features)).normalize(features)
    assert unit[:, 2].quantile(0.99) - unit[:, 2].quantile(0.01) > 0.6
    assert unit[1, 2] == 1
    assert 1 - MARGIN < unit[0, 2] < 0.99


@given(st.integers(0, 10_000))
def test_the_map_is_monotone(seed):
    features = vectors(seed, n=300)
    unit = Normalizer.fit(features, exact=no_exact(features)).normalize(features)
    for column in range(4):
        order = features[:, column].argsort()
        assert (unit[order, column].diff() >= 0).all()


def test_exact_features_are_scaled_by_their_ends_alone():
    features = vectors()
    exact = torch.ones(5, dtype=torch.bool)
    normalizer = Normalizer.fit(features, exact=exact)
    assert not normalizer.tail_low.any()
    assert not normalizer.tail_high.any()
    column = features[:, 2]
    expected = (column - column.min()) / (column.max() - column.min())
    torch.testing.assert_close(normalizer.normalize(features)[:, 2], expected)


def test_values_beyond_the_training_vectors_are_clipped():
    features = vectors()
    normalizer = Normalizer.fit(features, exact=no_exact(features))
    unit = normalizer.normalize(torch.full((1, 5), 1e6, dtype=torch.float64))
    torch.testing.assert_close(unit[0, :4], torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close(
        normalizer.restore(torch.full((1, 5), 9.0)).double()[0, :4], features.amax(0)[:4]
    )


def test_tensors_rebuild_the_map():
    features = vectors()
    normalizer = Normalizer.fit(features, exact=no_exact(features))
    again = Normalizer.from_tensors(normalizer.tensors())
    assert torch.equal(again.normalize(features), normalizer.normalize(features))


@pytest.mark.parametrize(
    ("features", "message"),
    [(torch.zeros(0, 3), "0 vectors"), (torch.tensor([[0.0, float("nan")]]), "NaN or infinity")],
)
def test_what_cannot_be_fitted_is_refused(features, message):
    with pytest.raises(ValueError, match=message):
        Normalizer.fit(features, exact=no_exact(features))


def test_where_training_has_no_tail_what_lies_beyond_is_cut():
    features = vectors()
    normalizer = Normalizer.fit(features, exact=no_exact(features))
    beyond = features.clone()
    beyond[:, 0] = features[:, 0].max() + 100.0
    assert (normalizer.normalize(beyond)[:, 0] == normalizer.normalize(features)[:, 0].max()).all()
