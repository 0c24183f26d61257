"""The joint network: what it predicts moves with the crystal, and so does a whole step back."""

import copy

import pytest
import torch

from descriptors.batch import CrystalBatch
from repdiff.diffusion.joint import JointDiffusion, JointNoise, JointSettings
from repdiff.diffusion.joint_process import StateNoise
from repdiff.diffusion.masked_types import MASK
from repdiff.diffusion.predictor_corrector import Draws, ReverseSettings, sample
from repdiff.diffusion.symmetric_lattice import Limit
from repdiff.networks.crystal import AdapterInput, CrystalNetworkSettings
from repdiff.networks.property_embedding import PROPERTY_KINDS

ELEMENTS = torch.tensor([8, 22, 38])
NETWORK = CrystalNetworkSettings(width=16, n_blocks=2, n_neighbors=12, max_neighbors=20)
COUNTS = torch.tensor([3, 1, 4])
INDEX = torch.repeat_interleave(torch.arange(3), COUNTS)
TURN = torch.tensor(
    [[0.0, 0, -1], [1, 0, 0], [0, -1, 0]], dtype=torch.float64
)  # axes become axes, one mirrored


@pytest.fixture(scope="module")
def model():
    """A network in double precision with heads that are not zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = JointDiffusion(
            JointSettings(network=NETWORK, timesteps=100), Limit(0.07), lattice_std=0.3, elements=ELEMENTS
        ).double()
        for parameter in model.network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return model.eval()


def start(model, seed=0):
    generator = torch.Generator().manual_seed(seed)
    prior = model.process.prior(
        torch.rand(8, 3, generator=generator, dtype=torch.float64),
        0.5 * torch.randn(3, 6, generator=generator, dtype=torch.float64),
        INDEX,
    )
    return prior._replace(numbers=torch.tensor([8, MASK, 38, MASK, 22, MASK, 8, 8]))


def draws(n_steps, seed=5):
    generator = torch.Generator().manual_seed(seed)
    return [
        Draws(
            coords=torch.randn(8, 3, generator=generator, dtype=torch.float64),
            lattice=torch.randn(3, 6, generator=generator, dtype=torch.float64),
            chances=torch.rand(8, 2, generator=generator, dtype=torch.float64),
        )
        for _ in range(n_steps)
    ]


def run(model, state, noise, *, n_steps):
    def predict(at, time):
        with torch.no_grad():
            belief = model.predict(at, torch.full_like(at.counts, time))
        assert float(belief.score.abs().max()) > 1e-3
        return type(belief)(*[each.double() for each in belief])

    settings = ReverseSettings(corrector_steps=1)
    return sample(predict, state, model.process, ELEMENTS, iter(noise), settings, n_steps=n_steps)


def moved_cells(z):
    return TURN @ z @ TURN.T


def turned_draws(one):
    matrices = torch.zeros(3, 3, 3, dtype=torch.float64)
    places = [(0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2)]
    for number, (i, j) in enumerate(places):
        matrices[:, i, j] = matrices[:, j, i] = one.lattice[:, number]
    turned = moved_cells(matrices)
    lattice = torch.stack([turned[:, i, j] for i, j in places], 1)
    return one._replace(coords=one.coords @ TURN.T, lattice=lattice)


def same_place(left, right):
    difference = left - right
    return float((difference - difference.round()).abs().max()) < 1e-5


def test_the_whole_way_back_turns_with_the_crystal(model):
    state, noise = start(model), draws(8)
    turned = state._replace(coords=state.coords @ TURN.T, z=moved_cells(state.z))
    made = run(model, state, noise, n_steps=4)
    again = run(model, turned, [turned_draws(one) for one in noise], n_steps=4)
    torch.testing.assert_close(again.z, moved_cells(made.z), rtol=0, atol=1e-5)
    assert same_place(again.coords, made.coords @ TURN.T)
    assert torch.equal(again.numbers, made.numbers)


def test_the_whole_way_back_moves_with_the_crystal(model):
    state, noise = start(model), draws(8)
    shift = torch.tensor([[0.3, -0.1, 0.7], [0.5, 0.2, 0.1], [0.0, 0.9, 0.4]], dtype=torch.float64)[INDEX]
    made = run(model, state, noise, n_steps=4)
    again = run(model, state._replace(coords=state.coords + shift), noise, n_steps=4)
    assert same_place(again.coords, made.coords + shift)
    torch.testing.assert_close(again.z, made.z, rtol=0, atol=1e-5)


def test_the_whole_way_back_permutes_with_the_atoms(model):
    state, noise = start(model), draws(8)
    order = torch.tensor([2, 0, 1, 3, 7, 5, 4, 6])
    made = run(model, state, noise, n_steps=4)
    permuted = [one._replace(coords=one.coords[order], chances=one.chances[order]) for one in noise]
    changed = state._replace(coords=state.coords[order], numbers=state.numbers[order])
    again = run(model, changed, permuted, n_steps=4)
    assert same_place(again.coords, made.coords[order])
    assert torch.equal(again.numbers, made.numbers[order])
    torch.testing.assert_close(again.z, made.z, rtol=0, atol=1e-5)


def test_crystals_do_not_know_of_their_company(model):
    state, times = start(model), torch.tensor([50, 10, 70])
    together = model.predict(state, times)
    alone = model.predict(
        state._replace(
            coords=state.coords[4:],
            z=state.z[2:],
            numbers=state.numbers[4:],
            system_idx=torch.zeros(4).long(),
        ),
        times[2:],
    )
    torch.testing.assert_close(together.score[4:], alone.score, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together.clean[2:], alone.clean, rtol=1e-5, atol=1e-5)


def test_flat_and_left_handed_cells_have_finite_answers(model):
    state = start(model)
    for diagonal in ([0.0, 1, 1], [-1.0, 1, 2], [1e-9, 1e-9, 1]):
        cells = 4 * torch.diag(torch.tensor(diagonal, dtype=torch.float64)).expand(3, 3, 3)
        at = state._replace(z=model.process.limit.encode(cells, COUNTS))
        belief = model.predict(at, torch.tensor([99, 50, 0]))
        assert all(bool(part.isfinite().all()) for part in belief)


def clean_batch():
    generator = torch.Generator().manual_seed(2)
    return CrystalBatch(
        frac_coords=torch.rand(8, 3, generator=generator, dtype=torch.float64),
        lattice=torch.eye(3, dtype=torch.float64).repeat(3, 1, 1)
        * torch.tensor([3.5, 2.5, 4.0])[:, None, None],
        atomic_numbers=torch.tensor([8, 22, 38, 8, 8, 22, 8, 8]),
        system_idx=INDEX,
    )


def loss_noise(times, given):
    generator = torch.Generator().manual_seed(4)
    state = StateNoise(
        coords=torch.randn(8, 3, generator=generator, dtype=torch.float64),
        lattice=torch.randn(3, 6, generator=generator, dtype=torch.float64),
        chances=torch.rand(8, generator=generator, dtype=torch.float64),
    )
    return JointNoise(times=torch.tensor(times), state=state, given=torch.tensor(given))


def test_crystals_shown_with_all_their_elements_have_no_loss_of_them(model):
    _, hidden = model(clean_batch(), loss_noise([99, 99, 99], [0.9, 0.9, 0.9]))
    _, shown = model(clean_batch(), loss_noise([99, 99, 99], [0.1, 0.1, 0.1]))
    assert float(hidden[2]) > 0.5
    assert float(shown[2]) == 0


def test_an_untrained_network_has_errors_of_order_one_at_any_time():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        fresh = JointDiffusion(
            JointSettings(network=NETWORK, timesteps=100), Limit(0.07), lattice_std=0.3, elements=ELEMENTS
        ).double()
    for time in (0, 50):
        _, errors = fresh(clean_batch(), loss_noise([time] * 3, [1.0] * 3))
        assert 0.05 < float(errors[0]) < 10
        assert 0.05 < float(errors[1]) < 10


def test_the_loss_reaches_every_weight_that_the_first_block_uses(model):
    loss, _ = model(clean_batch(), loss_noise([20, 30, 40], [1.0] * 3))
    loss.backward()
    for name, parameter in model.network.named_parameters():
        assert parameter.grad is not None, name
    model.zero_grad(set_to_none=True)


def test_widths_that_the_joint_model_sets_itself_are_refused():
    with pytest.raises(ValueError, match="condition_width"):
        JointSettings(network=CrystalNetworkSettings(condition_width=3))


def test_a_property_changes_the_answers_for_the_crystals_alone_that_it_is_given_for(model):
    asked = copy.deepcopy(model)
    asked.add_properties({"gap": PROPERTY_KINDS["scalar"](0.0, 1.0)})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        for parameter in asked.network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.3)
    asked, state, times = asked.double(), start(model), torch.full((3,), 40)
    given = torch.tensor([True, False, True])
    labels = {"gap": AdapterInput(values=torch.ones(3, 1, dtype=torch.float64), has_label=given)}
    with torch.no_grad():
        plain, found = model.predict(state, times), asked.predict(state, times, asked.adapters(labels))
    same = {name: (getattr(plain, name) - getattr(found, name)).abs() for name in ("clean", "logits")}
    assert (same["clean"].flatten(1).amax(1) < 1e-9).tolist() == [False, True, False]
    assert (same["logits"].amax(1) < 1e-9).tolist() == (INDEX == 1).tolist()
