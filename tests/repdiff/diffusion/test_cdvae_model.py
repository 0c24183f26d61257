from dataclasses import replace
from itertools import repeat

import pytest
import torch

from descriptors.batch import CrystalBatch
from descriptors.testing import random_crystals
from repdiff.diffusion.cdvae.decoding import decode, place_atoms, towards_composition
from repdiff.diffusion.cdvae.latents import (
    DecodedHeads,
    LatentMoments,
    Vocabulary,
    make_cells,
    whole_compositions,
)
from repdiff.diffusion.cdvae.losses import noised_types
from repdiff.diffusion.cdvae.model import Cdvae, DenoiserOutput, Noise, Posterior
from repdiff.diffusion.lattice_ddpm import ParameterScale
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.torus import centred
from repdiff.networks.crystal import CrystalNetworkSettings
from repdiff.settings.backends.dpcdvae import CdvaeSampling, CdvaeSettings

DOUBLE = torch.float64
TINY = CrystalNetworkSettings(width=16, n_blocks=2, n_neighbors=14, max_neighbors=24, n_radial=10)
ROTATION = torch.linalg.matrix_exp(
    torch.tensor([[0, 0.3, -1.1], [-0.3, 0, 0.7], [1.1, -0.7, 0]], dtype=DOUBLE)
)
KINDS = {
    "kept": {"timesteps": 50},
    "scaled": {"timesteps": 50, "mean": "scaled"},
    "langevin": {"denoiser": "langevin", "levels": 50},
}


def build(batch, **changes):
    """A model in double precision with weights that leave nothing at zero."""
    settings = CdvaeSettings(network=TINY, encoder=TINY, n_latent=8, head_width=16, **changes)
    vocabulary = Vocabulary.of(batch, min_length_std=0.02, min_angle_std=0.02)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Cdvae(settings, vocabulary)
        for parameter in model.parameters():
            parameter.data += 0.05 * torch.randn(parameter.shape)
    return model.double()


@pytest.fixture(scope="module")
def batch():
    return random_crystals([3, 5, 2], generator=torch.Generator().manual_seed(0))


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE)


def step_back(model, batch, noise, *, time=20, sampling=None):
    """One whole step: network and process; coordinates and kinds."""
    times = torch.full((batch.n_systems,), time)
    answer = model.denoise(batch, times, normal(batch.n_systems, 8, seed=3))
    moved = model.process.step_back(batch, answer.path, time, noise, sampling or CdvaeSampling())
    return moved, answer.types


def same_places(found, expected):
    off = found - expected
    torch.testing.assert_close(off, off.round(), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["kept", "scaled"])
def test_a_step_back_in_fractions_does_not_depend_on_the_orientation(kind, batch):
    model, noise = build(batch, **KINDS[kind]), centred(normal(batch.n_atoms, 3), batch)
    moved, types = step_back(model, batch, noise)
    turned = step_back(model, replace(batch, lattice=batch.lattice @ ROTATION), noise)
    torch.testing.assert_close(turned[0], moved, rtol=0, atol=1e-8)
    torch.testing.assert_close(turned[1], types, rtol=0, atol=1e-8)
    assert not torch.allclose(moved, batch.frac_coords, atol=1e-3)


def test_a_langevin_step_turns_with_the_crystal_and_its_noise(batch):
    model, noise = build(batch, **KINDS["langevin"]), centred(normal(batch.n_atoms, 3), batch)
    moved, _ = step_back(model, batch, noise)
    turned, _ = step_back(model, replace(batch, lattice=batch.lattice @ ROTATION), noise @ ROTATION)
    same_places(turned, moved)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_step_back_follows_a_permutation_of_atoms(kind, batch):
    model, noise = build(batch, **KINDS[kind]), centred(normal(batch.n_atoms, 3), batch)
    order = torch.argsort(batch.system_idx * 1000 - torch.arange(batch.n_atoms))  # reversed in each crystal
    moved, types = step_back(model, batch, noise)
    permuted = replace(
        batch, frac_coords=batch.frac_coords[order], atomic_numbers=batch.atomic_numbers[order]
    )
    found = step_back(model, permuted, noise[order])
    same_places(found[0], moved[order])
    torch.testing.assert_close(found[1], types[order], rtol=0, atol=1e-8)


@pytest.mark.parametrize("kind", ["kept", "langevin"])
def test_a_step_back_follows_a_translation_and_whole_cells(kind, batch):
    model, noise = build(batch, **KINDS[kind]), centred(normal(batch.n_atoms, 3), batch)
    shift = torch.tensor([0.3, 0.8, -1.1], dtype=DOUBLE)
    moved, _ = step_back(model, batch, noise)
    found, _ = step_back(model, replace(batch, frac_coords=batch.frac_coords + shift), noise)
    same_places(found, moved + shift)


def test_a_latent_vector_belongs_to_the_crystal_and_not_to_its_cell(batch):
    model = build(batch)
    change = torch.tensor([[1, 2, 0], [1, 3, 1], [0, 1, 2]], dtype=DOUBLE)
    other = replace(
        batch,
        lattice=change @ batch.lattice @ ROTATION,
        frac_coords=batch.frac_coords @ torch.linalg.inv(change) + 0.37,
    )
    torch.testing.assert_close(model.encode(other).mean, model.encode(batch).mean, rtol=0, atol=1e-8)


def test_the_divergence_is_that_of_normal_distributions():
    posterior = Posterior(normal(2, 4), normal(2, 4, seed=1))
    own = torch.distributions.Normal(posterior.mean, (posterior.log_variance / 2).exp())
    standard = torch.distributions.Normal(torch.zeros(2, 4, dtype=DOUBLE), torch.ones(2, 4, dtype=DOUBLE))
    expected = torch.distributions.kl_divergence(own, standard).sum(1)
    torch.testing.assert_close(posterior.divergence(), expected)


def pairs(n, distance):
    """Crystals of two atoms along x in a cubic cell of 4 Å."""
    coords = torch.zeros(n, 2, 3, dtype=DOUBLE)
    coords[:, 0, 0], coords[:, 1, 0] = distance / 2, -distance / 2
    return CrystalBatch(
        frac_coords=coords.view(-1, 3),
        lattice=4 * torch.eye(3, dtype=DOUBLE).repeat(n, 1, 1),
        atomic_numbers=torch.tensor([3, 9]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(2),
    )


DISTANCE, SPREAD = 0.3, 0.05


def exact_answer(model):
    """The best path for pairs whose separation is normal about DISTANCE (x; 0 for y, z), wrapped."""

    def denoise(noisy, times, latents):
        coords = noisy.frac_coords.view(-1, 2, 3)
        apart = coords[:, 0] - coords[:, 1]
        variance = 2 * (model.process.width(times, noisy.lattice) / 4)[0] ** 2
        centre = torch.tensor([DISTANCE, 0, 0], dtype=DOUBLE)
        nearest = apart - centre - (apart - centre).round()
        images = nearest[..., None] + torch.arange(-8, 9)
        shares = (-images.square() / (2 * (SPREAD**2 + variance))).softmax(-1)
        by_image = -images * variance / (SPREAD**2 + variance)
        path = (shares * by_image).sum(-1) / 2
        both = torch.stack([path, -path], 1).view(-1, 3)
        return DenoiserOutput(path=both, types=torch.zeros(len(both), 2, dtype=DOUBLE))

    return denoise


@pytest.mark.parametrize(
    ("kind", "sampling", "n_steps"),
    [
        ("kept", CdvaeSampling(step="posterior", types="fixed"), 200),
        ("langevin", CdvaeSampling(types="fixed", langevin_steps=10, langevin_rate=0.3), 100),
    ],
)
def test_with_the_exact_score_samples_have_the_distribution_of_the_data(kind, sampling, n_steps):
    n = 1200
    atoms = pairs(n, DISTANCE)
    changes = (
        {"denoiser": "langevin", "levels": 100, "widest": 5.0} if kind == "langevin" else {"timesteps": 1000}
    )
    model = build(atoms, **changes)
    model.denoise = exact_answer(model)
    generator = torch.Generator().manual_seed(1)
    noise = (torch.randn(2 * n, 3, generator=generator, dtype=DOUBLE) for _ in repeat(None))
    latents = torch.zeros(n, 8, dtype=DOUBLE)
    made = place_atoms(model, atoms, latents, noise, sampling, n_steps=n_steps).frac_coords.view(n, 2, 3)
    apart = made[:, 0] - made[:, 1] - torch.tensor([DISTANCE, 0, 0], dtype=DOUBLE)
    apart -= apart.round()
    torch.testing.assert_close(apart.mean(0), torch.zeros(3, dtype=DOUBLE), rtol=0, atol=0.006)
    torch.testing.assert_close(apart.std(0), torch.full((3,), SPREAD, dtype=DOUBLE), rtol=0.1, atol=0)


def test_a_jump_to_the_predicted_places_finds_the_mode_of_the_data():
    n = 500
    atoms = pairs(n, DISTANCE)
    model = build(atoms, timesteps=1000)
    model.denoise = exact_answer(model)
    generator = torch.Generator().manual_seed(1)
    noise = (torch.randn(2 * n, 3, generator=generator, dtype=DOUBLE) for _ in repeat(None))
    sampling = CdvaeSampling(types="fixed")
    made = place_atoms(model, atoms, torch.zeros(n, 8, dtype=DOUBLE), noise, sampling, n_steps=200)
    apart = made.frac_coords.view(n, 2, 3).diff(dim=1)[:, 0] + torch.tensor([DISTANCE, 0, 0], dtype=DOUBLE)
    apart -= apart.round()
    assert float(apart.abs().mean()) < 2 * SPREAD


def test_of_several_tries_each_crystal_keeps_the_one_that_the_encoder_takes_for_its_own(batch):
    model = build(batch, timesteps=50)
    latents = normal(batch.n_systems, 8, seed=4)
    noise = normal(4 * 6, batch.n_atoms, 3, seed=7)  # of a try: the start's, and that of five steps

    def made(way, *, tries=1, before=0):
        numbers = iter(noise[6 * before :])
        return way(model, batch, latents, numbers, CdvaeSampling(tries=tries), n_steps=5)

    tries = [made(place_atoms, before=number) for number in range(4)]
    fits = torch.stack([model.encode(crystals).log_density(latents) for crystals in tries])
    assert len(fits.argmax(0).unique()) > 1  # or every crystal would keep the same try
    best = made(decode, tries=4)
    torch.testing.assert_close(model.encode(best).log_density(latents), fits.amax(0))
    assert torch.equal(made(decode).frac_coords, tries[0].frac_coords)


def test_the_density_of_a_latent_vector_is_that_of_a_normal_distribution():
    posterior = Posterior(normal(3, 8), normal(3, 8, seed=1))
    latents = normal(3, 8, seed=2)
    known = torch.distributions.Normal(posterior.mean, (posterior.log_variance / 2).exp())
    expected = known.log_prob(latents).sum(1) + 4 * torch.log(torch.tensor(2 * torch.pi, dtype=DOUBLE))
    torch.testing.assert_close(posterior.log_density(latents), expected)


def test_kinds_are_kept_without_noise_and_follow_the_composition_with_much():
    n = 3000
    batch = CrystalBatch(
        frac_coords=torch.zeros(5 * n, 3),
        lattice=4 * torch.eye(3).repeat(n, 1, 1),
        atomic_numbers=torch.tensor([3, 22, 8, 8, 8]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(5),
    )
    uniform = torch.rand(5 * n, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(noised_types(batch, torch.zeros(n), uniform), batch.atomic_numbers)
    for weight in (1.0, 1e6):
        first = noised_types(batch, torch.full((n,), weight), uniform)[::5]
        for element, share in ((3, 0.2), (22, 0.2), (8, 0.6)):
            expected = ((element == 3) + weight * share) / (1 + weight)
            assert float((first == element).float().mean()) == pytest.approx(expected, abs=0.03)


def test_whole_formulas_have_the_likeliest_number_of_atoms():
    scale = ParameterScale(mean=torch.ones(6), std=torch.ones(6))
    vocabulary = Vocabulary(elements=torch.tensor([3, 8, 22]), sizes=torch.tensor([2, 5]), scale=scale)
    guess = DecodedHeads(
        n_atoms=torch.tensor([[0.0, 1.0], [2.0, 1.0]]),
        lattice=torch.zeros(2, 6),
        composition=torch.tensor([[0.21, 0.58, 0.21], [0.4, 0.6, 1e-9]]).log(),
    )
    formulas = whole_compositions(guess, vocabulary)
    assert [formula.tolist() for formula in formulas] == [[3, 8, 8, 8, 22], [3, 8]]


def test_cells_come_back_from_their_scores_and_hopeless_ones_become_cubes(batch, caplog):
    vocabulary = Vocabulary.of(batch, min_length_std=0.02, min_angle_std=0.02)
    counts = batch.n_atoms_per_system
    shrunk = batch.lattice / counts.double().pow(1 / 3)[:, None, None]
    scores = vocabulary.scale.scores(shrunk)
    made = make_cells(scores, counts.tolist(), vocabulary.scale)
    torch.testing.assert_close(made @ made.mT, batch.lattice @ batch.lattice.mT, rtol=1e-6, atol=1e-6)
    one_bad = torch.where(torch.arange(len(scores))[:, None] == 1, torch.nan, scores)
    mixed = make_cells(one_bad, counts.tolist(), vocabulary.scale)
    torch.testing.assert_close(mixed[[0, 2]], made[[0, 2]])
    assert "1 of 3 cells could not be read" in caplog.text
    broken = make_cells(torch.full_like(scores, torch.nan), counts.tolist(), vocabulary.scale)
    edges = broken.norm(dim=2)
    torch.testing.assert_close(edges, edges[:, :1].expand(-1, 3))
    assert bool((torch.linalg.det(broken) > 1).all())


def test_latent_vectors_drawn_for_given_contents_are_those_that_go_with_them():
    generator = torch.Generator().manual_seed(0)
    moments = LatentMoments(2, 1)
    for _ in range(1500):
        contents = torch.rand(64, 1, generator=generator)
        noise = torch.randn(64, 2, generator=generator)
        moments.follow(torch.cat([3 * contents + 0.1 * noise[:, :1], 0.5 * noise[:, 1:]], 1), contents)
    noise = torch.randn(4000, 2, generator=generator)
    drawn = moments.draw(noise, torch.full((4000, 1), 0.2))
    torch.testing.assert_close(drawn.mean(0), torch.tensor([0.6, 0.0]), rtol=0, atol=0.05)
    torch.testing.assert_close(drawn.std(0), torch.tensor([0.1, 0.5]), rtol=0.15, atol=0)
    free = moments.draw(noise)
    torch.testing.assert_close(free.mean(0), torch.tensor([1.5, 0.0]), rtol=0, atol=0.1)
    assert float(free[:, 0].std()) == pytest.approx(3 * 12**-0.5, rel=0.15)


@pytest.mark.parametrize("negative", [0.0, -1e-9, -1e-3])
def test_moments_that_rounding_has_left_indefinite_still_have_a_factor(negative):
    from repdiff.diffusion.cdvae.latents import _factor

    axes = torch.linalg.qr(
        torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    )[0]
    covariance = axes @ torch.diag(torch.tensor([negative, 0.3, 1.0, 2.0], dtype=torch.float64)) @ axes.mT
    factor = _factor(covariance)
    torch.testing.assert_close(factor @ factor.mT, covariance, rtol=0, atol=2 * abs(negative) + 1e-4)


def test_noised_kinds_are_drawn_from_the_composition_that_the_model_predicts(batch, monkeypatch):
    model, shown = build(batch, type_noise="predicted"), []
    guess, denoise = model.guess, model.denoise
    certain = 100 * torch.eye(len(model.elements), dtype=DOUBLE)[: batch.n_systems]  # one element a crystal
    monkeypatch.setattr(model, "guess", lambda latents: guess(latents)._replace(composition=certain))
    monkeypatch.setattr(model, "denoise", lambda noisy, *more: shown.append(noisy) or denoise(noisy, *more))
    n, counts = batch.n_atoms, batch.n_systems
    noise = Noise(
        times=torch.full((counts,), 20),
        latents=normal(counts, 8),
        coords=normal(n, 3),
        type_noise=torch.full((counts,), 1e9, dtype=DOUBLE),
        types=torch.rand(n, 2, generator=torch.Generator().manual_seed(0), dtype=DOUBLE),
    )
    model(batch, ImageFinder.of(batch.lattice), noise)
    assert shown[0].atomic_numbers.tolist() == model.elements[batch.system_idx].tolist()


def test_kinds_cost_what_they_cost_over_their_noise_where_that_is_asked_for_alone(batch):
    times, n = torch.full((batch.n_systems,), 20), batch.n_atoms
    noise = Noise(times, normal(3, 8), normal(n, 3), torch.full((3,), 4.0, dtype=DOUBLE), normal(n, 2) % 1)
    plain, over = (
        build(batch, type_loss=kind)(batch, ImageFinder.of(batch.lattice), noise)[1]
        for kind in ("plain", "over_noise")
    )
    torch.testing.assert_close(over[-1] * 4, plain[-1])
    torch.testing.assert_close(over[:-1], plain[:-1])


@pytest.mark.parametrize("kind", ["kept", "scaled"])
def test_the_error_of_the_noise_does_not_depend_on_the_size_of_the_cell(kind, batch, monkeypatch):
    """A network that is silent errs by the noise, which these processes draw in fractions of the cell."""
    model = build(batch, coordinate_loss="noise", **KINDS[kind])
    answer = model.denoise(batch, torch.full((3,), 9), normal(3, 8))
    silent = answer._replace(path=torch.zeros(batch.n_atoms, 3, dtype=DOUBLE))
    monkeypatch.setattr(model, "denoise", lambda *_: silent)
    ones = torch.ones(3, dtype=DOUBLE)
    noise = Noise(
        torch.full((3,), 5), normal(3, 8), normal(batch.n_atoms, 3), ones, normal(batch.n_atoms, 2) % 1
    )
    small, large = (
        model(crystals, ImageFinder.of(crystals.lattice), noise)[1]
        for crystals in (batch, replace(batch, lattice=3 * batch.lattice))
    )
    assert float(small[-2]) == pytest.approx(3, rel=0.5)  # of three components, each of variance one
    torch.testing.assert_close(large[-2], small[-2])


def test_latent_vectors_that_are_moved_say_the_composition_more_than_before(batch):
    model = build(batch)
    species = [batch.atomic_numbers[batch.system_idx == k] for k in range(3)]
    counts = torch.stack([(atoms[:, None] == model.elements).sum(0) for atoms in species])
    drawn = normal(3, 8)
    moved = towards_composition(model, drawn, species, n_steps=20)
    before, after = (
        (model.guess(latents).composition.log_softmax(1) * counts).sum(1) for latents in (drawn, moved)
    )
    assert bool((after > before).all())
    assert float((moved - drawn).norm(dim=1).max()) < float(drawn.norm(dim=1).max()) + 1  # tethered
