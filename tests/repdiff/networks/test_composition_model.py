import itertools

import pytest
import torch
from scipy.stats import chisquare

from repdiff.errors import UserError
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.networks.element_table import ElementTable
from repdiff.networks.random_streams import choose
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint, tensors_under

SMALL = CompositionModelSettings(width=16, n_blocks=1)
ELEMENTS = (2, 8, 12, 14, 58)  # He without electronegativity, O, Mg, Si, Ce
SIZE_COUNTS = torch.tensor([0, 3, 0, 5, 2])  # crystals of 1, 3 and 4 atoms


def build(elements=ELEMENTS, size_counts=SIZE_COUNTS, *, settings=SMALL, stir=1.0, seed=0):
    """A model far from uniform."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = CompositionModel(settings, elements, size_counts)
        for parameter in model.parameters():
            parameter.data += stir * 0.3 * torch.randn(parameter.shape)
    return model.eval()


def all_compositions(n_elements, n_max):
    rows = [row for row in itertools.product(range(n_max + 1), repeat=n_elements) if 1 <= sum(row) <= n_max]
    return torch.tensor(rows)


def probabilities(model, compositions):
    return model.log_prob(compositions).detach().double().exp()


def draw(model, n, *, seed=0, **options):
    return model.sample(n, generator=torch.Generator().manual_seed(seed), **options)


@pytest.mark.parametrize("stir", [0.0, 1.0, 10.0])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_counts_add_up_to_a_size_of_the_training_set_for_any_weights(stir, temperature):
    counts = draw(build(stir=stir), 500, temperature=temperature)
    assert (counts >= 0).all()
    assert set(counts.sum(1).tolist()) == {1, 3, 4}


@pytest.mark.parametrize("elements", [ELEMENTS, (6,), (1, 2)])
@pytest.mark.parametrize("stir", [0.0, 1.0])
def test_the_probabilities_of_all_compositions_add_up_to_one(elements, stir):
    model = build(elements, stir=stir)
    total = probabilities(model, all_compositions(len(elements), 4)).sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("n_atoms", [1, 2, 3, 4])
def test_the_probabilities_given_any_size_add_up_to_one(n_atoms):
    compositions = all_compositions(len(ELEMENTS), 4)
    compositions = compositions[compositions.sum(1) == n_atoms]
    total = build().log_prob_given_size(compositions).detach().exp().sum()
    assert float(total) == pytest.approx(1, abs=1e-5)


def test_sizes_have_the_frequencies_of_the_training_set_and_others_no_probability():
    model = build()
    compositions = torch.cat([all_compositions(len(ELEMENTS), 4), torch.tensor([[0, 9, 0, 0, 0]])])
    probability, sizes = probabilities(model, compositions), compositions.sum(1)
    for size, expected in ((1, 0.3), (2, 0.0), (3, 0.5), (4, 0.2), (9, 0.0)):
        assert float(probability[sizes == size].sum()) == pytest.approx(expected, abs=1e-5)
    assert model.log_prob(torch.tensor([[0, 9, 0, 0, 0]])).isneginf().all()


def test_sampled_frequencies_agree_with_the_probabilities():
    model, n = build((8, 14, 38), torch.tensor([0, 1, 0, 3]), stir=0.3), 20_000
    compositions = all_compositions(3, 3)
    compositions = compositions[compositions.sum(1) != 2]
    expected = probabilities(model, compositions)
    observed = (draw(model, n)[:, None] == compositions).all(2).sum(0)
    assert int(observed.sum()) == n
    expected = n * expected / expected.sum()  # the sum is 1 in single precision
    assert expected.min() > 5
    assert chisquare(observed.numpy(), expected.numpy()).pvalue > 1e-3


def test_a_low_temperature_takes_the_likeliest_choices():
    model = build(size_counts=torch.tensor([0, 1]))  # one atom: one choice of an element
    compositions = torch.eye(len(ELEMENTS), dtype=torch.long)
    likeliest = compositions[model.log_prob(compositions).argmax()]
    assert (draw(model, 50, temperature=1e-3) == likeliest).all()


def test_a_sample_depends_neither_on_its_batch_nor_on_its_shard(monkeypatch):
    model = build()
    together = draw(model, 300)
    apart = torch.cat([draw(model, n, first=first) for first, n in ((0, 7), (7, 1), (8, 292))])
    assert torch.equal(together, apart)
    monkeypatch.setattr("repdiff.networks.composition.CRYSTALS_AT_ONCE", 13)
    assert torch.equal(together, draw(model, 300))
    torch.testing.assert_close(model.log_prob(together[:20]), build().log_prob(together)[:20])


def test_samples_depend_on_the_seed_alone():
    model = build()
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = draw(model, 100)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first, draw(model.train(), 100))
    assert not torch.equal(first, draw(model, 100, seed=1))


def test_no_samples_have_the_right_shape():
    assert draw(build(), 0).shape == (0, len(ELEMENTS))


def test_columns_are_generated_in_ascending_electronegativity_and_given_in_ascending_number():
    table = ElementTable.of(ELEMENTS)
    assert [ELEMENTS[column] for column in table.order] == [58, 12, 14, 2, 8]
    model = build(size_counts=torch.tensor([0, 0, 1]))
    model.element_bias.data = torch.tensor([9e3, -9e3, -9e3, -9e3, 8e3])  # Ce, then O
    model.count[-1].bias.data = torch.tensor([9e3, -9e3])
    assert torch.equal(draw(model, 1), torch.tensor([[0, 1, 0, 0, 1]]))


def test_the_count_depends_on_the_element():
    model = build(size_counts=torch.tensor([0, 0, 0, 1]))
    hidden = model.hidden(torch.zeros(2, len(ELEMENTS), dtype=torch.long), torch.tensor([3, 3]))
    scores = model.count_logits(hidden, torch.tensor([0, 1]), torch.tensor([3, 3]))
    assert (scores[0] - scores[1]).abs().max() > 1e-3


def test_elements_are_described_by_their_place_in_the_periodic_table():
    rows = ElementTable.of((26, 58))
    iron, cerium = rows.properties[rows.order.argsort()]
    assert iron[:25].nonzero()[:, 0].tolist() == [7, 18 + 3]
    assert iron[25] == 0
    assert cerium[25] == 1
    assert float(iron[26]) == pytest.approx(1.83 - 2)
    assert (iron[27:].nonzero()[:, 0] - 4).tolist() == [2, 3]


def test_all_118_elements_are_known():
    properties = ElementTable.of(tuple(range(1, 119))).properties
    assert torch.isfinite(properties).all()
    assert len(properties.unique(dim=0)) > 90


def test_every_weight_receives_a_gradient():
    model = build(settings=CompositionModelSettings(width=16, n_blocks=2))
    counts = draw(model, 200)
    model.log_prob(counts).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
        assert parameter.grad.abs().max() > 0, name


def test_one_element_and_one_size_leave_nothing_to_learn():
    model = build((6,), torch.tensor([0, 0, 0, 0, 4]))
    assert draw(model, 5).tolist() == [[4]] * 5
    assert model.log_prob(torch.tensor([[4]])).tolist() == [0]


def test_a_model_in_a_larger_checkpoint_is_restored(tmp_path, monkeypatch):
    model = build()
    tensors, metadata = model.tensors_and_metadata()
    named = {f"composition.{name}": tensor for name, tensor in tensors.items()}
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {**named, "other": torch.zeros(2)}, {"composition": metadata}, kind="test")
    monkeypatch.setattr(ElementTable, "of", None)  # what is known about elements comes from the file
    tensors, header = load_checkpoint(path, kind="test")
    restored = CompositionModel.from_tensors_and_metadata(
        tensors_under("composition.", tensors)[0], header["composition"]
    )
    assert torch.equal(draw(model, 100), draw(restored, 100))
    assert restored.elements == ELEMENTS
    assert restored.settings == model.settings


@pytest.mark.parametrize("lost", ["order", "size_counts", "prefix_in.weight"])
def test_an_incomplete_checkpoint_is_refused(lost):
    tensors, metadata = build().tensors_and_metadata()
    del tensors[lost]
    with pytest.raises(UserError, match="cannot be restored"):
        CompositionModel.from_tensors_and_metadata(tensors, metadata)


def test_a_checkpoint_with_unknown_settings_is_refused():
    tensors, metadata = build().tensors_and_metadata()
    metadata["settings"]["depth"] = 3
    with pytest.raises(UserError, match="depth"):
        CompositionModel.from_tensors_and_metadata(tensors, metadata)


@pytest.mark.parametrize("elements", [(), (8, 8), (14, 8)])
def test_elements_must_ascend(elements):
    with pytest.raises(ValueError, match="ascending"):
        build(elements)


@pytest.mark.parametrize("size_counts", [[0], [1, 2], [0, 3, 0]])
def test_the_histogram_of_sizes_must_begin_with_0_and_end_with_crystals(size_counts):
    with pytest.raises(ValueError, match="at least one atom"):
        build(size_counts=torch.tensor(size_counts))


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(UserError, match="temperature"):
        draw(build(), 1, temperature=temperature)


def test_impossible_choices_are_never_taken():
    scores = torch.tensor([[-torch.inf, 0.0, -torch.inf, 0.0, -torch.inf]]).expand(3, -1)
    uniform = torch.tensor([0.0, 0.5, 1 - 2**-53], dtype=torch.float64)
    assert choose(scores.double(), uniform).tolist() == [1, 3, 3]
