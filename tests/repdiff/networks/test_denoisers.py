import pytest
import torch

from repdiff.errors import UserError
from repdiff.networks import DENOISERS, make_denoiser
from repdiff.networks.base import parse_denoiser, sinusoids

SMALL = {
    "mlp": {"name": "mlp", "width": 32, "n_blocks": 2, "time_width": 16, "dropout": 0.1},
    "unet1d": {"name": "unet1d", "dim": 8, "dim_mults": (1, 2, 2)},
}


def build(name, *, n_features=11, n_outputs=None, self_condition=False, n_context=0, stir=True):
    settings = parse_denoiser(SMALL[name])
    network = make_denoiser(
        n_features,
        settings,
        n_outputs=n_outputs or n_features,
        self_condition=self_condition,
        seed=0,
        n_context=n_context,
    ).eval()
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters() if stir else ():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    return network


def inputs(n=4, n_features=11):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, n_features, generator=generator), torch.randint(1000, (n,), generator=generator)


def test_every_registered_network_is_tested_here():
    assert set(SMALL) == set(DENOISERS)


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("n_features", [5, 11, 16])
def test_any_length_of_vector_is_taken(name, n_features):
    noisy, times = inputs(n_features=n_features)
    assert build(name, n_features=n_features)(noisy, times).shape == (4, n_features)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_each_vector_is_processed_on_its_own(name):
    network = build(name)
    noisy, times = inputs()
    together = network(noisy, times)
    alone = torch.cat([network(noisy[k : k + 1], times[k : k + 1]) for k in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(SMALL))
def test_the_output_depends_on_the_time(name):
    network = build(name)
    noisy, _ = inputs()
    early, late = (network(noisy, torch.full((4,), time)) for time in (0, 500))
    assert (early - late).abs().max() > 1e-3


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("self_condition", [False, True])
def test_every_weight_receives_a_gradient(name, self_condition):
    network = build(name, self_condition=self_condition)
    noisy, times = inputs()
    network(noisy, times, torch.ones_like(noisy)).square().sum().backward()
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None, label
        assert torch.isfinite(parameter.grad).all(), label
        assert parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("self_condition", [False, True])
def test_every_weight_is_moved_by_a_context_and_each_vector_sees_its_own(name, self_condition):
    network = build(name, self_condition=self_condition, n_context=6)
    noisy, times = inputs()
    context = torch.randn(4, 6, generator=torch.Generator().manual_seed(3), requires_grad=True)
    previous = torch.ones_like(noisy)
    found = network(noisy, times, previous, context)
    alone = torch.cat(
        [network(noisy[k : k + 1], times[k : k + 1], previous[:1], context[k : k + 1]) for k in range(4)]
    )
    torch.testing.assert_close(found, alone, atol=1e-5, rtol=1e-4)
    found[0].square().sum().backward()
    assert context.grad[0].abs().max() > 0 and context.grad[1:].abs().max() == 0
    for label, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, label


@pytest.mark.parametrize("name", sorted(SMALL))
def test_an_absent_estimate_counts_as_zeros_and_only_if_self_conditioned(name):
    noisy, times = inputs()
    plain, conditioned = build(name), build(name, self_condition=True)
    assert torch.equal(plain(noisy, times, torch.ones_like(noisy)), plain(noisy, times))
    assert torch.equal(conditioned(noisy, times, torch.zeros_like(noisy)), conditioned(noisy, times))
    assert not torch.equal(conditioned(noisy, times, torch.ones_like(noisy)), conditioned(noisy, times))


def test_the_mlp_starts_at_zero_and_gives_the_outputs_a_head_asks_for():
    noisy, times = inputs()
    assert build("mlp", n_outputs=20, stir=False)(noisy, times).abs().max() == 0
    assert build("mlp", n_outputs=20)(noisy, times).shape == (4, 20)


def test_the_mlps_skip_carries_the_input_to_its_own_output():
    network = build("mlp", stir=False)
    torch.nn.init.ones_(network.skip.bias)
    noisy, times = inputs()
    torch.testing.assert_close(network(noisy, times), noisy)


def test_the_unet_refuses_extra_outputs():
    with pytest.raises(UserError, match="choose the denoiser mlp"):
        build("unet1d", n_outputs=12)


def test_building_leaves_the_global_generator_alone():
    torch.manual_seed(4)
    state = torch.get_rng_state()
    build("mlp")
    assert torch.equal(torch.get_rng_state(), state)


def test_sinusoids_tell_all_times_apart():
    embedded = sinusoids(torch.arange(2000), 32)
    distances = torch.cdist(embedded.double(), embedded.double()) + 10 * torch.eye(2000)
    assert distances.min() > 0.01
