"""Steered samples have the distribution that Bayes' rule or a tilt gives, where that is known exactly."""

import pytest
import torch
from exact_samplers import exact_vectors
from exact_targets import Modes

from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.noise_level import Example, NoiseLevel
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.diffusion.steering import Aim, Measured, Steering
from repdiff.errors import UserError
from repdiff.settings.backends.structrepdiff import NoiseSettings

MEAN = torch.tensor([0.1, -0.05, 0.0], dtype=torch.float64)
COVARIANCE = torch.tensor([[0.04, 0.015, 0.0], [0.015, 0.03, -0.01], [0.0, -0.01, 0.02]], dtype=torch.float64)
ALONG = torch.tensor([1.0, 0.5, -1.0], dtype=torch.float64)
ACROSS = torch.tensor([1.0, 0.0, 0.5], dtype=torch.float64)  # correlates with ALONG under the covariance
SAMPLERS = [("ddpm", None), ("ddim", 100), ("dpm", 30)]
N = 3000


def normal_diffusion(objective="pred_v", *, self_condition=False):
    """A diffusion of normal vectors, whose network predicts exactly; it sees the estimate before and ignores it."""
    settings = ModelSettings.model_validate(
        {
            "n_features": 3,
            "blocks": {},
            "diffusion": {"timesteps": 300, "objective": objective, "self_condition": self_condition},
            "denoiser": {"name": "mlp", "width": 8},
        }
    )
    diffusion = build_diffusion(settings, seed=0)
    schedule = diffusion.noise_schedule

    def predict(noisy, times, previous=None, context=None):
        assert (previous is None) or self_condition
        signal = schedule.signal(int(times[0]))
        total = signal * COVARIANCE + (1 - signal) * torch.eye(3, dtype=torch.float64)
        off = noisy.double() - signal**0.5 * MEAN
        clean = MEAN + signal**0.5 * off @ torch.linalg.solve(total, COVARIANCE)
        epsilon = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
        velocity = signal**0.5 * epsilon - (1 - signal) ** 0.5 * clean
        return {"pred_noise": epsilon, "pred_x0": clean, "pred_v": velocity}[objective].float()

    diffusion.denoiser.forward = predict
    return diffusion


def linear(*directions, variance=0.0, penalty=0.0, known=True):
    """Linear functions of vectors in [-1, 1]."""

    def measure(unit, rows):
        clean = 2 * unit - 1
        ones = torch.ones(len(unit))
        return [
            Measured(
                value=clean @ one.float(),
                variance=variance * ones,
                penalty=penalty * (clean @ one.float()),
                known=torch.full((len(unit),), known),
            )
            for one in directions
        ]

    return measure


def samples(diffusion, steering, name, steps, *, n=N, **more):
    made = diffusion.sample(
        n,
        generator=torch.Generator().manual_seed(3),
        sampler=SamplerSettings(name=name, n_steps=steps),
        steering=steering,
        **more,
    )
    return 2 * made.double() - 1


def conditioned(directions, targets, variances):
    """Mean and covariance of the normal distribution given noisy values of linear functions, by Bayes' rule."""
    rows = torch.stack(directions)
    inside = rows @ COVARIANCE @ rows.T + torch.diag(torch.tensor(variances, dtype=torch.float64))
    gain = torch.linalg.solve(inside, rows @ COVARIANCE).T
    mean = MEAN + gain @ (torch.tensor(targets, dtype=torch.float64) - rows @ MEAN)
    return mean, COVARIANCE - gain @ rows @ COVARIANCE


def hold_to(made, mean, covariance, name="ddpm"):
    """Compare with a normal distribution: means within 4 standard errors and 0.006, covariances by the sampler.

    The share of a variance that covariances may be off: 0.12 for the solver of second order; 0.2 for ancestral and
    implicit steps, of 300 and 100, which make narrow distributions narrower, steered or not, the less the more steps.
    """
    error = 4 * (covariance.diagonal() / len(made)).sqrt() + 0.006
    assert ((made.mean(0) - mean).abs() < error).all(), (made.mean(0), mean)
    away = (torch.cov(made.T) - covariance).abs() / covariance.diagonal().mean()
    assert float(away.max()) < {"dpm": 0.12}.get(name, 0.2), (torch.cov(made.T), covariance)


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
def test_samples_towards_a_value_are_those_of_bayes_rule(name, steps):
    tolerance, spread = 0.05, 0.12
    aim = Aim(target=0.45, tolerance=tolerance)
    steering = Steering(measure=linear(ALONG, variance=spread**2), aims=[aim])
    made = samples(normal_diffusion(), steering, name, steps)
    hold_to(made, *conditioned([ALONG], [0.45], [tolerance**2 + spread**2]), name)


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
def test_samples_towards_two_values_that_depend_on_each_other_are_those_of_bayes_rule(name, steps):
    aims = [Aim(target=0.3, tolerance=0.1), Aim(target=-0.1, tolerance=0.1)]
    made = samples(normal_diffusion(), Steering(measure=linear(ALONG, ACROSS), aims=aims), name, steps)
    hold_to(made, *conditioned([ALONG, ACROSS], [0.3, -0.1], [0.01, 0.01]), name)


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
@pytest.mark.parametrize("strength", [3.0, -2.0])
def test_a_tilt_moves_the_mean_by_the_covariance_and_keeps_the_width(name, steps, strength):
    steering = Steering(measure=linear(ALONG), aims=[Aim(strength=strength)])
    made = samples(normal_diffusion(), steering, name, steps)
    hold_to(made, MEAN + strength * COVARIANCE @ ALONG, COVARIANCE, name)
    plain = samples(
        normal_diffusion(), None, name, steps
    )  # of the same noise, so that the sampler's own error is there
    torch.testing.assert_close(torch.cov(made.T), torch.cov(plain.T), atol=4e-4, rtol=0)


def test_a_penalty_is_a_tilt_away():
    steering = Steering(measure=linear(ALONG, penalty=2.0), aims=[Aim(strength=0.0)])
    made = samples(normal_diffusion(), steering, "ddpm", None)
    hold_to(made, MEAN - 2 * COVARIANCE @ ALONG, COVARIANCE)


@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0"])
def test_it_is_the_same_whatever_the_network_predicts_and_sees(objective):
    steering = Steering(measure=linear(ALONG), aims=[Aim(target=0.4, tolerance=0.1)])
    plain = samples(normal_diffusion(), steering, "ddpm", 50, n=50)
    seeing = samples(normal_diffusion(self_condition=True), steering, "ddpm", 50, n=50)
    other = samples(normal_diffusion(objective), steering, "ddpm", 50, n=50)
    torch.testing.assert_close(seeing, plain, atol=1e-4, rtol=0)
    torch.testing.assert_close(other, plain, atol=2e-3, rtol=0)


def test_strength_of_a_goal_is_that_of_so_many_equal_measurements():
    steering = Steering(measure=linear(ALONG), aims=[Aim(target=0.4, tolerance=0.2, strength=4.0)])
    made = samples(normal_diffusion(), steering, "ddpm", None)
    hold_to(made, *conditioned([ALONG], [0.4], [0.2**2 / 4]))


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
def test_a_linear_tilt_gives_two_modes_their_shares(name, steps):
    """The exact share is that of the tilted mixture; the gradient through the estimate comes within 0.06."""
    modes = Modes((-0.5, 0.4), 0.1, wrapped=False)
    diffusion = exact_vectors(NoiseSettings(timesteps=300))
    strength = 0.9
    first = torch.tensor([1.0, 0.0, 0.0])

    def measure(unit, rows):
        value = (2 * unit - 1) @ first
        return [Measured(value, torch.zeros(len(unit)), torch.zeros(len(unit)), torch.ones(len(unit)) > 0)]

    made = samples(diffusion, Steering(measure=measure, aims=[Aim(strength=strength)]), name, steps)
    weights = torch.tensor(modes.shares) * (strength * torch.tensor(modes.places)).exp()
    share = float(weights[0] / weights.sum())
    assert share < modes.shares[0] - 0.1
    found = (made < -0.05).double().mean(0)
    assert abs(float(found[0]) - share) < 0.06
    assert ((found[1:] - modes.shares[0]).abs() < 0.03).all()  # the others are as they were


def test_what_is_not_known_is_not_steered():
    diffusion = normal_diffusion()
    plain = samples(diffusion, None, "ddim", 20, n=20)
    aims = [Aim(target=0.4, tolerance=0.1)]
    unknown = Steering(measure=linear(ALONG, known=False), aims=aims)
    torch.testing.assert_close(samples(diffusion, unknown, "ddim", 20, n=20), plain, atol=1e-6, rtol=0)
    tilted = Steering(measure=linear(ALONG, known=False, penalty=3.0), aims=[Aim(strength=5.0)])
    torch.testing.assert_close(samples(diffusion, tilted, "ddim", 20, n=20), plain, atol=1e-6, rtol=0)


def test_a_function_of_something_else_changes_nothing():
    diffusion = normal_diffusion()

    def constant(unit, rows):
        ones = torch.ones(len(unit))
        return [Measured(2 * ones, 0 * ones, 0 * ones, ones > 0)]

    plain = samples(diffusion, None, "ddim", 20, n=20)
    for aim in (Aim(strength=3.0), Aim(target=0.0, tolerance=0.1)):
        steering = Steering(measure=constant, aims=[aim])
        torch.testing.assert_close(samples(diffusion, steering, "ddim", 20, n=20), plain, atol=1e-6, rtol=0)


@pytest.mark.parametrize(("name", "steps"), SAMPLERS)
def test_a_batch_is_a_loop_and_a_seed_gives_the_same_again(name, steps):
    diffusion = normal_diffusion()
    seen = []

    def measure(unit, rows):
        seen.append((rows.start, rows.stop, len(unit)))
        return linear(ALONG)(unit, rows)

    steering = Steering(measure=measure, aims=[Aim(target=0.4, tolerance=0.1)])
    whole = samples(diffusion, steering, name, steps and 20, n=6)
    parts = samples(diffusion, steering, name, steps and 20, n=6, batch_size=2)
    torch.testing.assert_close(parts, whole, atol=1e-5, rtol=0)
    assert {one for one in seen if one[2] == 2} == {(0, 2, 2), (2, 4, 2), (4, 6, 2)}
    assert torch.equal(samples(diffusion, steering, name, steps and 20, n=6), whole)


def test_variations_are_steered_from_their_level():
    diffusion = normal_diffusion()
    generator = torch.Generator().manual_seed(5)
    parents = torch.distributions.MultivariateNormal(MEAN, COVARIANCE).expand((N,))
    torch.manual_seed(5)
    clean = (parents.sample().float() + 1) / 2
    level = NoiseLevel.of(0.5, 300)
    steering = Steering(measure=linear(ALONG), aims=[Aim(target=0.4, tolerance=0.1)])
    made = (
        2
        * diffusion.sample(
            N,
            generator=generator,
            sampler=SamplerSettings(name="ddpm"),
            example=Example(clean, level),
            steering=steering,
        ).double()
        - 1
    )
    plain, whole = MEAN @ ALONG, conditioned([ALONG], [0.4], [0.01])[0] @ ALONG
    assert plain + 0.1 < (made @ ALONG).mean() < whole + 0.01


def test_numbers_that_are_not_finite_are_refused():
    def wrong(unit, rows):
        value = (unit * torch.nan).sum(1)
        ones = torch.ones(len(unit))
        return [Measured(value, 0 * ones, 0 * ones, ones > 0)]

    with pytest.raises(UserError, match="gives nan"):
        samples(normal_diffusion(), Steering(measure=wrong, aims=[Aim()]), "ddim", 5, n=2)


def test_the_weight_of_finished_vectors_is_the_same_likelihood():
    value, variance = torch.tensor([1.0, 2.0]), torch.tensor([0.0, 3.0])
    aim = Aim(target=1.5, tolerance=1.0, strength=2.0)
    torch.testing.assert_close(aim.log_weight(value, variance), -torch.tensor([0.25, 0.0625]))
    torch.testing.assert_close(Aim(strength=-2.0).log_weight(value, variance), -2 * value)
