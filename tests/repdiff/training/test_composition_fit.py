import pytest
import torch
from stand_in_gpu import stand_in_gpu

from repdiff.backends.structrepdiff_stages import formula_stage
from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.settings.training import TrainingSettings
from repdiff.training import train
from repdiff.training.composition import CompositionData, CompositionTraining, mean_loss

ELEMENTS = (8, 9, 12, 20, 22, 38)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    small = CompositionModelSettings(width=32, n_blocks=1)
    monkeypatch.setattr("repdiff.backends.structrepdiff_stages.CompositionModelSettings", lambda: small)


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


def fit(
    folder, counts, validation=None, elements=ELEMENTS, *, seed=0, steps=20, **settings
) -> CompositionModel:
    stage = formula_stage(
        {"train": counts, "val": counts[:0] if validation is None else validation},
        elements,
        share=0.5,
        seed=seed,
    )
    chosen = {
        "max_steps": steps,
        "batch_size": 64,
        "warmup_steps": 10,
        "seed": seed,
        **stage.settings,
        **settings,
    }
    train(
        stage.model,
        stage.training,
        stage.validation,
        TrainingSettings.model_validate(chosen),
        folder,
        metadata={},
        tensors={},
        progress=False,
    )
    assert isinstance(stage.model, CompositionTraining)
    return stage.model.model


def draw(model, n, seed=0):
    return model.sample(n, generator=torch.Generator().manual_seed(seed))


def test_the_fitted_model_generates_formulas_of_the_training_set(tmp_path):
    counts = perovskites()
    model = fit(tmp_path, counts.repeat(20, 1), steps=400)
    assert mean_loss(model, counts) == pytest.approx(torch.tensor(8.0).log().item(), abs=0.1)
    known = {tuple(row) for row in counts.tolist()}
    found = [tuple(row) in known for row in draw(model, 500).tolist()]
    assert sum(found) / len(found) > 0.95
    assert set(draw(model, 500).sum(1).tolist()) == {5, 10}


def test_the_loss_is_that_of_the_model_on_a_gpu_too():
    counts = perovskites()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = CompositionModel(
            CompositionModelSettings(width=16), ELEMENTS, torch.bincount(counts.sum(1))
        ).eval()
    data = CompositionData("training", counts, ELEMENTS)
    rows, generator = torch.arange(len(counts)), torch.Generator()

    def errors(training, device):
        moved = data.to(device)
        inputs = training.inputs(moved, rows.to(device), slice(0, len(rows)), generator)
        return training(inputs)[1].cpu()

    here = errors(CompositionTraining(model), torch.device("cpu"))
    assert float(here[0]) == pytest.approx(mean_loss(model, counts), rel=1e-5)
    assert float(here[1]) == pytest.approx(float(here[0]) / 3, rel=1e-5)  # three elements in each formula
    with stand_in_gpu() as gpu:
        there = errors(CompositionTraining(model.to(gpu)), gpu)
    torch.testing.assert_close(there, here)


def test_a_fit_depends_on_its_seed_alone(tmp_path):
    counts = perovskites()
    torch.manual_seed(1)
    first = fit(tmp_path / "a", counts).state_dict()
    torch.manual_seed(2)
    state = torch.get_rng_state()
    again = fit(tmp_path / "b", counts).state_dict()
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(first[name], again[name]) for name in first)
    other = fit(tmp_path / "c", counts, seed=1).state_dict()
    assert not torch.equal(first["prefix_in.weight"], other["prefix_in.weight"])


def test_larger_crystals_of_the_validation_set_are_left_out():
    counts = perovskites()
    small = counts[counts.sum(1) == 5]
    stage = formula_stage({"train": small, "val": counts}, ELEMENTS, share=0.5, seed=0)
    assert len(stage.validation) == 8
    assert len(formula_stage({"train": small, "val": 2 * small}, ELEMENTS, share=0.5, seed=0).validation) == 0


def test_a_single_element_needs_one_epoch_only(tmp_path):
    counts = torch.tensor([[4], [6], [6]])
    assert formula_stage({"train": counts, "val": counts}, (6,), share=0.5, seed=0).max_epochs == 1
    model = fit(tmp_path, counts, elements=(6,), steps=1)
    assert mean_loss(model, counts) == 0
    assert set(draw(model, 50).flatten().tolist()) == {4, 6}
    torch.testing.assert_close(model.log_prob(counts).exp(), torch.tensor([1 / 3, 2 / 3, 2 / 3]))


@pytest.mark.parametrize("n_crystals", [1, 2, 3])
def test_a_handful_of_crystals_is_enough(n_crystals, tmp_path):
    counts = perovskites()[:n_crystals]
    assert (draw(fit(tmp_path, counts, steps=5), 10).sum(1) == 5).all()


def test_no_crystals_are_refused():
    with pytest.raises(UserError, match="0 training crystals"):
        formula_stage({"train": perovskites()[:0], "val": perovskites()}, ELEMENTS, share=0.5, seed=0)


@pytest.mark.parametrize("row", [[0, 0, 0, 0, 0, 0], [3, 0, -1, 1, 0, 0]])
@pytest.mark.parametrize("what", ["training", "validation"])
def test_rows_that_are_no_composition_are_named(row, what):
    bad = torch.cat([perovskites(), torch.tensor([row])])
    with pytest.raises(ValueError, match=f"{what} counts: 1 rows.* row 16"):
        CompositionData(what, bad, ELEMENTS)


def test_columns_without_an_element_are_refused():
    with pytest.raises(ValueError, match="6 columns, expected 5"):
        CompositionData("training", perovskites(), ELEMENTS[:5])
