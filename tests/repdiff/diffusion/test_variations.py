"""Variations by exact networks: the parent at no strength, the target at full strength, farther the stronger.

A noise process and its way back leave the distribution of the data as it is: variations of crystals that have the
distribution have it too, whatever the strength.
"""

import logging

import pytest
import torch
from exact_samplers import (
    PLACES,
    VECTORS,
    joint_samples,
    measure,
    pair_variations,
    torus_variations,
    vector_variations,
)

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.backends.mattergen import MatterGen
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.diffusion.noise_level import NoiseLevel, normal_of_uniform
from repdiff.errors import UserError

STRENGTHS = (0.05, 0.2, 0.4, 0.7, 1.0)
SAMPLERS = [{"sampler": "ddpm"}, {"sampler": "ddim"}, {"sampler": "ddim", "eta": 0.5}, {"sampler": "dpm"}]


def agree(found, *, shares=0.06, shifts=0.2, width=0.1):
    assert found.share == pytest.approx(0.3, abs=shares)
    assert found.shifts == pytest.approx((0, 0), abs=shifts)
    assert found.width == pytest.approx(1, abs=width)


def vectors(parents, strength, **more):
    training = StructRepDiff.training_options(timesteps=200)
    sampling = StructRepDiff.sampling_options(**more.pop("sampling", {}))
    return vector_variations(training, sampling, parents, strength, **more)


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
@pytest.mark.parametrize("strength", [0.2, 0.5, 1.0])
def test_variations_of_vectors_of_a_distribution_have_it_too(sampling, strength):
    agree(measure(vectors(VECTORS.draw(1000, 3), strength, sampling=sampling), VECTORS))


@pytest.mark.parametrize("sampling", SAMPLERS, ids=str)
def test_at_full_strength_the_parent_plays_no_part(sampling):
    parent = torch.full((1000, 3), 0.4)
    found = vectors(parent, 1.0, sampling=sampling)
    agree(measure(found, VECTORS))
    torch.testing.assert_close(found, vectors(-parent, 1.0, sampling=sampling))


def test_at_no_strength_variations_of_vectors_are_the_parents():
    parents = VECTORS.draw(100, 3).float()
    torch.testing.assert_close(vectors(parents, 1e-6), parents, atol=1e-6, rtol=0)
    assert float((vectors(parents, 0.01) - parents).abs().mean()) < 0.03


def test_variations_of_vectors_are_farther_the_stronger():
    parents = VECTORS.draw(1000, 3)
    away = [float((vectors(parents, strength) - parents).abs().mean()) for strength in STRENGTHS]
    assert away == sorted(away)
    assert away[-1] > 5 * away[0]


def test_a_variation_has_its_own_noise_whatever_is_varied_with_it():
    parents = VECTORS.draw(9, 3)
    torch.testing.assert_close(vectors(parents, 0.4)[4:], vectors(parents[4:], 0.4, first=4))


def test_fewer_steps_are_shared_out_by_the_strength():
    assert NoiseLevel.of(0.3, 1000, 50).n_steps == 15
    assert NoiseLevel.of(0.3, 1000).n_steps == 300
    assert NoiseLevel.of(0.001, 1000, 50).n_steps == 1
    agree(measure(vectors(VECTORS.draw(1000, 3), 0.5, sampling={"sampler": "ddim"}, steps=60), VECTORS))


@pytest.mark.parametrize("strength", [0.2, 0.5, 0.8])
def test_joint_variations_of_crystals_of_a_distribution_have_it_too(strength):
    places, cells, share = joint_samples(
        MatterGen.training_options(), MatterGen.sampling_options(), 200, strength=strength
    )
    agree(places)
    agree(cells)
    assert share == pytest.approx(0.3, abs=0.09)


@pytest.mark.parametrize("strength", [0.1, 0.4, 1.0])
def test_torus_variations_of_crystals_of_a_distribution_have_it_too(strength):
    apart, _ = torus_variations(strength, steps=500)
    agree(measure(apart, PLACES))


def test_torus_variations_are_farther_the_stronger_and_near_the_parent_at_first():
    parents = PLACES.draw(300, 3)
    away = []
    for strength in (0.02, 0.1, 0.3, 1.0):
        apart, lattice = torus_variations(strength, apart=parents, steps=None)
        gap = apart - parents
        away.append(float((gap - gap.round()).abs().mean()))
        assert bool(lattice.isfinite().all())
    assert away == sorted(away)
    assert away[0] < 0.02


@pytest.mark.parametrize(
    "options", [{"mean": "kept"}, {"mean": "scaled", "target": "noise"}, {"denoiser": "langevin"}], ids=str
)
@pytest.mark.parametrize("strength", [0.2, 0.6])
def test_variations_of_places_of_a_distribution_have_it_too(options, strength):
    settings = DpCdvae.training_options(**options)
    sampling = DpCdvae.sampling_options(step="posterior", wrap="never", langevin_steps=20)
    steps = 50 if settings.denoiser == "ddpm" else None
    apart = pair_variations(settings, sampling, PLACES.draw(600, 3), strength, steps=steps)
    agree(measure(apart, PLACES), width=0.15)


def test_uniform_numbers_become_normal_ones():
    uniform = torch.rand(20000, 3, generator=torch.Generator().manual_seed(0))
    normal = normal_of_uniform(uniform)
    assert float(normal.mean()) == pytest.approx(0, abs=0.02)
    assert float(normal.std()) == pytest.approx(1, abs=0.02)
    assert bool(normal_of_uniform(torch.tensor([[0.0, 0.5, 1.0]])).isfinite().all())


@pytest.mark.parametrize("strength", [0.0, -0.5, 1.01, float("nan")])
def test_a_strength_that_is_none_is_refused(strength):
    with pytest.raises(UserError, match=r"^`strength` is .*, expected a share of the noise process above 0"):
        NoiseLevel.of(strength, 100)


def test_a_strength_without_effect_is_told(caplog):
    with caplog.at_level(logging.WARNING):
        assert NoiseLevel.of(0.001, 100).is_nothing
    assert "strength 0.001 is less than half a step of 100: crystals stay as they are" in caplog.text
