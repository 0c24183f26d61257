"""Held features stay, and what is drawn around them has the conditional distribution, of exact networks.

Tolerances: of a normal target, a quarter of the conditional width for means (about 0.2 of it is left by 250 steps), a
tenth for widths. Of two modes the share moves from the unconditional half towards what Bayes says; how far is measured
by `scripts/bench_inpainting.py`.
"""

import itertools

import pytest
import torch
from exact_inpainting import exact_diffusion, inpainted, normal, of_normal, share_of_farther_mode
from tqdm import tqdm

from repdiff.diffusion.inpainting import Held, InpaintingSampler, moves
from repdiff.diffusion.noise_level import Example, NoiseLevel
from repdiff.diffusion.samplers import SamplerSettings, Schedule
from repdiff.errors import UserError


def test_drawn_features_have_the_conditional_mean_and_width():
    shifts, widths = of_normal(1000)
    assert shifts == pytest.approx([0, 0], abs=0.25)
    assert widths == pytest.approx([1, 1], abs=0.1)


def test_without_resampling_they_have_not():
    shifts, _ = of_normal(1000, resamplings=1)
    assert min(abs(shift) for shift in shifts) > 0.5


def test_a_held_feature_moves_the_shares_of_modes_towards_those_of_bayes():
    once, exact = share_of_farther_mode(1000, resamplings=1)
    often, _ = share_of_farther_mode(1000, resamplings=10)
    assert exact < often < once - 0.08 < 0.5
    assert often == pytest.approx(exact, abs=0.1)


def test_nothing_held_samples_the_target_itself():
    diffusion = normal(100)
    nothing = Held(values=torch.zeros(1000, 3), mask=torch.zeros(1000, 3, dtype=torch.bool), resamplings=3)
    made = diffusion.sample(
        1000, generator=torch.Generator().manual_seed(0), sampler=SamplerSettings(), held=nothing
    )
    assert (2 * made - 1).std(0).tolist() == pytest.approx([0.2] * 3, rel=0.15)
    assert (2 * made - 1).mean(0).tolist() == pytest.approx([0] * 3, abs=0.03)


def test_everything_held_comes_back():
    values = torch.rand(4, 3)
    held = Held(values=values, mask=torch.ones(4, 3, dtype=torch.bool), resamplings=2)
    made = normal(20).sample(
        4, generator=torch.Generator().manual_seed(0), sampler=SamplerSettings(), held=held
    )
    assert torch.equal(made, values)


def test_held_values_come_back_to_the_last_bit_whatever_is_drawn():
    made = inpainted(normal(50), 0.377, 5, steps=20)
    assert torch.equal(made[:, 0], 2 * torch.full((5,), (0.377 + 1) / 2) - 1)
    assert len(set(made[:, 1].tolist())) == 5


def some(n, **more):
    generator = torch.Generator().manual_seed(1)
    held = Held(
        values=torch.rand(n, 3, generator=generator), mask=torch.rand(n, 3, generator=generator) < 0.5
    )
    return {
        "generator": torch.Generator().manual_seed(2),
        "sampler": SamplerSettings(n_steps=8),
        **more,
    }, held


def test_a_sample_has_its_own_noise_whatever_the_batches_and_shards():
    diffusion = normal(50)
    how, held = some(7)
    whole = diffusion.sample(7, held=held, **how)
    in_batches = diffusion.sample(7, held=held, **some(7, batch_size=2)[0])
    later = diffusion.sample(3, held=held.rows(slice(4, 7)), **some(7, first=4)[0])
    torch.testing.assert_close(in_batches, whole, atol=1e-6, rtol=0)
    torch.testing.assert_close(later, whole[4:], atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [0.01, 0.3, 1.0])
def test_variations_hold_parts_of_their_parents(strength):
    diffusion = normal(100)
    parents = torch.rand(6, 3, generator=torch.Generator().manual_seed(4))
    mask = torch.zeros(6, 3, dtype=torch.bool)
    mask[:, 1] = True
    made = diffusion.sample(
        6,
        generator=torch.Generator().manual_seed(0),
        sampler=SamplerSettings(),
        example=Example(parents, NoiseLevel.of(strength, 100)),
        held=Held(values=parents, mask=mask, resamplings=2),
    )
    assert torch.equal(made[:, 1], parents[:, 1])
    assert not torch.equal(made[:, 0], parents[:, 0])
    far = float((made - parents).abs().mean())
    assert far < 0.05 if strength == 0.01 else far > 0.02


def test_variations_of_no_strength_have_held_values_too():
    parents = torch.rand(3, 3)
    held = Held(values=1 - parents, mask=torch.tensor([[True, False, False]]).expand(3, -1))
    example = Example(parents, NoiseLevel(strength=1e-6, time=-1, n_steps=1))
    made = normal(20).sample(
        3, generator=torch.Generator(), sampler=SamplerSettings(), example=example, held=held
    )
    assert torch.equal(made[:, 0], 1 - parents[:, 0])
    assert torch.equal(made[:, 1:], parents[:, 1:])


@pytest.mark.parametrize("sampler", ["ddim", "dpm"])
def test_samplers_without_fresh_noise_are_refused(sampler):
    with pytest.raises(UserError, match=f"`sampler` is '{sampler}', which cannot hold .* expected 'ddpm'"):
        inpainted(normal(20), 0.1, 2, sampler=sampler)


def test_held_values_are_seen_by_a_self_conditioned_network_as_estimates():
    seen = []
    diffusion = exact_diffusion(lambda noisy, signal: 0 * noisy, 3, 20)
    held = Held(values=torch.full((2, 3), 0.75), mask=torch.tensor([[True, False, False]]).expand(2, -1))
    sampler = InpaintingSampler(SamplerSettings(n_steps=4), held)

    def estimate(noisy, time, previous):
        seen.append(previous)
        return 0 * noisy

    noise = iter(torch.randn(500, 2, 3, generator=torch.Generator().manual_seed(0)))

    sampler.run(estimate, diffusion.noise_schedule, noise, tqdm(disable=True))
    assert seen[0] is None
    assert all(torch.allclose(one[:, 0], torch.tensor(0.5)) for one in seen[1:])


@pytest.mark.parametrize(("n_steps", "resamplings"), [(1, 1), (1, 5), (3, 2), (50, 3), (250, 10), (60, 1)])
def test_the_way_is_connected_and_ends_clean(n_steps, resamplings):
    way = moves(n_steps, resamplings)
    assert way[0][0] == 0
    assert way[-1] == (n_steps - 1, n_steps)
    assert all(one[1] == other[0] for one, other in itertools.pairwise(way))
    for place in range(n_steps - 1):
        assert way.count((place, place + 1)) == resamplings
    settings = SamplerSettings(n_steps=n_steps)
    held = Held(values=torch.zeros(1, 1), mask=torch.zeros(1, 1, dtype=torch.bool), resamplings=resamplings)
    counted = InpaintingSampler(settings, held).n_steps(Schedule(torch.full((1000,), 0.01).double()))
    assert counted == (n_steps - 1) * resamplings + 1


def test_no_resampling_at_all_is_refused():
    with pytest.raises(ValueError, match="resamplings is 0"):
        Held(values=torch.zeros(2, 3), mask=torch.zeros(2, 3, dtype=torch.bool), resamplings=0)
