from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.settings import canonical
from descriptors.symmetry.space_group import LETTERS, space_group
from repdiff.errors import UserError
from repdiff.networks.protostructure import (
    ProtostructureModel,
    ProtostructureModelSettings,
    ProtostructureRequest,
    sample_protostructures,
)
from repdiff.networks.protostructure.prototypes import PrototypeTable
from repdiff.networks.protostructure.sizes import SizeTable
from repdiff.settings.training import TrainingSettings
from repdiff.training import train
from repdiff.training.protostructures import ProtostructureData, ProtostructureTraining

ELEMENTS = (3, 8, 22, 38)
SMALL = ProtostructureModelSettings(width=16, n_blocks=1, dropout=0.0)
KNOWN = [
    Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")]),
    Protostructure.of(225, [(3, "a"), (8, "b")]),
    Protostructure.of(136, [(22, "a"), (8, "f")]),
    Protostructure.of(62, [(38, "c"), (22, "b"), (8, "c"), (8, "d")]),
    Protostructure.of(2, [(8, "i"), (8, "i"), (22, "i"), (3, "a"), (3, "h")]),
    Protostructure.of(1, [(8, "a"), (8, "a"), (3, "a")]),
]


def random_model(known=KNOWN, elements=ELEMENTS, *, seed=0) -> ProtostructureModel:
    torch.manual_seed(seed)
    model = (
        ProtostructureModel(SMALL, elements, SizeTable.of(known), PrototypeTable.of(known)).double().eval()
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def all_of(number: int, n_atoms: int, n_elements: int, elements: tuple[int, ...]) -> list[Protostructure]:
    """Write down every protostructure of a group with so many atoms and elements."""
    offers = [
        (element, position.letter, position.primitive_multiplicity, position.n_free == 0)
        for element in elements
        for position in space_group(number).positions
    ]

    def fill(start: int, left: int, taken: frozenset[str]) -> Iterator[list[tuple[int, str]]]:
        if left == 0:
            yield []
        for place, (element, letter, size, fixed) in enumerate(offers[start:], start):
            if size <= left and letter not in taken:
                now = taken | {letter} if fixed else taken
                yield from ([(element, letter), *rest] for rest in fill(place, left - size, now))

    chosen = [orbits for orbits in fill(0, n_atoms, frozenset()) if len({e for e, _ in orbits}) == n_elements]
    return [Protostructure.of(number, orbits) for orbits in chosen]


@pytest.mark.parametrize(
    ("number", "n_atoms", "n_elements"), [(1, 3, 2), (2, 3, 1), (47, 2, 2), (221, 5, 2), (225, 3, 2)]
)
def test_probabilities_of_all_that_can_exist_add_up_to_one(number, n_atoms, n_elements):
    model = random_model(elements=(3, 8, 22))
    every = all_of(number, n_atoms, n_elements, (3, 8, 22))
    sequences = model.coder.encode(every, all_settings=False)
    total = model.step_log_prob(sequences).sum(1).exp().sum()
    torch.testing.assert_close(total, torch.ones((), dtype=torch.float64))


def test_the_log_probability_sums_over_settings_and_the_frequency_of_the_size():
    model = random_model()
    rutile = KNOWN[2]
    sequences = model.coder.encode([rutile])
    orbits = model.step_log_prob(sequences).sum(1).exp().sum()
    size = model.sizes.table[136, 6, 2]
    torch.testing.assert_close(model.log_prob(sequences)[0], (orbits * size).log())


def test_draws_have_the_probabilities_of_the_model():
    known = [Protostructure.of(225, [(3, "a"), (8, "b")])]
    model = random_model(known)
    every = all_of(225, 2, 2, ELEMENTS)
    draws = sample_protostructures(model, 4000, generator=torch.Generator().manual_seed(1))
    counts = Counter(draw.protostructure for draw in draws)
    expected = model.step_log_prob(model.coder.encode(every, all_settings=False)).sum(1).exp()
    seen = torch.tensor([counts[one] for one in every]) / len(draws)
    assert sum(counts[one] for one in every) == pytest.approx(4000 * 0.99, abs=40 * 1.6)
    assert (seen - 0.99 * expected).abs().max() < 4 * (expected.max() / 4000) ** 0.5


def test_draws_under_a_condition_have_the_conditional_probabilities():
    known = [Protostructure.of(number, [(3, "a"), (8, "b"), (22, "c")]) for number in (221, 215, 215)]
    model = random_model(known)
    request = ProtostructureRequest.of_formula({3: 1, 8: 1, 22: 3})
    every = [
        one for group in (221, 215) for one in all_of(group, 5, 3, (3, 8, 22)) if one.composition()[22] == 3
    ]
    sequences = model.coder.encode(every, all_settings=False)
    sizes = model.sizes.log_prob(sequences.group, sequences.n_atoms, sequences.n_elements)
    expected = (model.step_log_prob(sequences).sum(1) + sizes).softmax(0).detach()
    draws = sample_protostructures(
        model, 600, generator=torch.Generator().manual_seed(0), requests=[request] * 600, n_candidates=32
    )
    counts = Counter(draw.protostructure for draw in draws)
    assert set(counts) <= set(every)
    seen = torch.tensor([counts[one] for one in every]) / 600
    # the total variation of 600 draws from 'expected' itself is about sqrt(k / (2 pi n))
    assert 0.5 * (seen - expected).abs().sum() < 0.5 * float((expected * 2 / 600 / np.pi).sqrt().sum()) * 1.6


RUTILES = ({8: 2, 22: 1}, {8: 4, 22: 2})


@pytest.mark.parametrize(
    ("request_", "holds"),
    [
        (
            ProtostructureRequest.of_formula({22: 1, 8: 2}, formula_units=[1, 2]),
            lambda one: one.composition() in RUTILES,
        ),
        (ProtostructureRequest.of_system([3, 22, 8]), lambda one: one.elements == (3, 8, 22)),
        (ProtostructureRequest(groups=frozenset({62, 2})), lambda one: one.number in (62, 2)),
        (ProtostructureRequest(n_atoms=frozenset({5, 6})), lambda one: one.n_atoms() in (5, 6)),
        (ProtostructureRequest(allowed=frozenset({3, 38})), lambda one: set(one.elements) <= {3, 38}),
        (ProtostructureRequest(required=frozenset({38})), lambda one: 38 in one.elements),
        (
            ProtostructureRequest.of_system([22, 8], groups=[136]),
            lambda one: (one.elements, one.number) == ((8, 22), 136),
        ),
    ],
)
def test_every_draw_satisfies_what_was_asked_for(request_, holds):
    model = random_model()
    draws = sample_protostructures(
        model, 100, generator=torch.Generator().manual_seed(3), requests=[request_] * 100, n_candidates=4
    )
    found = [draw.protostructure for draw in draws]
    assert None not in found
    assert all(holds(one) for one in found)


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        (ProtostructureRequest.of_formula({22: 1, 8: 2}, groups=[136]), "no space group"),
        (ProtostructureRequest(groups=frozenset({194})), "space group 194"),
        (ProtostructureRequest.of_formula({11: 1, 17: 1}), "Na, Cl"),
        (ProtostructureRequest(n_atoms=frozenset({40})), "40 atoms"),
        (ProtostructureRequest(allowed=frozenset({3}), required=frozenset({8})), "not allowed"),
    ],
)
def test_what_nothing_can_satisfy_is_said_and_not_drawn(request_, words):
    draws = sample_protostructures(
        random_model(), 2, generator=torch.Generator().manual_seed(0), requests=[request_] * 2
    )
    assert [draw.protostructure for draw in draws] == [None, None]
    assert words in draws[0].reason


@settings(max_examples=15)
@given(seed=st.integers(0, 1000), first=st.integers(0, 5))
def test_a_draw_does_not_depend_on_its_company(seed, first):
    model = random_model()
    together = sample_protostructures(model, 8, generator=torch.Generator().manual_seed(seed))
    alone = sample_protostructures(model, 2, generator=torch.Generator().manual_seed(seed), first=first)
    assert together[first : first + 2] == alone


def test_what_begins_alike_goes_through_the_network_once(monkeypatch):
    model, seen = random_model(), []
    plain = ProtostructureModel.hidden

    def counted(self, prefix, *rest):
        seen.append(len(prefix.group))
        return plain(self, prefix, *rest)

    monkeypatch.setattr(ProtostructureModel, "hidden", counted)
    draws = sample_protostructures(
        model, 64, generator=torch.Generator().manual_seed(0), prototype_share=1.0, n_candidates=16
    )
    sizes = {(known.number, known.n_atoms(), len(known.elements)) for known in KNOWN}
    assert all(draw.protostructure is not None for draw in draws)
    assert seen[0] <= len(sizes)  # of 64 * 16 rows: nothing is drawn yet but a prototype
    assert seen[1] <= len(sizes) * len(ELEMENTS) * len(LETTERS)


@pytest.mark.parametrize("number", [1, 62, 221, 225])
def test_letters_score_the_same_with_and_without_gradients(number):
    model, generator = random_model(), torch.Generator().manual_seed(0)
    hidden, element = torch.randn(2, 9, SMALL.width, generator=generator, dtype=torch.float64)
    group = torch.tensor([number, 2, 221] * 3)
    positions = model.position_vectors()
    learning = model.letter_logits(hidden, element, group, positions).detach()
    with torch.no_grad():
        drawing = model.letter_logits(hidden, element, group, positions)
    torch.testing.assert_close(drawing, learning)


def test_equivalent_settings_are_rows_of_one_crystal_and_decode_to_it():
    model = random_model()
    sequences = model.coder.encode(KNOWN)
    for row in range(len(sequences)):
        present = sequences.present[row]
        found = model.coder.decode(
            int(sequences.group[row]),
            sequences.element[row][present].tolist(),
            sequences.letter[row][present].tolist(),
        )
        assert canonical(found) == canonical(KNOWN[int(sequences.crystal[row])])
    assert len(sequences) > len(KNOWN)


def test_a_low_temperature_draws_likelier_protostructures():
    model = random_model()
    means = []
    for temperature in (0.3, 1.0, 1.8):
        draws = sample_protostructures(
            model, 300, generator=torch.Generator().manual_seed(0), temperature=temperature
        )
        found = [draw.protostructure for draw in draws if draw.protostructure is not None]
        means.append(
            float(model.step_log_prob(model.coder.encode(found, all_settings=False)).sum(1).mean().detach())
        )
    assert means[0] > means[1] > means[2]


def test_a_model_survives_its_file():
    model = random_model()
    tensors, metadata = model.tensors_and_metadata()
    again = ProtostructureModel.from_tensors_and_metadata(
        {name: tensor.clone() for name, tensor in tensors.items()}, metadata
    ).double()
    sequences = model.coder.encode(KNOWN)
    torch.testing.assert_close(model.log_prob(sequences), again.log_prob(sequences), rtol=1e-5, atol=1e-5)
    assert again.prototypes.prototypes == model.prototypes.prototypes
    assert again.prototypes.counts.tolist() == model.prototypes.counts.tolist()
    with pytest.raises(UserError, match="train it again"):
        ProtostructureModel.from_tensors_and_metadata({}, metadata)


def test_the_temperature_of_the_elements_changes_no_space_group_and_no_size():
    model = random_model()
    plain, low, same = (
        sample_protostructures(
            model, 300, generator=torch.Generator().manual_seed(0), element_temperature=temperature
        )
        for temperature in (None, 0.05, 1.0)
    )
    assert plain == same
    at_once = [(a.protostructure, b.protostructure) for a, b in zip(plain, low, strict=True)
               if not a.n_dead_ends and not b.n_dead_ends]  # fmt: skip
    pairs = [(a, b) for a, b in at_once if a is not None and b is not None]
    assert len(pairs) > 100
    assert all((a.number, a.n_atoms()) == (b.number, b.n_atoms()) for a, b in pairs)
    assert len({b.elements for _, b in pairs}) < len({a.elements for a, _ in pairs})


def test_a_temperature_that_is_not_positive_is_refused():
    with pytest.raises(UserError, match="temperature is 0"):
        sample_protostructures(random_model(), 1, generator=torch.Generator(), temperature=0.0)
    with pytest.raises(UserError, match="element_temperature is -1"):
        sample_protostructures(random_model(), 1, generator=torch.Generator(), element_temperature=-1.0)


def test_letters_fit_into_the_masks():
    assert max(len(space_group(number).positions) for number in range(1, 231)) <= len(LETTERS)


def test_training_makes_the_known_protostructures_likely(tmp_path):
    torch.manual_seed(0)
    model = ProtostructureModel(SMALL, ELEMENTS, SizeTable.of(KNOWN), PrototypeTable.of(KNOWN))
    data = ProtostructureData(model.coder.encode(KNOWN))
    before = model.log_prob(data.sequences).mean()
    settings = TrainingSettings(
        max_steps=60,
        batch_size=6,
        learning_rate=1e-2,
        warmup_steps=0,
        ema_decay=0.5,
        ema_every=1,
        precision="fp32",
    )
    train(
        ProtostructureTraining(model), data, data, settings, tmp_path, metadata={}, tensors={}, progress=False
    )
    assert model.eval().log_prob(data.sequences).mean() > before + 3


def test_a_batch_takes_each_setting_of_a_crystal_alike_often():
    model = random_model()
    data = ProtostructureData(model.coder.encode(KNOWN))
    crystal = int(data.n_settings.argmax())
    rows = torch.full((4000,), crystal)
    training = ProtostructureTraining(model)
    taken = training.inputs(data, rows, slice(0, 4000), torch.Generator().manual_seed(0)).sequences
    _, counts = torch.unique(taken.letter, dim=0, return_counts=True)
    n = int(data.n_settings[crystal])
    assert len(counts) == n
    assert (counts / 4000 - 1 / n).abs().max() < 4 * (1 / n / 4000) ** 0.5
