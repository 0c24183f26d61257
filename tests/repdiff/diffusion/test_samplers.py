import pytest
import torch
from torch import Tensor

from repdiff.diffusion.samplers import (
    SAMPLERS,
    SamplerSettings,
    Schedule,
    sample_in_batches,
    step_down,
)
from repdiff.errors import UserError
from repdiff.networks.random_streams import NoiseStreams

CPU = torch.device("cpu")
WEIGHTS = torch.tensor([0.3, 0.7], dtype=torch.float64)
MEANS = torch.tensor([[-0.5, 0.4, 0.0], [0.4, -0.3, 0.2]], dtype=torch.float64)
DEVIATION = 0.1
N_TIMES = 1000  # as by default

MANY_STEPS = {
    "ddpm": SamplerSettings(name="ddpm"),
    "ddim": SamplerSettings(name="ddim", n_steps=100),
    "noisy ddim": SamplerSettings(name="ddim", n_steps=200, eta=0.5),
    "dpm": SamplerSettings(name="dpm", n_steps=25),
}


def cosine_schedule(n_times=N_TIMES):
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import cosine_beta_schedule

    return Schedule(cosine_beta_schedule(n_times))


def mixture_estimate(schedule):
    """The exact mean of x_0 given x_t when x_0 follows the mixture above."""

    def estimate(noisy: Tensor, time: int, previous: Tensor | None) -> Tensor:
        signal = schedule.signal(time)
        spread = signal * DEVIATION**2 + 1 - signal
        offsets = noisy.double()[:, None] - signal**0.5 * MEANS
        share = (WEIGHTS.log() - offsets.square().sum(-1) / (2 * spread)).softmax(-1)
        means = MEANS + signal**0.5 * DEVIATION**2 / spread * offsets
        return (share[..., None] * means).sum(1).float()

    return estimate


def run(settings, *, n=3000, key=1, first=0, batch_size=4096, schedule=None):
    schedule = schedule or cosine_schedule()
    return sample_in_batches(
        SAMPLERS[settings.name](settings),
        lambda rows: mixture_estimate(schedule),
        schedule,
        NoiseStreams(key, range(first, first + n), 3, device=CPU),
        batch_size=batch_size,
        progress=False,
    ).double()


@pytest.mark.parametrize("name", sorted(MANY_STEPS))
def test_samplers_recover_weights_means_and_spread_of_a_gaussian_mixture(name):
    samples = run(MANY_STEPS[name])
    component = torch.cdist(samples, MEANS).argmin(1)
    share = (component == 0).double().mean()
    assert share == pytest.approx(0.3, abs=4 * (0.3 * 0.7 / 3000) ** 0.5)
    for number, mean in enumerate(MEANS):
        members = samples[component == number]
        torch.testing.assert_close(members.mean(0), mean, atol=0.015, rtol=0)
        torch.testing.assert_close(members.std(0), torch.full((3,), DEVIATION).double(), atol=0.01, rtol=0)


def test_deterministic_samplers_reach_the_same_points_from_the_same_noise():
    fine = run(SamplerSettings(name="ddim", n_steps=N_TIMES), n=300)
    few = run(SamplerSettings(name="dpm", n_steps=40), n=300)
    assert (fine - few).abs().median() < 0.01


@pytest.mark.parametrize("name", sorted(MANY_STEPS))
def test_a_sample_does_not_depend_on_batches_or_shards(name):
    settings = MANY_STEPS[name]
    whole = run(settings, n=11)
    torch.testing.assert_close(run(settings, n=11, batch_size=4), whole, atol=1e-5, rtol=0)
    torch.testing.assert_close(run(settings, n=5, first=6), whole[6:], atol=1e-5, rtol=0)


def test_another_key_gives_other_samples():
    assert (run(MANY_STEPS["dpm"], n=5, key=2) - run(MANY_STEPS["dpm"], n=5)).abs().max() > 0.1


def test_noise_streams_do_not_depend_on_how_far_ahead_they_draw():
    def first_steps(ahead):
        steps = NoiseStreams(3, range(7, 9), 5, device=CPU, ahead=ahead).steps()
        return torch.stack([next(steps) for _ in range(6)])

    torch.testing.assert_close(first_steps(2), first_steps(5), atol=0, rtol=0)


def test_no_samples_give_an_empty_tensor():
    assert run(MANY_STEPS["ddpm"], n=0).shape == (0, 3)


def test_one_ancestral_step_is_the_posterior_of_the_library():
    from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import GaussianDiffusion1D

    process = GaussianDiffusion1D(
        torch.nn.Identity(), seq_length=3, channels=1, timesteps=50, self_condition=False
    )
    schedule = Schedule(process.betas.double())
    clean, noisy = torch.rand(2, 3), torch.randn(2, 3)
    time = 20
    mean, variance, _ = process.q_posterior(clean, noisy, torch.full((2,), time))

    def step(noise):
        levels = {"signal": schedule.signal(time), "signal_next": schedule.signal(time - 1)}
        return step_down(clean, noisy, noise, **levels, eta=1.0)

    still, moved = step(torch.zeros(2, 3)), step(torch.ones(2, 3))
    torch.testing.assert_close(still, mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close((moved - still).square(), variance.expand(2, 3), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", sorted(SAMPLERS))
@pytest.mark.parametrize("n_steps", [1, 2, 5, 30, 50])
def test_samplers_call_the_network_as_often_as_they_say(name, n_steps):
    schedule = cosine_schedule(50)
    settings = SamplerSettings(name=name, n_steps=n_steps)
    calls = []

    def estimate(noisy: Tensor, time: int, previous: Tensor | None) -> Tensor:
        calls.append((time, previous is None))
        return noisy.clamp(-1, 1)

    streams = NoiseStreams(0, range(2), 3, device=CPU)
    samples = sample_in_batches(
        SAMPLERS[name](settings), lambda rows: estimate, schedule, streams, batch_size=2, progress=False
    )
    assert len(calls) == n_steps
    assert [first for _, first in calls] == [True] + [False] * (n_steps - 1)
    assert all(0 <= time < 50 for time, _ in calls)
    assert torch.isfinite(samples).all()


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_more_steps_than_times_are_refused(name):
    with pytest.raises(UserError, match="51 sampling steps, but the model was trained with 50"):
        run(SamplerSettings(name=name, n_steps=51), n=1, schedule=cosine_schedule(50))


@pytest.mark.parametrize(("name", "n_steps"), [("ddpm", 1000), ("ddim", 100), ("dpm", 25)])
def test_steps_unless_asked_otherwise_are_those_that_the_documents_state(name, n_steps):
    sampler = SAMPLERS[name](SamplerSettings(name=name))
    assert sampler.n_steps(cosine_schedule(1000)) == n_steps
    assert sampler.n_steps(cosine_schedule(20)) == 20


@pytest.mark.parametrize("n_steps", [2, 7, 50])
def test_times_go_from_the_noisiest_to_the_cleanest_without_a_repeat(n_steps):
    times = cosine_schedule(50).times(n_steps)
    assert (times[0], times[-1], len(times)) == (49, 0, n_steps)
    assert times == sorted(set(times), reverse=True)
