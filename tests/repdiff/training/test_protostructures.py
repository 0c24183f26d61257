"""How the training of the model of protostructures chooses settings and counts errors."""

import pytest
import torch

from descriptors.symmetry.protostructure import Protostructure
from repdiff.networks.protostructure import ProtostructureModel, ProtostructureModelSettings
from repdiff.networks.protostructure.prototypes import PrototypeTable
from repdiff.networks.protostructure.sizes import SizeTable
from repdiff.training.protostructures import (
    ProtostructureData,
    ProtostructureExamples,
    ProtostructureTraining,
)

ELEMENTS = (3, 8, 22, 38)
KNOWN = [
    Protostructure.of(221, [(38, "a"), (22, "b"), (8, "c")]),
    Protostructure.of(136, [(22, "a"), (8, "f")]),
    Protostructure.of(2, [(8, "i"), (22, "i"), (3, "a"), (3, "h")]),
]


@pytest.fixture(scope="module")
def model():
    small = ProtostructureModelSettings(width=16, n_blocks=1, dropout=0.0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return (
            ProtostructureModel(small, ELEMENTS, SizeTable.of(KNOWN), PrototypeTable.of(KNOWN))
            .double()
            .eval()
        )


@pytest.fixture(scope="module")
def data(model):
    return ProtostructureData(model.coder.encode(KNOWN))


def test_each_crystal_is_shown_in_all_its_settings_and_in_those_alone(model, data):
    rows, generator = torch.tensor([2, 0, 1]), torch.Generator().manual_seed(0)
    training, seen = ProtostructureTraining(model), set()
    for _ in range(200):
        shown = training.inputs(data, rows, slice(0, 3), generator).sequences
        assert shown.crystal.tolist() == rows.tolist()
        for row in range(3):
            seen.add((int(shown.crystal[row]), *shown.letter[row, shown.present[row]].tolist()))
    sequences = data.sequences
    assert seen == {
        (int(sequences.crystal[row]), *sequences.letter[row, sequences.present[row]].tolist())
        for row in range(len(sequences))
    }
    assert len(seen) > 2 * len(KNOWN)


def test_the_log_shows_the_nats_of_a_whole_crystal_and_of_one_of_its_orbits(model, data):
    inputs = data.sequences.rows(torch.arange(len(data.sequences)))
    nowhere = torch.full((len(data.sequences), 2), -1)
    loss, errors = ProtostructureTraining(model)(ProtostructureExamples(inputs, {}, nowhere))
    nats = -model.step_log_prob(inputs).detach().sum()
    by_crystal, by_orbit = nats / len(data.sequences), nats / inputs.present.sum()
    torch.testing.assert_close(errors, torch.stack([by_crystal, by_orbit]))
    torch.testing.assert_close(loss.detach(), by_orbit)
