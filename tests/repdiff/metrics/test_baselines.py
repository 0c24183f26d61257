import pytest
from sample_crystals import cubic_perovskite

from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet
from repdiff.metrics.baselines import compute_baselines

CRYSTALS = [cubic_perovskite(f"p{number}", a_site=number) for number in (38, 56, 20, 57, 39)]


def sizes(n_known, *, n, training=None):
    """What each baseline compared with what, in crystals."""
    context = Context(
        reference=CrystalSet(crystals=CRYSTALS[:n_known]),
        training=None if training is None else CrystalSet(crystals=CRYSTALS[:training]),
    )
    found = compute_baselines(context, n=n, metrics=["distributions"], halves=True)
    return {name: one.results["distributions"].values["emd_density"].sizes for name, one in found.items()}


@pytest.mark.parametrize(
    ("n_known", "n", "expected"),
    [
        (2, 9, {"reference": (1, 1), "halves": (1, 1)}),
        (5, 1, {"reference": (1, 4), "halves": (3, 2)}),
        (5, 9, {"reference": (2, 3), "halves": (3, 2)}),
        (4, 9, {"reference": (2, 2), "halves": (2, 2)}),
    ],
)
def test_a_baseline_draws_as_many_as_asked_and_leaves_half_to_compare_with(n_known, n, expected):
    assert sizes(n_known, n=n) == expected


@pytest.mark.parametrize(("n", "drawn"), [(2, 2), (9, 4)])
def test_training_crystals_are_compared_with_all_of_the_reference(n, drawn):
    assert sizes(3, n=n, training=4)["training"] == (drawn, 3)


@pytest.mark.parametrize("n_known", [0, 1])
def test_fewer_than_two_known_crystals_are_refused(n_known):
    with pytest.raises(UserError, match="needs at least 2 known crystals"):
        sizes(n_known, n=1)


def test_metrics_of_relaxed_crystals_alone_have_no_baseline():
    known = CrystalSet(crystals=CRYSTALS)
    assert compute_baselines(Context(reference=known, training=known), n=2, metrics=["stability"]) == {}
