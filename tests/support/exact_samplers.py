"""Samplers of all backends run with the exact score of two modes in place of a network."""

from dataclasses import replace
from itertools import repeat

import torch
from exact_targets import Modes, measure

from descriptors.batch import CrystalBatch
from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.cdvae.decoding import place_atoms
from repdiff.diffusion.cdvae.latents import Vocabulary
from repdiff.diffusion.cdvae.model import Cdvae, DenoiserOutput
from repdiff.diffusion.joint_process import JointProcess, StateNoise
from repdiff.diffusion.lattice_ddpm import ParameterScale
from repdiff.diffusion.lattice_space import LatticeCoordinates
from repdiff.diffusion.noise_level import Example, NoiseLevel
from repdiff.diffusion.predictor_corrector import Draws, Prediction, sample
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.diffusion.symmetric_lattice import Limit, as_matrices
from repdiff.diffusion.torus import reverse_step
from repdiff.diffusion.torus_lattice import Clean, TorusLatticeDiffusion
from repdiff.networks.crystal import CrystalNetworkSettings
from repdiff.settings.backends.gemsdiff import ReverseSettings, TorusLatticeSettings

DOUBLE = torch.float64
TINY = CrystalNetworkSettings(width=16, n_blocks=1, n_neighbors=8, max_neighbors=12)
PLACES = Modes((0.25, 0.65), 0.05)
CELLS = Modes((-0.4, 0.5), 0.15, wrapped=False)
VECTORS = Modes((-0.5, 0.4), 0.1, wrapped=False)  # in [-1, 1], as diffused


def exact_vectors(training):
    """A diffusion of three independent features that have the modes VECTORS, whose network predicts exactly."""
    noise = {name: getattr(training, name) for name in ("timesteps", "schedule", "objective")}
    settings = ModelSettings.model_validate(
        {"n_features": 3, "blocks": {}, "diffusion": noise, "denoiser": {"name": "mlp", "width": 8}}
    )
    diffusion = build_diffusion(settings, seed=0)
    schedule = diffusion.noise_schedule

    def predict(noisy, times, previous=None, context=None):
        signal = schedule.signal(int(times[0]))
        clean = VECTORS.clean(noisy.double(), signal)
        epsilon = (noisy - signal**0.5 * clean) / (1 - signal) ** 0.5
        velocity = signal**0.5 * epsilon - (1 - signal) ** 0.5 * clean
        return {"pred_noise": epsilon, "pred_x0": clean, "pred_v": velocity}[training.objective].float()

    diffusion.denoiser.forward = predict
    return diffusion


def vector_samples(training, sampling, n_steps, *, n=1000):
    """Vectors of three independent features that have the modes VECTORS, from a network that predicts exactly."""
    diffusion = exact_vectors(training)
    sampler = SamplerSettings(name=sampling.sampler, n_steps=n_steps, eta=sampling.eta)
    made = diffusion.sample(n, generator=torch.Generator().manual_seed(2), sampler=sampler)
    return measure(2 * made - 1, VECTORS)


def vector_variations(training, sampling, parents, strength, *, steps=None, first=0):
    """Variations of vectors, in [-1, 1] as these, by the same network."""
    diffusion = exact_vectors(training)
    level = NoiseLevel.of(strength, training.timesteps, steps)
    made = diffusion.sample(
        len(parents),
        generator=torch.Generator().manual_seed(2),
        sampler=SamplerSettings(name=sampling.sampler, n_steps=steps, eta=sampling.eta),
        example=Example((parents.float() + 1) / 2, level),
        first=first,
    )
    return 2 * made - 1


def joint_samples(training, reverse, n_steps, *, n=600, seed=7, strength=None):
    """One-atom crystals whose coordinates have the modes PLACES and whose cells have CELLS.

    With a strength they are variations of crystals that have the modes, and 0.3 of whose atoms are oxygen.
    """
    process = JointProcess.of(training, Limit(0.07))
    generator = torch.Generator().manual_seed(seed)

    def numbers():
        while True:
            yield Draws(
                coords=torch.randn(n, 3, generator=generator),
                lattice=torch.randn(n, 6, generator=generator),
                chances=torch.rand(n, 2, generator=generator),
            )

    def predict(state, time):
        std = float(process.widths.stds[time])
        return Prediction(
            score=std * PLACES.score(state.coords, std**2),
            clean=CELLS.clean(state.z, process.schedule.signal(time)),
            logits=torch.tensor([0.3, 0.7]).log().expand(n, 2),
        )

    start = process.prior(
        torch.rand(n, 3, generator=generator), torch.randn(n, 6, generator=generator), torch.arange(n)
    )
    since = None
    if strength is not None:
        level = NoiseLevel.of(strength, process.n_times, n_steps)
        since, n_steps = level.time, level.n_steps
        cells = CELLS.draw(n, 6).float()
        clean = start._replace(
            coords=PLACES.draw(n, 3).float() % 1,
            z=as_matrices(cells),
            numbers=torch.where(torch.rand(n, generator=generator) < 0.3, 8, 22),
        )
        noise = StateNoise(
            torch.randn(n, 3, generator=generator),
            torch.randn(n, 6, generator=generator),
            torch.rand(n, generator=generator),
        )
        start = process.add_noise(clean, torch.full((n,), since), noise)
    made = sample(
        predict, start, process, torch.tensor([8, 22]), numbers(), reverse, n_steps=n_steps, since=since
    )
    elements = made.z[:, [0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]
    return measure(made.coords, PLACES), measure(elements, CELLS), float((made.numbers == 8).float().mean())


def torus_samples(process, rule, n=2500):
    generator = torch.Generator().manual_seed(0)
    at = torch.rand(n, 3, generator=generator, dtype=DOUBLE)
    for time in reversed(range(process.n_times)):
        variance = float(process.stds[time]) ** 2
        noise = torch.randn(n, 3, generator=generator, dtype=DOUBLE)
        path = variance * PLACES.score(at, variance)
        at = reverse_step(at, path, torch.full((n,), time), noise, process, rule=rule)
    return measure(at, PLACES)


def pair_model(settings, atoms, *, periodic=False):
    """A model that gives the exact answer for pairs whose separation has the modes PLACES.

    With the mean scaled it knows the separation itself, or, if `periodic`, its image in the cell alone, as networks do.
    """
    small = {"network": TINY, "encoder": TINY, "n_latent": 8, "head_width": 16}
    model = Cdvae(
        settings.model_copy(update=small), Vocabulary.of(atoms, min_length_std=0.02, min_angle_std=0.02)
    ).double()
    scaled = settings.denoiser == "ddpm" and settings.mean == "scaled"

    def denoise(noisy, times, latents):
        at = noisy.frac_coords.view(-1, 2, 3)
        apart = at[:, 0] - at[:, 1]
        if scaled:  # the noise of a separation has the variance 2 (1 - ᾱ_t)
            signal = float(model.process.signals[int(times[0])])
            inside = apart - apart.round() if periodic else apart
            path = replace(PLACES, wrapped=periodic).path(inside, signal, 2 * (1 - signal)) / 2
        else:
            variance = 2 * float(model.process.width(times, noisy.lattice)[0] / 4) ** 2
            path = variance * PLACES.score(apart, variance) / 2
        both = torch.stack([path, -path], 1).view(-1, 3)
        return DenoiserOutput(path=both, types=torch.zeros(len(both), 2, dtype=DOUBLE))

    model.denoise = denoise
    return model


def torus_variations(strength, n=600, *, steps=50, apart=None):
    """Separations of variations of pairs, whose separation has the modes PLACES or is given."""
    options = TorusLatticeSettings.model_validate({"network": TINY})
    apart = PLACES.draw(n, 3) if apart is None else apart
    n = len(apart)
    cells = 4 * torch.eye(3).repeat(n, 1, 1)
    diffusion = TorusLatticeDiffusion(
        options,
        LatticeCoordinates.plain(gauge="polar"),
        ParameterScale.fit(cells.double(), min_length_std=0.1, min_angle_std=0.1),
    )

    def denoise(noisy, times):
        variance = 2 * float(diffusion.torus.std(times[:1])) ** 2
        at = noisy.frac_coords.view(-1, 2, 3)
        path = variance * PLACES.score(at[:, 0] - at[:, 1], variance) / 2
        return Clean(path=torch.stack([path, -path], 1).view(-1, 3), lattice=cells)

    diffusion.denoise = denoise
    generator = torch.Generator().manual_seed(3)
    clean = CrystalBatch(
        frac_coords=torch.stack([apart.float(), torch.zeros(n, 3)], 1).view(-1, 3),
        lattice=cells,
        atomic_numbers=torch.tensor([3, 9]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(2),
    )
    level = NoiseLevel.of(strength, diffusion.n_times, steps)
    begun, vector = diffusion.noised(
        clean,
        level.time,
        torch.randn(2 * n, 3, generator=generator),
        torch.randn(n, 9, generator=generator),
    )
    made = diffusion.sample(
        begun,
        vector,
        torch.randn(level.n_steps, 2 * n, 3, generator=generator),
        torch.randn(level.n_steps, n, 9, generator=generator),
        ReverseSettings(positions="posterior"),
        since=level.time,
    )
    at = made.frac_coords.view(n, 2, 3)
    return (at[:, 0] - at[:, 1]).double(), made.lattice


def pair_variations(settings, sampling, apart, strength, *, steps=50):
    """Separations of variations of pairs by the process of `pair_model`."""
    n = len(apart)
    atoms = CrystalBatch(
        frac_coords=torch.stack([apart, torch.zeros(n, 3, dtype=DOUBLE)], 1).view(-1, 3),
        lattice=4 * torch.eye(3, dtype=DOUBLE).repeat(n, 1, 1),
        atomic_numbers=torch.tensor([3, 9]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(2),
    )
    generator = torch.Generator().manual_seed(1)
    noise = (torch.randn(2 * n, 3, generator=generator, dtype=DOUBLE) for _ in repeat(None))
    model = pair_model(settings, atoms)
    level = NoiseLevel.of(strength, model.n_times, steps)
    made = place_atoms(
        model,
        atoms,
        torch.zeros(n, 8, dtype=DOUBLE),
        noise,
        sampling.model_copy(update={"types": "fixed"}),
        n_steps=level.n_steps,
        since=level.time,
    )
    at = made.frac_coords.view(n, 2, 3)
    return at[:, 0] - at[:, 1]


def pair_samples(settings, sampling, n_steps, n=600, *, periodic=False):
    atoms = CrystalBatch(
        frac_coords=torch.zeros(2 * n, 3, dtype=DOUBLE),
        lattice=4 * torch.eye(3, dtype=DOUBLE).repeat(n, 1, 1),
        atomic_numbers=torch.tensor([3, 9]).repeat(n),
        system_idx=torch.arange(n).repeat_interleave(2),
    )
    generator = torch.Generator().manual_seed(1)
    noise = (torch.randn(2 * n, 3, generator=generator, dtype=DOUBLE) for _ in repeat(None))
    fixed = sampling.model_copy(update={"types": "fixed"})
    latents = torch.zeros(n, 8, dtype=DOUBLE)
    made = place_atoms(
        pair_model(settings, atoms, periodic=periodic), atoms, latents, noise, fixed, n_steps=n_steps
    )
    at = made.frac_coords.view(n, 2, 3)
    return measure(at[:, 0] - at[:, 1], PLACES)
