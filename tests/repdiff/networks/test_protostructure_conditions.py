"""Properties as conditions of the model of protostructures: nothing before training, exact mixing, exact masks."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_adapters import same_labels
from repdiff.networks.property_embedding import ClassEmbedding, ScalarEmbedding
from repdiff.networks.protostructure import (
    ProtostructureModel,
    ProtostructureModelSettings,
    ProtostructureRequest,
    sample_protostructures,
)
from repdiff.networks.protostructure.conditions import TableKeys
from repdiff.networks.protostructure.prototypes import PrototypeTable
from repdiff.networks.protostructure.sizes import SizeTable
from repdiff.settings.training import TrainingSettings
from repdiff.training import train
from repdiff.training.protostructures import ProtostructureData, ProtostructureTraining

ELEMENTS = (3, 8, 22, 38)
SMALL = ProtostructureModelSettings(width=16, n_blocks=1, dropout=0.0)
KNOWN = [
    Protostructure.of(221, [(3, "a")]),
    Protostructure.of(221, [(38, "b")]),
    Protostructure.of(225, [(3, "a"), (8, "b")]),
    Protostructure.of(136, [(22, "a"), (8, "f")]),
    Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")]),
]
CPU = torch.device("cpu")


def fresh_model(*, told=True, seed=0):
    torch.manual_seed(seed)
    model = ProtostructureModel(SMALL, ELEMENTS, SizeTable.of(KNOWN), PrototypeTable.of(KNOWN)).double()
    if told:
        model.add_properties({"gap": ScalarEmbedding(0.0, 1.0), "kind": ClassEmbedding(["salt", "metal"])})
    return model.double().eval()


def random_model(**how):
    model = fresh_model(**how)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def gap(n, value, has_label=True):
    return {
        "gap": AdapterInput(
            values=torch.full((n, 1), value, dtype=torch.float64), has_label=torch.full((n,), has_label)
        )
    }


def draw(model, n, *, seed=0, **asked):
    found = sample_protostructures(model, n, generator=torch.Generator().manual_seed(seed), **asked)
    return [one.protostructure for one in found]


def test_fresh_properties_change_nothing_bit_by_bit():
    plain, told = fresh_model(told=False), fresh_model()
    sequences = plain.coder.encode(KNOWN)
    n = len(sequences)
    assert torch.equal(plain.step_log_prob(sequences), told.step_log_prob(sequences, gap(n, 0.7)))
    assert draw(plain, 40) == draw(told, 40, labels={"gap": [0.7]}, guidance=3.0)


def test_a_missing_label_is_the_same_as_none_and_a_label_is_not():
    model = random_model()
    sequences = model.coder.encode(KNOWN)
    n = len(sequences)
    without = model.step_log_prob(sequences)
    assert torch.equal(model.step_log_prob(sequences, gap(n, 0.7, has_label=False)), without)
    assert not torch.allclose(model.step_log_prob(sequences, gap(n, 0.7)), without)


def test_each_crystal_is_told_its_own_label():
    model = random_model()
    sequences = model.coder.encode(KNOWN, all_settings=False)
    n = len(sequences)
    values = torch.linspace(-1, 1, n, dtype=torch.float64)[:, None]
    both = model.step_log_prob(
        sequences, {"gap": AdapterInput(values=values, has_label=torch.ones(n, dtype=torch.bool))}
    )
    for row in range(n):
        alone = model.step_log_prob(sequences.rows(torch.tensor([row])), gap(1, float(values[row])))
        torch.testing.assert_close(both[row, : alone.shape[1]], alone[0])


@pytest.mark.parametrize("guidance", [0.5, 1.0, 2.5])
def test_draws_of_one_orbit_have_the_mixed_probabilities(guidance):
    """P(element) and p(letter | element) are each ∝ p(. | label)^γ p(.)^(1 - γ)."""
    model, value, n = random_model(), 1.2, 6000
    every = [Protostructure.of(221, [(element, letter)]) for element in ELEMENTS for letter in "ab"]
    sequences = model.coder.encode(every, all_settings=False)
    with torch.no_grad():
        joint = [model.step_log_prob(sequences, told).sum(1) for told in (gap(len(every), value), None)]
    shape = (len(ELEMENTS), 2)
    element = [one.view(shape).logsumexp(1) for one in joint]
    letter = [one.view(shape) - of.unsqueeze(1) for one, of in zip(joint, element, strict=True)]
    mixed = [(guidance * a + (1 - guidance) * b) for a, b in (element, letter)]
    expected = (mixed[0].log_softmax(0)[:, None] + mixed[1].log_softmax(1)).exp().flatten()
    only = ProtostructureRequest(groups=frozenset({221}), n_atoms=frozenset({1}))
    found = draw(model, n, labels={"gap": [value]}, guidance=guidance, requests=[only] * n, n_candidates=1)
    counts = Counter(found)
    shares = torch.tensor([counts[one] / n for one in every], dtype=torch.float64)
    torch.testing.assert_close(shares, expected, atol=0.025, rtol=0)


def test_sizes_have_their_frequencies_shifted_by_guidance():
    model, n, guidance = random_model(), 4000, 2.0
    known = model.known(same_labels({"gap": [1.2]}, 1, CPU, dtype=torch.float64))
    with torch.no_grad():
        shift = model.conditions.size_shifts(known, 1, model.size_entries)[0]
    expected = (model.size_counts.double().log() + guidance * shift).softmax(0)
    found = draw(model, n, labels={"gap": [1.2]}, guidance=guidance, n_candidates=1)
    sizes = Counter((one.number, one.n_atoms(), len(one.elements)) for one in found)
    shares = torch.tensor([sizes[tuple(entry)] / n for entry in model.size_entries.tolist()])
    # one part in 100 is for sizes that no crystal has
    torch.testing.assert_close(shares.double(), expected, atol=0.035, rtol=0)


def test_what_is_asked_exactly_stays_exact_under_strong_guidance():
    model = random_model()
    wish = ProtostructureRequest.of_system([38, 22, 8])
    found = draw(model, 60, labels={"gap": [2.0], "kind": [1.0]}, guidance=8.0, requests=[wish] * 60)
    assert all(set(one.elements) == {38, 22, 8} for one in found if one is not None)
    assert sum(one is not None for one in found) > 50


def test_labels_decide_size_and_elements_once_learnt(tmp_path):
    model = fresh_model().float()
    kinds = [0.0, 1.0, 0.0, 1.0, 0.0]
    labels = {
        "kind": AdapterInput(
            values=torch.tensor(kinds)[:, None], has_label=torch.ones(len(kinds), dtype=torch.bool)
        )
    }
    places = torch.stack([model.sizes.places(KNOWN), model.prototypes.places(KNOWN)], 1)
    data = ProtostructureData(model.coder.encode(KNOWN), labels=labels, places=places)
    settings = TrainingSettings(
        max_steps=250, batch_size=5, learning_rate=1e-2, warmup_steps=0, ema_every=1, ema_decay=0.9
    )
    training = ProtostructureTraining(model, dropout=0.2)
    train(training, data, data, settings, tmp_path, metadata={}, tensors={}, progress=False)
    model = training.model.eval()
    for kind in (0.0, 1.0):
        expected = {canonical(one) for one, own in zip(KNOWN, kinds, strict=True) if own == kind}
        for share in (0.0, 1.0):
            found = draw(model, 100, labels={"kind": [kind]}, prototype_share=share)
            shared = [canonical(one) for one in found]
            assert sum(one in expected for one in shared) > 60
            assert sum(one in set(map(canonical, KNOWN)) - expected for one in shared) < 5
    free = Counter(map(canonical, draw(model, 300)))
    assert all(free[canonical(one)] > 20 for one in KNOWN)


def test_a_model_comes_back_with_its_properties():
    model = random_model().float()
    tensors, metadata = model.tensors_and_metadata()
    again = ProtostructureModel.from_tensors_and_metadata(tensors, metadata)
    asked = {"labels": {"gap": [0.5]}, "guidance": 2.0}
    assert draw(model, 30, **asked) == draw(again, 30, **asked)
    assert list(again.conditions.adapters.properties) == ["gap", "kind"]


def test_a_size_that_the_tables_lack_adds_nothing_to_the_loss():
    model = random_model()
    strange = replace(KNOWN[0], number=225)
    assert model.sizes.places([strange, KNOWN[2]]).tolist()[0] == -1
    nowhere = torch.full((2, 2), -1)
    assert model.table_log_prob(gap(2, 1.0), nowhere).tolist() == [0.0, 0.0]


def test_gradients_of_large_tables_survive_a_low_precision():
    """A key that thousands of entries share has a gradient of thousands of small terms, which bfloat16 would lose."""
    torch.manual_seed(0)
    keys = TableKeys(16, SizeTable.of(KNOWN), PrototypeTable.of(KNOWN))
    most = (231, *(len(table) for table in (keys.atoms, keys.elements)))
    entries = torch.stack([torch.randint(n, (20_000,)) for n in most], 1)
    gradients = []
    for low in (False, True):
        query = torch.randn(8, 16, generator=torch.Generator().manual_seed(1), requires_grad=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=low):
            keys.sizes(query, entries).log_softmax(1)[:, :3].sum().backward()
        gradients.append(torch.cat([query.grad.flatten(), keys.elements.grad.flatten()]))
        keys.zero_grad()
    plain, low = gradients
    assert float((low - plain).norm() / plain.norm()) < 0.02
