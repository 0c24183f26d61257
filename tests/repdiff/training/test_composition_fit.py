import pytest
import torch
from stand_in_gpu import stand_in_gpu

from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModelSettings
from repdiff.training.composition import fit_compositions, mean_loss

SMALL = CompositionModelSettings(
    width=32, n_blocks=1, min_steps=150, max_epochs=1, batch_size=64, warmup_steps=10
)
ELEMENTS = (8, 9, 12, 20, 22, 38)


def perovskites():
    """Two cations of two, three anions of one kind: 8 formulas, 10 atoms a cell in half of them."""
    rows = [
        [3 * (x == 8), 3 * (x == 9), a == 12, a == 20, b == 22, b == 38]
        for a in (12, 20)
        for b in (22, 38)
        for x in (8, 9)
    ]
    rows = torch.tensor(rows, dtype=torch.long)
    return torch.cat([rows, 2 * rows])


def fit(counts, validation=None, elements=ELEMENTS, *, seed=0, **settings):
    settings = SMALL.model_copy(update=settings)
    return fit_compositions(counts, validation, elements, settings, seed=seed, progress=False)


def draw(model, n, seed=0):
    return model.sample(n, generator=torch.Generator().manual_seed(seed))


def test_the_fitted_model_generates_formulas_of_the_training_set():
    counts = perovskites()
    model = fit(counts.repeat(20, 1), min_steps=400)
    assert mean_loss(model, counts) == pytest.approx(torch.tensor(8.0).log().item(), abs=0.1)
    known = {tuple(row) for row in counts.tolist()}
    found = [tuple(row) in known for row in draw(model, 500).tolist()]
    assert sum(found) / len(found) > 0.95
    assert set(draw(model, 500).sum(1).tolist()) == {5, 10}


def test_a_gpu_fits_as_the_processor():
    counts = perovskites()
    here = mean_loss(fit(counts, min_steps=20), counts)
    with stand_in_gpu() as gpu:
        there = mean_loss(fit(counts.to(gpu), min_steps=20), counts.to(gpu))
    assert there == pytest.approx(here, rel=1e-4)


def test_a_fit_depends_on_its_seed_alone():
    counts = perovskites()
    torch.manual_seed(1)
    first = fit(counts, min_steps=20).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = fit(counts, min_steps=20).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = fit(counts, min_steps=20, seed=1).state_dict()
    assert not torch.equal(first["prefix_in.weight"], other["prefix_in.weight"])


def test_the_weights_kept_are_those_of_the_lowest_validation_loss():
    fluorides, oxides = (perovskites()[perovskites()[:, column] > 0] for column in (1, 0))
    model = fit(fluorides, oxides, min_steps=300)  # the better it fits, the worse it becomes
    assert mean_loss(model, oxides) <= mean_loss(
        fit(fluorides, oxides, min_steps=1, learning_rate=1e-9), oxides
    )


def test_larger_crystals_of_the_validation_set_are_left_out():
    counts = perovskites()
    small = counts[counts.sum(1) == 5]
    with_large = fit(small, counts, min_steps=20).state_dict()
    without = fit(small, small, min_steps=20).state_dict()
    assert all(torch.equal(with_large[name], without[name]) for name in without)
    assert fit(small, counts[counts.sum(1) == 10], min_steps=2).n_max == 5


def test_a_single_element_needs_no_fit():
    counts = torch.tensor([[4], [6], [6]])
    model = fit(counts, elements=(6,), min_steps=10**9)
    assert mean_loss(model, counts) == 0
    assert set(draw(model, 50).flatten().tolist()) == {4, 6}
    torch.testing.assert_close(model.log_prob(counts).exp(), torch.tensor([1 / 3, 2 / 3, 2 / 3]))


@pytest.mark.parametrize("n_crystals", [1, 2, 3])
def test_a_handful_of_crystals_is_enough(n_crystals):
    counts = perovskites()[:n_crystals]
    assert (draw(fit(counts, min_steps=5), 10).sum(1) == 5).all()


def test_no_crystals_are_refused():
    with pytest.raises(UserError, match="0 training crystals"):
        fit(perovskites()[:0])


@pytest.mark.parametrize("row", [[0, 0, 0, 0, 0, 0], [3, 0, -1, 1, 0, 0]])
@pytest.mark.parametrize("what", ["training", "validation"])
def test_rows_that_are_no_composition_are_named(row, what):
    good = perovskites()
    bad = torch.cat([good, torch.tensor([row])])
    with pytest.raises(ValueError, match=f"{what} counts: 1 rows.* row 16"):
        fit(*((bad, None) if what == "training" else (good, bad)))


def test_columns_without_an_element_are_refused():
    with pytest.raises(ValueError, match="6 columns, expected 5"):
        fit(perovskites(), elements=ELEMENTS[:5])


def test_a_loss_that_is_not_finite_ends_the_fit():
    with pytest.raises(UserError, match="lower `learning_rate`"):
        fit(perovskites(), learning_rate=1e30, clip_norm=1e30)
