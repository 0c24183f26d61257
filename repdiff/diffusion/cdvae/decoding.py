"""From latent vectors to crystals: the reverse process of the coordinates."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from descriptors.batch import CrystalBatch
from repdiff.diffusion.cdvae.latent_optimization import LatentOptimizationSettings, descend_latents
from repdiff.diffusion.cdvae.model import Cdvae
from repdiff.diffusion.symmetry_constraint import SymmetryConstraint
from repdiff.diffusion.torus import centred, wrap
from repdiff.settings.backends.dpcdvae import CdvaeSampling

COMPOSITION_RATE, COMPOSITION_TETHER = 0.05, 0.1


def towards_composition(
    model: Cdvae,
    latents: Float[Tensor, "n n_latent"],
    species: Sequence[Int[Tensor, " _"]],
    *,
    n_steps: int,
) -> Float[Tensor, "n n_latent"]:
    """Move latent vectors to near ones that say given compositions, so that the cell they say suits these.

    Args:
        model: Trained model.
        latents: Latent vectors drawn from the prior.
        species: Atomic numbers of every crystal, all of the training set.
        n_steps: Number of gradient-descent steps.
    """
    elements, sizes = model.elements, model.sizes
    counts = torch.stack([(atoms.to(elements)[:, None] == elements).sum(0) for atoms in species])
    known = (counts.sum(1)[:, None] == sizes).to(latents)  # all zero where the training set has no such size

    def loss(moved: Tensor) -> Tensor:
        guess = model.guess(moved)
        said = (guess.composition.log_softmax(1) * counts).sum(1) + (
            guess.n_atoms.log_softmax(1) * known
        ).sum(1)
        return -said

    settings = LatentOptimizationSettings(n_steps=n_steps, rate=COMPOSITION_RATE)
    return descend_latents(latents, loss, settings, tether=COMPOSITION_TETHER)


def n_evaluations(model: Cdvae, sampling: CdvaeSampling, n_steps: int) -> int:
    """Count the evaluations of the denoiser for `n_steps` times of the noise process, all tries together."""
    return n_steps * model.process.repeats(sampling) * sampling.tries


@torch.no_grad()
def decode(
    model: Cdvae,
    atoms: CrystalBatch,
    latents: Float[Tensor, "n_systems n_latent"],
    noise: Iterator[Float[Tensor, "n_atoms 3"]],
    sampling: CdvaeSampling,
    *,
    n_steps: int,
    constraint: SymmetryConstraint | None = None,
    since: int | None = None,
    bar: tqdm | None = None,
) -> CrystalBatch:
    """Place atoms once or several times, and keep of each crystal what the encoder takes for the latent vector's.

    Which atom goes to which site is decided by chance while there is much noise, and a mistake cannot be mended
    later, but the encoder may see it. The first of several tries is what one try alone gives. Arguments are those of
    `place_atoms`.
    """
    place = partial(
        place_atoms,
        model,
        atoms,
        latents,
        noise,
        sampling,
        n_steps=n_steps,
        constraint=constraint,
        since=since,
        bar=bar,
    )
    best = place()
    if sampling.tries == 1:
        return best
    fit = model.encode(best).log_density(latents)
    for _ in range(sampling.tries - 1):
        other = place()
        other_fit = model.encode(other).log_density(latents)
        better = (other_fit > fit)[atoms.system_idx]
        best = replace(
            best,
            frac_coords=torch.where(better[:, None], other.frac_coords, best.frac_coords),
            atomic_numbers=torch.where(better, other.atomic_numbers, best.atomic_numbers),
        )
        fit = torch.maximum(fit, other_fit)
    return best


@torch.no_grad()
def place_atoms(
    model: Cdvae,
    atoms: CrystalBatch,
    latents: Float[Tensor, "n_systems n_latent"],
    noise: Iterator[Float[Tensor, "n_atoms 3"]],
    sampling: CdvaeSampling,
    *,
    n_steps: int,
    constraint: SymmetryConstraint | None = None,
    since: int | None = None,
    bar: tqdm | None = None,
) -> CrystalBatch:
    """Find the places of atoms, and with types "argmax" their kinds.

    Args:
        model: Trained model.
        atoms: Cells and kinds; coordinates count with `since` alone.
        latents: Latent vector of each crystal.
        noise: Standard normal numbers, a set for the start and one for each evaluation of the denoiser.
        sampling: How to step.
        n_steps: Times of the noise process to visit, spread evenly.
        constraint: Symmetry that the crystals keep, their cells included; None for none.
        since: Time that given coordinates are noised to, to begin there; None to begin at the last with noise alone.
        bar: Counts the evaluations.

    Returns:
        The crystals, coordinates in [0, 1).
    """
    last = model.n_times - 1 if since is None else since
    times = torch.linspace(0, last, n_steps).round().long()
    if n_steps == 1:
        times = torch.tensor([last])
    process = model.process.at(times)

    def drawn() -> Tensor:
        normal = next(noise)
        if constraint is not None:
            normal = process.symmetric_noise(normal, constraint, atoms)
        return centred(normal, atoms)

    if since is not None:
        latest = torch.full((atoms.n_systems,), n_steps - 1, device=atoms.device)
        now = replace(atoms, frac_coords=process.add_noise(atoms, latest, drawn()))
    elif constraint is None:
        now = replace(atoms, frac_coords=process.prior(atoms, drawn()))
    else:
        uniform = torch.special.ndtr(next(noise))
        now = replace(atoms, frac_coords=wrap(constraint.start(uniform)))
    for step in reversed(range(n_steps)):
        shown = torch.full((atoms.n_systems,), int(times[step]), device=atoms.device)
        for _ in range(process.repeats(sampling)):
            answer = model.denoise(now, shown, latents)
            path = answer.path if constraint is None else constraint.project(answer.path)
            moved = process.step_back(now, path, step, drawn(), sampling)
            kinds = now.atomic_numbers
            if sampling.types == "argmax":
                kinds = model.elements[answer.types.argmax(1)]
            now = replace(now, frac_coords=moved, atomic_numbers=kinds)
            if bar is not None:
                bar.update()
    coords = now.frac_coords if constraint is None else constraint.exact(now.frac_coords)
    return replace(now, frac_coords=wrap(coords))
