import torch
from hypothesis import given
from hypothesis import strategies as st
from symmetric_crystals import choices, protostructure_of

from descriptors.symmetry.encoding import encode_protostructures
from repdiff.networks.protostructure.encoder import ProtostructureEncoder, ProtostructureEncoderSettings

ELEMENTS = (3, 8, 22, 38, 92)


def small_encoder() -> ProtostructureEncoder:
    torch.manual_seed(0)
    return ProtostructureEncoder(ProtostructureEncoderSettings(elements=ELEMENTS, width=16)).double()


def encoded(protostructures, max_orbits=8):
    return torch.from_numpy(encode_protostructures(protostructures, max_orbits=max_orbits))


@given(choices(), st.integers(0, 100))
def test_the_order_of_orbits_and_the_room_for_more_do_not_count(choice, seed):
    encoder, known = small_encoder(), encoded([protostructure_of(choice)])
    n_orbits = int((known[0, 1::2] > 0).sum())
    order = torch.randperm(n_orbits, generator=torch.Generator().manual_seed(seed))
    shuffled = known.clone()
    shuffled[0, 1 : 1 + 2 * n_orbits] = known[0, 1 : 1 + 2 * n_orbits].reshape(-1, 2)[order].flatten()
    torch.testing.assert_close(encoder(shuffled), encoder(known))
    torch.testing.assert_close(encoder(known[:, : 1 + 2 * n_orbits]), encoder(known))


@given(st.lists(choices(), min_size=2, max_size=5))
def test_each_protostructure_is_encoded_on_its_own(several):
    encoder, known = small_encoder(), encoded([protostructure_of(choice) for choice in several])
    alone = torch.cat([encoder(known[row : row + 1]) for row in range(len(known))])
    torch.testing.assert_close(encoder(known), alone)


def test_element_position_and_group_are_told_apart():
    encoder = small_encoder()
    rows = torch.tensor(
        [
            [221, 38, 1, 22, 2, 8, 3],  # perovskite
            [221, 22, 1, 38, 2, 8, 3],  # its cations exchanged
            [221, 38, 1, 22, 2, 8, 4],  # anions on another position
            [225, 38, 1, 22, 2, 8, 3],  # another group
        ]
    )
    found = encoder(rows)
    for first in range(4):
        for second in range(first):
            assert (found[first] - found[second]).abs().max() > 1e-3


def test_every_weight_receives_a_gradient():
    encoder = small_encoder()
    encoder(torch.tensor([[221, 38, 1, 22, 2, 8, 3]])).square().sum().backward()
    for label, parameter in encoder.named_parameters():
        assert parameter.grad is not None, label
        assert parameter.grad.abs().max() > 0, label
