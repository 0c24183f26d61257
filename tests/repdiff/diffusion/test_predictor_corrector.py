"""Sampling with a known score must give the known distribution."""

import math

import pytest
import torch
from scipy import stats

from repdiff.diffusion.joint_process import JointProcess, ProcessSettings
from repdiff.diffusion.predictor_corrector import Draws, Prediction, ReverseSettings, correct, guided, sample
from repdiff.diffusion.symmetric_lattice import Limit
from repdiff.diffusion.torus import wrapped_normal_score

PROCESS = JointProcess.of(ProcessSettings(), Limit(0.07))
N = 3000
PLACE, WIDTH = 0.3, 0.04
MEAN, SPREAD = torch.diag(torch.tensor([0.5, -0.2, 0.1])), 0.3
ELEMENTS = torch.tensor([8, 22, 38])
SHARES = torch.tensor([0.2, 0.5, 0.3])


def true_belief(state, time):
    """What is true of one-atom crystals at a normal distance from a place, in cells of normal elements."""
    std = float(PROCESS.widths.stds[time])
    width = torch.full((len(state.coords),), math.hypot(std, WIDTH))
    signal = PROCESS.schedule.signal(time)
    slope = SPREAD**2 * signal**0.5 / (SPREAD**2 * signal + 1 - signal)
    return Prediction(
        score=wrapped_normal_score(state.coords - PLACE, width) * std,
        clean=MEAN + slope * (state.z - signal**0.5 * MEAN),
        logits=SHARES.log().expand(len(state.coords), 3),
    )


def random_numbers(generator, n):
    while True:
        yield Draws(
            coords=torch.randn(n, 3, generator=generator),
            lattice=torch.randn(n, 6, generator=generator),
            chances=torch.rand(n, 2, generator=generator),
        )


def sampled(n_steps=200, n=N, start=None, **settings):
    generator = torch.Generator().manual_seed(7)
    prior = PROCESS.prior(
        torch.rand(n, 3, generator=generator), torch.randn(n, 6, generator=generator), torch.arange(n)
    )
    return sample(
        true_belief,
        prior if start is None else prior._replace(**start),
        PROCESS,
        ELEMENTS,
        random_numbers(generator, n),
        ReverseSettings(**settings),
        n_steps=n_steps,
    )


@pytest.mark.parametrize("corrector_steps", [0, 1])
def test_sampling_with_the_true_score_gives_the_true_distribution(corrector_steps):
    made = sampled(corrector_steps=corrector_steps)
    offsets = made.coords - PLACE
    offsets = (offsets - offsets.round()).flatten() / WIDTH
    assert stats.kstest(offsets.numpy(), "norm").statistic < 0.025
    apart = (made.z - MEAN)[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]].flatten() / SPREAD
    assert stats.kstest(apart.numpy(), "norm").statistic < 0.025
    drawn = torch.stack([(made.numbers == number).float().mean() for number in ELEMENTS])
    torch.testing.assert_close(drawn, SHARES, rtol=0, atol=0.03)


def test_few_steps_come_near():
    made = sampled(n_steps=50, corrector_steps=0)
    offsets = made.coords - PLACE
    assert float((offsets - offsets.round()).std()) == pytest.approx(WIDTH, rel=0.2)
    assert float((made.z - MEAN).std()) == pytest.approx(SPREAD, rel=0.2)


def test_the_last_step_ends_at_the_mean_without_noise():
    made = sampled(n_steps=1, n=5, corrector_steps=0)
    again = sampled(n_steps=1, n=5, corrector_steps=0)
    assert torch.equal(made.z, again.z)
    last = true_belief(made._replace(z=torch.zeros(5, 3, 3)), PROCESS.n_times - 1).clean
    assert float((made.z - last).abs().max()) < 0.02  # the signal of the last time is 0.0066


def test_elements_that_are_given_stay():
    given = torch.tensor([22, 8]).repeat(4)
    assert torch.equal(sampled(n_steps=30, n=8, start={"numbers": given}).numbers, given)


@pytest.mark.parametrize("temperature", [0.75, 1.0])
def test_the_corrector_widens_the_noise_of_a_single_place_by_its_finite_step(temperature):
    """The variance v that a step v → (1 - 2 r²)² v + 4 r² τ keeps is τ / (1 - r²), with r = 0.5."""
    generator = torch.Generator().manual_seed(3)
    time, index = 250, torch.arange(N)
    std, signal = float(PROCESS.widths.stds[time]), PROCESS.schedule.signal(time)
    settings = ReverseSettings(
        position_corrector=0.5, lattice_corrector=0.5, corrector_temperature=temperature
    )
    state = PROCESS.prior(
        PLACE + std * torch.randn(N, 3, generator=generator), torch.randn(N, 6, generator=generator), index
    )
    state = state._replace(z=(1 - signal) ** 0.5 * state.z + signal**0.5 * MEAN)
    draws = random_numbers(generator, N)
    for _ in range(8):
        score = wrapped_normal_score(state.coords - PLACE, torch.full((N,), std)) * std
        belief = Prediction(score=score, clean=MEAN.expand(N, 3, 3), logits=SHARES.log().expand(N, 3))
        moved = correct(state, belief, time, PROCESS, next(draws), settings)
        assert float((moved.coords - state.coords).abs().max()) > std
        state = moved
    offsets = state.coords - PLACE
    assert float((offsets - offsets.round()).std()) == pytest.approx(
        std * (temperature / 0.75) ** 0.5, rel=0.02
    )
    assert float((state.z - signal**0.5 * MEAN).std()) == pytest.approx(
        ((1 - signal) / 0.75) ** 0.5, rel=0.02
    )


def test_guidance_of_one_is_the_condition_and_of_zero_none():
    one, other = (Prediction(torch.randn(2, 3), torch.randn(1, 3, 3), torch.randn(2, 4)) for _ in range(2))
    for mixed, expected in ((guided(one, other, 1.0), one), (guided(one, other, 0.0), other)):
        assert all(torch.equal(left, right) for left, right in zip(mixed, expected, strict=True))
    beyond = guided(one, other, 2.0)
    torch.testing.assert_close(beyond.score, one.score + (one.score - other.score))
