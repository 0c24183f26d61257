"""With exact scores every sampler gives mean, width and shares of the modes, at the settings that our configs use."""

from pathlib import Path

import pytest
import torch
import yaml
from exact_samplers import DOUBLE, joint_samples, pair_samples, torus_samples, vector_samples

from descriptors.batch import CrystalBatch
from repdiff.backends import BACKENDS
from repdiff.backends.dpcdvae import DpCdvae
from repdiff.backends.gemsdiff import GemsDiff
from repdiff.backends.mattergen import MatterGen
from repdiff.backends.options import parse_options
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.diffusion.cdvae.coordinates import make_process
from repdiff.diffusion.torus import torus_noise

CONFIGS = Path(__file__).parents[3] / "configs"
KEEPS = {"mattergen": "mattergen_perov5_cpu"}  # trainings of models that a comparison names


def merged(model, *sections):
    """Options of several sections, later ones first; nested tables as dotted names."""
    found = {}
    for section in sections:
        for name, value in (section or {}).items():
            if name.partition(".")[0] not in model.model_fields:
                continue
            nested = value if isinstance(value, dict) else {None: value}
            found.update({name if key is None else f"{name}.{key}": part for key, part in nested.items()})
    return found


def uses(backend):
    """Training options, sampling options and steps of every config, and every system of a comparison, of a backend."""
    files = {file.stem: yaml.safe_load(file.read_text()) for file in sorted(CONFIGS.glob("*.yaml"))}
    for stem, content in files.items():
        systems = content.get("compare", {}).get("systems") or {"": {}}
        for name, system in systems.items():
            system = system or {}
            model = system.get("generate", {}).get("model")
            base, own = content.get("train"), system.get("train")
            if model is not None:
                first, _, last = model.removesuffix("-seed0").partition("-")
                source = files[KEEPS.get(first, first)]
                base, own = (
                    source["train"],
                    source.get("compare", {}).get("systems", {}).get(last, {}).get("train"),
                )
            chosen = {**(base or {}), **(own or {})}
            if BACKENDS[chosen.get("backend", "structrepdiff")] is not backend:
                continue
            training = parse_options(backend.training_options, merged(backend.training_options, base, own))
            generate = {**content.get("generate", {}), **system.get("generate", {})}
            sampling = parse_options(
                backend.sampling_options,
                merged(backend.sampling_options, content.get("generate"), system.get("generate")),
            )
            yield pytest.param(training, sampling, generate.get("steps"), id=f"{stem} {name}".strip())


def unique(params, key):
    """Leave out what is the same for a sampler."""
    seen = {}
    for param in params:
        seen.setdefault(str(key(*param.values)), param)
    return list(seen.values())


def agree(found, *, shares=0.05, shifts=0.15, width=0.07):
    assert found.share == pytest.approx(0.3, abs=shares)
    assert found.shifts == pytest.approx((0, 0), abs=shifts)
    assert found.width == pytest.approx(1, abs=width)


def _vector_key(training, sampling, steps):
    return training.timesteps, training.schedule, training.objective, sampling.sampler, sampling.eta, steps


@pytest.mark.parametrize(("training", "sampling", "steps"), unique(uses(StructRepDiff), _vector_key))
def test_the_sampler_of_vectors_recovers_its_target(training, sampling, steps):
    agree(vector_samples(training, sampling, steps))


def _joint_key(training, sampling, steps):
    names = ("timesteps", "width_first", "width_last", "beta_first", "beta_last")
    reverse = (sampling.corrector_steps, sampling.position_corrector, sampling.lattice_corrector)
    return [getattr(training, name) for name in names], reverse, sampling.corrector_temperature, steps


@pytest.mark.parametrize(("training", "sampling", "steps"), unique(uses(MatterGen), _joint_key))
def test_the_joint_sampler_recovers_its_target(training, sampling, steps):
    places, cells, share = joint_samples(training, sampling, steps, n=300 if steps > 300 else 600)
    if sampling.corrector_temperature < 1:
        assert places.width < 0.95
    else:
        agree(places)
    few = steps <= 100  # steps of equal size in time are long for cells, which come out narrower
    agree(cells, shifts=0.25 if few else 0.15, width={25: 0.25, 50: 0.17, 100: 0.12}.get(steps, 0.07))
    assert share == pytest.approx(0.3, abs=0.09)


@pytest.mark.parametrize("ratio", [0.4, 0.5, 0.7])
def test_langevin_correctors_keep_the_width_of_the_data(ratio):
    training, sampling = MatterGen.training_options(), MatterGen.sampling_options
    reverse = sampling(position_corrector=ratio, lattice_corrector=ratio)
    places, cells, _ = joint_samples(training, reverse, 200)
    assert places.width == pytest.approx(1, abs=0.04)
    assert cells.width == pytest.approx(1, abs=0.07)


def test_a_low_temperature_narrows_places_by_its_root_and_leaves_cells():
    training, sampling = MatterGen.training_options(), MatterGen.sampling_options
    cold = sampling(position_corrector=0.7, corrector_temperature=0.51)
    places, cells, _ = joint_samples(training, cold, 200)
    assert places.width == pytest.approx(0.51**0.5, abs=0.04)
    assert cells.width == pytest.approx(1, abs=0.07)


def _torus_key(training, sampling, steps):
    return training.torus.model_dump(exclude={"loss"}), sampling.positions


@pytest.mark.parametrize(("training", "sampling", "steps"), unique(uses(GemsDiff), _torus_key))
def test_the_torus_sampler_recovers_its_target_or_has_the_bias_that_is_documented(training, sampling, steps):
    found = torus_samples(torus_noise(training.torus), sampling.positions)
    if sampling.positions == "posterior":
        agree(found)
    else:
        assert sampling.positions == "paper"  # of the config with the published settings
        assert found.share < 0.01


@pytest.mark.parametrize(
    ("rule", "share", "width"), [("renoise", 0.21, 0.67), ("code", 0.0, 0.39), ("paper", 0.0, 0.35)]
)
def test_rules_that_jump_to_the_predicted_place_lose_modes_and_width(rule, share, width):
    found = torus_samples(torus_noise(GemsDiff.training_options().torus), rule)
    assert found.share == pytest.approx(share, abs=0.03)
    assert found.width == pytest.approx(width, abs=0.05)


def _pair_key(training, sampling, steps):
    names = ("denoiser", "timesteps", "schedule", "mean", "levels", "narrowest", "widest")
    return [getattr(training, name) for name in names], sampling.step, sampling.wrap, steps


@pytest.mark.parametrize(("training", "sampling", "steps"), unique(uses(DpCdvae), _pair_key))
def test_the_sampler_of_latent_vectors_has_the_bias_that_is_documented(training, sampling, steps):
    if training.denoiser == "langevin":  # a hundred steps take ten times as long, and are no better
        agree(pair_samples(training, sampling.model_copy(update={"langevin_steps": 10}), steps))
        return
    found = pair_samples(training, sampling, steps, periodic=sampling.wrap == "every")
    if sampling.step == "unscaled":  # of the config with the published settings
        assert found.share < 0.01
        assert found.width == pytest.approx(0.15, abs=0.03)
    else:
        assert sampling.step == "renoise"
        assert found.share == pytest.approx(0.22, abs=0.05)
        assert found.shifts == pytest.approx((0, 0), abs=0.15)
        assert found.width == pytest.approx(0.65, abs=0.06)


WITH_POSTERIOR = (param for param in uses(DpCdvae) if param.values[0].denoiser == "ddpm")


@pytest.mark.parametrize(("training", "sampling", "steps"), unique(WITH_POSTERIOR, _pair_key))
def test_the_posterior_recovers_the_target_of_latent_vectors(training, sampling, steps):
    sampling = sampling.model_copy(update={"step": "posterior", "wrap": "last"})  # wrapping is a bias too
    coarse = training.schedule != "sigmoid" and steps == 200
    agree(pair_samples(training, sampling, steps), shares=0.06, width=0.25 if coarse else 0.07)


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
@pytest.mark.parametrize("step", ["renoise", "posterior"])
def test_without_wrapping_a_network_that_sees_places_in_the_cell_loses_the_modes_of_a_wide_prior(
    step, schedule
):
    training = DpCdvae.training_options(mean="scaled", schedule=schedule)
    found = pair_samples(training, DpCdvae.sampling_options(step=step, wrap="never"), 200, periodic=True)
    assert found.width > 2


def test_renoising_is_biased_as_documented():
    found = pair_samples(DpCdvae.training_options(), DpCdvae.sampling_options(step="renoise"), 200)
    assert found.share == pytest.approx(0.21, abs=0.04)
    assert found.width == pytest.approx(0.7, abs=0.06)


@pytest.mark.parametrize("wrap", ["every", "last", "never"])
@pytest.mark.parametrize("time", [0, 1, 300, 800])
def test_the_step_of_the_published_program_is_its_formula(time, wrap):
    """x_t, by `wrap` in the cell, centred, less √(1 - ᾱ_t) ε̂, all over √ᾱ_t, plus √β̃_t ε (β, ᾱ written out here)."""
    settings = DpCdvae.training_options(mean="scaled")
    process = make_process(settings)
    betas = torch.sigmoid(torch.linspace(-10, 6, 1000, dtype=DOUBLE)) * (0.01 - 1e-10) + 1e-10
    signals = (1 - betas).cumprod(0)
    generator = torch.Generator().manual_seed(time)
    x, noise_hat, noise = torch.randn(3, 4, 3, generator=generator, dtype=DOUBLE)
    noise_hat, noise = noise_hat - noise_hat.mean(0), noise - noise.mean(0)
    inside = x % 1 if wrap == "every" or (wrap == "last" and time == 0) else x
    variance = betas[time] * (1 - signals[time - 1]) / (1 - signals[time]) if time else torch.zeros(())
    expected = (inside - inside.mean(0) - (1 - signals[time]).sqrt() * noise_hat) / signals[time].sqrt()
    expected = expected + variance.sqrt() * noise
    batch = CrystalBatch(
        frac_coords=x,
        lattice=4 * torch.eye(3, dtype=DOUBLE)[None],
        atomic_numbers=torch.tensor([3, 9, 8, 8]),
        system_idx=torch.zeros(4, dtype=torch.long),
    )
    path = -(1 - signals[time]).sqrt() * noise_hat
    found = process.step_back(batch, path, time, noise, DpCdvae.sampling_options(step="unscaled", wrap=wrap))
    torch.testing.assert_close(found, expected)
