import math

import pytest
import torch

from repdiff.diffusion.cdvae.latent_optimization import (
    TETHERS,
    LatentOptimizationSettings,
    PropertySettings,
    descend_latents,
    fit_property,
    towards_property,
)
from repdiff.diffusion.cdvae.model import Posterior

QUICK = PropertySettings(width=32, n_steps=400, learning_rate=1e-2, weight_decay=0.0)


def exact(latents):
    """Latent distributions of no width."""
    return Posterior(latents, torch.full_like(latents, -math.inf))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fitted():
    """A head for 3 z₀ + z₁² + 10, and the latent vectors it has learnt from."""
    latents = normal(800, 6)
    values = 3 * latents[:, 0] + latents[:, 1].square() + 10
    return latents, values, fit_property(exact(latents), values, QUICK, seed=0)


def test_a_head_learns_its_property(fitted):
    _, values, head = fitted
    others = normal(200, 6, seed=1)
    truth = 3 * others[:, 0] + others[:, 1].square() + 10
    assert float((head(others) - truth).square().mean()) < 0.1 * float(values.var())


def test_the_same_seed_fits_the_same_head(fitted):
    latents, values, head = fitted
    again = fit_property(exact(latents), values, QUICK, seed=0)
    assert torch.equal(again(latents), head(latents))


def test_a_head_does_not_read_what_the_noise_of_the_latent_vectors_hides():
    latents = torch.stack([normal(800), 0.1 * normal(800, seed=1)], 1)
    values = latents[:, 0] + 10 * latents[:, 1]
    log_variance = torch.tensor([[-10.0, 2.0]]).expand(800, 2)
    head = fit_property(Posterior(latents, log_variance), values, QUICK, seed=0)
    step = torch.tensor([[0.5, 0.0], [0.0, 0.5]])
    rise = [float((head(latents + one) - head(latents)).mean()) for one in step]
    assert rise[0] == pytest.approx(0.5, abs=0.15)
    assert abs(rise[1]) < 0.5  # 5 if it could be seen


@pytest.mark.parametrize("maximize", [False, True])
def test_latent_vectors_move_the_way_they_are_asked_to(fitted, maximize):
    latents, _, head = fitted
    for moved in towards_property(latents[:20], head, LatentOptimizationSettings(), maximize=maximize):
        rise = head(moved) - head(latents[:20])
        assert bool((rise > 1).all() if maximize else (rise < -1).all())


def test_a_target_is_reached(fitted):
    latents, _, head = fitted
    settings = LatentOptimizationSettings(n_steps=300, tether=0.02)
    (moved,) = towards_property(latents[:20], head, settings, target=12.0)
    torch.testing.assert_close(head(moved), torch.full((20,), 12.0), rtol=0, atol=0.3)


def test_a_tether_keeps_latent_vectors_near_their_start(fitted):
    latents, _, head = fitted
    moved = towards_property(latents[:20], head, LatentOptimizationSettings())
    distances = (moved - latents[:20]).norm(dim=2).mean(1)
    assert len(distances) == len(TETHERS)
    assert bool((distances.diff() > 0).all())


def test_latent_vectors_do_not_move_where_those_of_crystals_never_are(fitted):
    latents, _, head = fitted
    spread = torch.diag(torch.tensor([1e-3, 1.0, 1, 1, 1, 1]))
    moved = towards_property(
        latents[:20], head, LatentOptimizationSettings(tether=0.5), maximize=True, spread=spread
    )[0]
    assert float((moved - latents[:20])[:, 0].abs().max()) < 0.01
    assert float((moved - latents[:20])[:, 1].abs().mean()) > 0.1


def test_a_latent_vector_moves_as_it_would_alone(fitted):
    latents, _, head = fitted
    together = towards_property(latents[:8], head, LatentOptimizationSettings(n_steps=50))
    alone = towards_property(latents[5:6], head, LatentOptimizationSettings(n_steps=50))
    torch.testing.assert_close(together[:, 5:6], alone, rtol=1e-4, atol=1e-4)


def test_no_step_leaves_latent_vectors_alone():
    latents = normal(3, 4)
    same = descend_latents(
        latents, lambda rows: rows.sum(1), LatentOptimizationSettings(n_steps=0), tether=0.1
    )
    assert torch.equal(same, latents)


@pytest.mark.parametrize(
    ("values", "message"), [([1.0, 2.0, float("nan")], "NaN"), ([2.0, 2.0, 2.0], "all the same")]
)
def test_labels_that_teach_nothing_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        fit_property(exact(normal(3, 4)), torch.tensor(values), QUICK, seed=0)


def test_a_tight_tether_holds_latent_vectors_where_they_were(fitted):
    latents, _, head = fitted
    (moved,) = towards_property(latents[:20], head, LatentOptimizationSettings(n_steps=20, tether=1e6))
    torch.testing.assert_close(moved, latents[:20], rtol=0, atol=0.1)
