"""Inpainting with the exact answer of a network: two targets of which all conditional distributions are known."""

import math

import torch

from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.inpainting import Held
from repdiff.diffusion.samplers import SamplerSettings

DOUBLE = torch.float64
COVARIANCE = 0.2**2 * torch.tensor([[1, 0.9, 0.6], [0.9, 1, 0.5], [0.6, 0.5, 1]], dtype=DOUBLE)
HELD_VALUE = 0.4  # two standard deviations, in [-1, 1]
PLACES, WIDTH, SIDE = (
    0.35,
    0.2,
    0.1,
)  # of two modes at (-PLACES, -PLACES) and (PLACES, PLACES), and what is held
APART = (0.4, 0.12, 0.05)  # the same of two modes that hardly touch


def exact_diffusion(clean, n_features, timesteps=1000):
    """A diffusion whose network predicts `clean(noisy, signal)`."""
    noise = {"timesteps": timesteps, "objective": "pred_x0"}
    settings = ModelSettings.model_validate(
        {"n_features": n_features, "blocks": {}, "diffusion": noise, "denoiser": {"name": "mlp", "width": 8}}
    )
    diffusion = build_diffusion(settings, seed=0)
    schedule = diffusion.noise_schedule

    def predict(noisy, times, previous=None, context=None):
        return clean(noisy.double(), schedule.signal(int(times[0]))).float()

    diffusion.denoiser.forward = predict
    return diffusion


def normal(timesteps=1000):
    """Three features of a normal distribution of mean 0."""

    def clean(noisy, signal):
        total = signal * COVARIANCE + (1 - signal) * torch.eye(3, dtype=DOUBLE)
        return signal**0.5 * noisy @ torch.linalg.solve(total, COVARIANCE)

    return exact_diffusion(clean, 3, timesteps)


def two_modes(places=PLACES, width=WIDTH, timesteps=1000):
    """Two features with two modes of equal shares."""
    centres = torch.tensor([[-places, -places], [places, places]], dtype=DOUBLE)

    def clean(noisy, signal):
        variance = signal * width**2 + 1 - signal
        offsets = noisy[:, None] - signal**0.5 * centres
        weights = (-offsets.square().sum(-1) / (2 * variance)).softmax(1)
        return (weights[..., None] * (centres + signal**0.5 * width**2 / variance * offsets)).sum(1)

    return exact_diffusion(clean, 2, timesteps)


def inpainted(diffusion, value, n, *, steps=None, sampler="ddpm", **held):
    """Samples in [-1, 1] whose first feature is held."""
    values = torch.zeros(n, diffusion.n_features)
    values[:, 0] = (value + 1) / 2
    mask = torch.zeros_like(values, dtype=torch.bool)
    mask[:, 0] = True
    made = diffusion.sample(
        n,
        generator=torch.Generator().manual_seed(3),
        sampler=SamplerSettings(name=sampler, n_steps=steps),
        held=Held(values=values, mask=mask, **held),
    )
    return 2 * made - 1


def of_normal(n, **how):
    """Shifts and widths of the drawn features, in units of the exact conditional widths."""
    made = inpainted(normal(), HELD_VALUE, n, **how)[:, 1:].double()
    mean = COVARIANCE[1:, 0] / COVARIANCE[0, 0] * HELD_VALUE
    variance = COVARIANCE.diag()[1:] - COVARIANCE[1:, 0].square() / COVARIANCE[0, 0]
    width = variance.sqrt()
    return ((made.mean(0) - mean) / width).tolist(), (made.std(0) / width).tolist()


def share_of_farther_mode(n, *, modes=(PLACES, WIDTH, SIDE), **how):
    """Share of samples in the mode that the held feature speaks against, and what Bayes says."""
    places, width, side = modes
    made = inpainted(two_modes(places, width), side, n, **how)[:, 1].double()
    posterior = 1 / (1 + math.exp(2 * places * side / width**2))
    exact = posterior * _below(places / width) + (1 - posterior) * _below(-places / width)
    return float((made < 0).double().mean()), exact


def _below(deviations):
    return 0.5 * (1 + math.erf(deviations / math.sqrt(2)))
