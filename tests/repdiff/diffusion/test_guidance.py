"""Classifier-free guidance of vectors with exact estimates in place of a network, against closed forms."""

import numpy as np
import pytest
import torch
from scipy.integrate import quad

from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_embedding import ScalarEmbedding
from repdiff.networks.protostructure.encoder import ProtostructureEncoderSettings

GAIN, WIDTH, SPREAD = 0.15, 0.08, 1.0
"""Vectors are GAIN · label + WIDTH · noise, labels have the standard deviation SPREAD."""
FREE_WIDTH = (WIDTH**2 + (GAIN * SPREAD) ** 2) ** 0.5
N = 1500


def exact_diffusion(objective="pred_v"):
    """A diffusion whose network knows p(x | label) = N(GAIN · label, WIDTH²), and p(x) where the label is missing."""
    settings = ModelSettings.model_validate(
        {
            "n_features": 2,
            "blocks": {},
            "diffusion": {"objective": objective},
            "denoiser": {"name": "mlp", "width": 8},
            "encoder": ProtostructureEncoderSettings(elements=(8,), width=8),
            "properties": {"gap": {"kind": "scalar", "mean": 0.0, "std": 1.0}},
        }
    )
    diffusion = build_diffusion(settings, seed=0)
    schedule = diffusion.noise_schedule

    def context(protostructures, labels=None):
        n = len(protostructures)
        return labels["gap"].values if labels else torch.full((n, 1), torch.nan)

    def predict(noisy, times, previous=None, context=None):
        signal = schedule.signal(int(times[0]))
        told = ~context.isnan()
        mean = torch.where(told, GAIN * context, 0.0)
        width = torch.where(told, WIDTH, FREE_WIDTH)
        gain = signal**0.5 * width**2 / (signal * width**2 + 1 - signal)
        clean = mean + gain * (noisy - signal**0.5 * mean)
        epsilon = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
        velocity = signal**0.5 * epsilon - (1 - signal) ** 0.5 * clean
        return {"pred_noise": epsilon, "pred_x0": clean, "pred_v": velocity}[objective]

    diffusion.context, diffusion.denoiser.forward = context, predict
    return diffusion


def draw(diffusion, label, guidance, **sampler):
    labels = {
        "gap": AdapterInput(values=torch.full((N, 1), label), has_label=torch.ones(N, dtype=torch.bool))
    }
    made = diffusion.sample(
        N,
        generator=torch.Generator().manual_seed(0),
        sampler=SamplerSettings(**sampler),
        protostructures=torch.zeros(N, 4, dtype=torch.long),
        labels=labels,
        guidance=guidance,
    )
    return 2 * made - 1


@pytest.mark.parametrize(
    "sampler",
    [{"name": "ddpm"}, {"name": "ddim", "n_steps": 500}, {"name": "dpm"}],
    ids=lambda one: one["name"],
)
@pytest.mark.parametrize("objective", ["pred_noise", "pred_x0", "pred_v"])
def test_guidance_of_one_draws_from_the_conditional_distribution(sampler, objective):
    made = draw(exact_diffusion(objective), 1.5, 1.0, **sampler)
    assert float(made.mean()) == pytest.approx(1.5 * GAIN, abs=0.006)
    assert float(made.std()) == pytest.approx(WIDTH, rel=0.05)


def test_guidance_of_zero_draws_from_the_distribution_without_labels():
    made = draw(exact_diffusion(), 1.5, 0.0, name="ddim")
    assert float(made.mean()) == pytest.approx(0.0, abs=0.01)
    assert float(made.std()) == pytest.approx(FREE_WIDTH, rel=0.05)


def expected_mean(label, guidance):
    """Mean at the end of dy/du = ½ [γ (y - m) / (w² + u) + (1 - γ) y / (v² + u)] with u = (1 - ᾱ) / ᾱ, from y = 0.

    The solution without m is (w² + u)^(γ/2) (v² + u)^((1 - γ)/2), which gives the width too; the rest is quadrature.
    """
    first, last = WIDTH**2, FREE_WIDTH**2

    def free(u):
        return (first + u) ** (guidance / 2) * (last + u) ** ((1 - guidance) / 2)

    integral, _ = quad(lambda u: guidance * GAIN * label / (2 * (first + u) * free(u)), 0, np.inf)
    return free(0) * integral


@pytest.mark.parametrize("guidance", [0.5, 2.0, 3.0])
def test_guidance_gives_the_width_and_mean_of_the_mixed_scores(guidance):
    """Of two normal distributions of widths w and v the mixed scores make one of width w^γ v^(1 - γ)."""
    made = draw(exact_diffusion(), 1.0, guidance, name="ddim", n_steps=1000)
    width = WIDTH**guidance * FREE_WIDTH ** (1 - guidance)
    assert float(made.std()) == pytest.approx(width, rel=0.06)
    assert float(made.mean()) == pytest.approx(expected_mean(1.0, guidance), rel=0.03)


def test_the_quadrature_gives_the_conditional_mean_at_guidance_one():
    assert expected_mean(0.7, 1.0) == pytest.approx(0.7 * GAIN, rel=1e-6)


def described(**changes):
    return ModelSettings.model_validate(
        {
            "n_features": 3,
            "blocks": {},
            "diffusion": {"timesteps": 10},
            "denoiser": {"name": "mlp", "width": 16},
            "encoder": ProtostructureEncoderSettings(elements=(3, 8), width=8),
            **changes,
        }
    )


def test_fresh_properties_leave_the_estimate_as_it_is_bit_by_bit():
    plain = build_diffusion(described(), seed=0).eval()
    told = build_diffusion(described(), seed=0).eval()
    told.add_properties({"gap": ScalarEmbedding(0.0, 1.0)})
    salts = [Protostructure.of(225, [(3, "a"), (8, "b")]), Protostructure.of(136, [(3, "a"), (8, "f")])]
    known = torch.from_numpy(encode_protostructures(salts, max_orbits=2))
    label = AdapterInput(values=torch.ones(2, 1), has_label=torch.ones(2, dtype=torch.bool))
    assert torch.equal(plain.context(known), told.context(known, {"gap": label}))


def test_a_model_without_protostructures_takes_no_properties():
    plain = build_diffusion(described(encoder=None), seed=0)
    with pytest.raises(ValueError, match="given no protostructures"):
        plain.add_properties({"gap": ScalarEmbedding(0.0, 1.0)})
