"""Diffusion of fractional coordinates on the torus [0, 1)³: noise, target, loss, score, and the way back.

Noise is isotropic in fractional coordinates, and the mean of x_t is x_0: a normal distribution wrapped round the
torus tends to the uniform one by itself as it widens. `ImageFinder` finds the shortest way between two points.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.diffusion.nearest_image import ImageFinder
from repdiff.diffusion.schedules import AddedNoise, linear_schedule
from repdiff.settings.backends.gemsdiff import PathLoss, ReverseRule, TorusSettings

SWITCH = 0.5  # width from which waves describe the wrapped normal better than images do
N_IMAGES = 4  # each way; the first one left out weighs exp(-40) at SWITCH
N_WAVES = 3  # the first one left out weighs exp(-79) at SWITCH


def torus_noise(settings: TorusSettings) -> AddedNoise:
    """Build the noise process of the coordinates."""
    return AddedNoise.from_betas(
        linear_schedule(settings.timesteps, first=settings.beta_first, last=settings.beta_last)
    )


def wrap(frac_coords: Float[Tensor, "n_atoms 3"]) -> Float[Tensor, "n_atoms 3"]:
    """Bring coordinates into [0, 1), also those that rounding would put at 1.

    Example:
        >>> wrap(torch.tensor([[1.25, -0.25, 0.5]]))
        tensor([[0.2500, 0.7500, 0.5000]])
    """
    wrapped = frac_coords - frac_coords.detach().floor()
    return torch.where(wrapped >= 1, torch.zeros_like(wrapped), wrapped)


def uniform_prior(
    n_atoms: int, *, generator: torch.Generator, dtype: torch.dtype = torch.float32
) -> Float[Tensor, "n_atoms 3"]:
    """Draw x_T, uniform on the torus, on the generator's device."""
    return torch.rand(n_atoms, 3, generator=generator, device=generator.device, dtype=dtype)


def add_noise(
    clean: Float[Tensor, "n_atoms 3"],
    times: Int[Tensor, " n_atoms"],
    noise: Float[Tensor, "n_atoms 3"],
    process: AddedNoise,
    *,
    scale: Float[Tensor, " n_atoms"] | None = None,
) -> Float[Tensor, "n_atoms 3"]:
    """Draw x_t from q(x_t | x_0) = [N(x_0, s_t² I)] (arXiv 2401.05402, eq. 16, right).

    Args:
        clean: Fractional coordinates x_0, in any image.
        times: Time of each atom.
        noise: Standard normal numbers.
        process: Its standard deviations are in fractions of the cell.
        scale: Factor of the standard deviation of each atom (MatterGen: n_atoms^(-1/3) of its crystal).

    Returns:
        x_t in [0, 1).
    """
    return wrap(clean + _column(process.std(times), scale, clean) * noise)


def add_step(
    before: Float[Tensor, "n_atoms 3"],
    times: Int[Tensor, " n_atoms"],
    noise: Float[Tensor, "n_atoms 3"],
    process: AddedNoise,
) -> Float[Tensor, "n_atoms 3"]:
    """Draw x_t from q(x_t | x_{t-1}), the one step that ends at `times`.

    Its variance is s_t² - s_{t-1}², which is ᾱ_{t-1} β_t. The left half of eq. 16 says β_t; iterated, that would
    not give the right half, which training uses.
    """
    return wrap(before + _column(process.step_std(times), None, before) * noise)


def path_target(
    clean: Float[Tensor, "n_atoms 3"],
    noisy: Float[Tensor, "n_atoms 3"],
    finder: ImageFinder,
    system_idx: Int[Tensor, " n_atoms"],
) -> Float[Tensor, "n_atoms 3"]:
    """Return x_0 - x_t - k*, the fractional path from x_t to the image of x_0 nearest in Å (eq. 20).

    Args:
        clean: x_0, in any image.
        noisy: x_t, in any image.
        finder: The true cells.
        system_idx: Crystal of each atom.
    """
    return finder.shortest(clean - noisy, system_idx)


def path_loss(
    predicted: Float[Tensor, "n_atoms 3"],
    target: Float[Tensor, "n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    system_idx: Int[Tensor, " n_atoms"],
    *,
    kind: PathLoss,
) -> Float[Tensor, " n_atoms"]:
    """Return the error of each atom's predicted path, measured in the true cell.

    As the target comes from `path_target`, whole cells added to x_0 or x_t change nothing; added to the
    prediction they do, because a longer way is a worse answer.

    Args:
        predicted: ε_θ, the fractional path from x_t that the network proposes.
        target: What `path_target` returned.
        lattice: True cells ρ_0.
        system_idx: Crystal of each atom.
        kind: "l1", sum of absolute Cartesian components, Å, which depends on how the crystal is turned; "l1_mean", a
            third of it; "l2", squared length, Å² (eq. 20).

    Source: arXiv 2401.05402, eq. 20; "l1_mean" is what GemsDiff's program takes a mean of
    (https://github.com/E-Veillon/gemsdiff, `src/loss/optimal_traj.py` at revision fcbd728).
    """
    error = torch.einsum("ai,aij->aj", predicted - target, lattice[system_idx])
    if kind == "l2":
        return error.square().sum(1)
    return error.abs().sum(1) if kind == "l1" else error.abs().mean(1)


def reverse_step(
    noisy: Float[Tensor, "n_atoms 3"],
    path: Float[Tensor, "n_atoms 3"],
    times: Int[Tensor, " n_atoms"],
    noise: Float[Tensor, "n_atoms 3"],
    process: AddedNoise,
    *,
    rule: ReverseRule,
    scale: Float[Tensor, " n_atoms"] | None = None,
) -> Float[Tensor, "n_atoms 3"]:
    """Draw x_{t-1} from x_t and the predicted path to x_0.

    The rules, with x' = x_t + path:

    * "paper": x' + √β̃_t ε, β̃_t = β_t (1 - ᾱ_{t-1}) / (1 - ᾱ_t) (text after eq. 17, algorithm 2);
    * "code": x' + √β_{t-1} ε (the published program);
    * "renoise": x' + s_{t-1} ε, which has the distribution of x_{t-1} that training showed where x' is right;
    * "posterior": x_t + (1 - r) path + s_{t-1} √(1 - r) ε with r = (s_{t-1} / s_t)², the mean and variance of
      x_{t-1} given x_t and x_0 on the line (ancestral sampling, arXiv 2011.13456, appendix F). With the path
      s_t² · score this is the step of a score-based model.

    Every rule ends, at time 0, at x' without noise.

    Args:
        noisy: x_t, in any image.
        path: Fractional path from x_t to the predicted x_0.
        times: t of each atom.
        noise: Standard normal numbers.
        process: The noise process.
        rule: See above.
        scale: Factor of the noise of each atom, as in `add_noise`; not for the first two rules.

    Returns:
        x_{t-1} in [0, 1).

    Raises:
        ValueError: If the rule needs β and the process has none, or a scale is given to such a rule.
    """
    before, after = process.std_before(times), process.std(times)
    ratio = (before / after).square()
    if rule == "renoise":
        std, share = before, torch.ones_like(ratio)
    elif rule == "posterior":
        std, share = before * (1 - ratio).sqrt(), 1 - ratio
    else:
        if process.betas is None or scale is not None:
            raise ValueError(
                f"rule {rule!r} needs a process made from β and no scale: take 'renoise' or 'posterior'"
            )
        betas = process.betas.to(times.device)
        variance = betas[times] * ratio if rule == "paper" else betas[(times - 1).clamp(min=0)]
        std, share = torch.where(times > 0, variance.sqrt(), 0.0), torch.ones_like(ratio)
    return wrap(noisy + share.to(path.dtype)[:, None] * path + _column(std, scale, noisy) * noise)


def wrapped_normal_log_density(offset: Float[Tensor, "n d"], std: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
    """Return log of the density at x_t of the normal distribution about x_0 wrapped round the torus.

    Below a width of 0.5 it is summed over images, above over waves (Poisson's formula): either sum of a few
    terms is exact there to double precision, for any width from 0 to infinity.

    Args:
        offset: x_t - x_0, in any image.
        std: Width s_t of each row, positive.

    Source: Mardia and Jupp, Directional Statistics (2000), section 3.5 (wrapped normal).
    """
    images, narrow = _images(offset, std)
    by_images = (-(images / narrow).square() / 2).logsumexp(-1) - (
        narrow[..., 0] * math.sqrt(2 * math.pi)
    ).log()
    _, angles, weights = _waves(offset, std)
    by_waves = (2 * weights * angles.cos()).sum(-1).log1p()
    return torch.where((std < SWITCH)[:, None], by_images, by_waves).sum(1)


def wrapped_normal_score(offset: Float[Tensor, "n d"], std: Float[Tensor, " n"]) -> Float[Tensor, "n d"]:
    """Return the gradient by x_t of `wrapped_normal_log_density`, whose arguments it takes.

    Near zero width it is -offset / s² of the nearest image; for great widths it fades as exp(-2π² s²), without
    the cancellation that a sum over images would suffer.
    """
    images, narrow = _images(offset, std)
    shares = (-(images / narrow).square() / 2).softmax(-1)
    by_images = -(shares * images).sum(-1) / narrow[..., 0].square()
    wave, angles, weights = _waves(offset, std)
    slope = -4 * math.pi * (wave * weights * angles.sin()).sum(-1)
    by_waves = slope / (1 + (2 * weights * angles.cos()).sum(-1))
    return torch.where((std < SWITCH)[:, None], by_images, by_waves)


def _images(offset: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """Return the offsets of the nearest images, and the widths, no greater than where they are used."""
    numbers = torch.arange(-N_IMAGES, N_IMAGES + 1, device=offset.device, dtype=offset.dtype)
    nearest = offset - offset.detach().round()
    return nearest[..., None] + numbers, std.to(offset.dtype).clamp(max=SWITCH)[:, None, None]


def _waves(offset: Tensor, std: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return wave numbers, angles and weights exp(-2π² s² k²), for widths no less than where they are used."""
    wave = torch.arange(1, N_WAVES + 1, device=offset.device, dtype=offset.dtype)
    wide = std.to(offset.dtype).clamp(min=SWITCH)[:, None, None]
    angles = 2 * math.pi * (offset - offset.detach().round())[..., None] * wave
    return wave, angles, (-2 * (math.pi * wide * wave).square()).exp()


def _column(std: Tensor, scale: Tensor | None, like: Tensor) -> Tensor:
    """Return standard deviations, times their factors, as a column of the coordinates' type."""
    return (std if scale is None else std * scale).to(like.dtype)[:, None]


def centred(values: Float[Tensor, "n_atoms n"], batch: CrystalBatch) -> Float[Tensor, "n_atoms n"]:
    """Subtract from the vectors of atoms their mean over each crystal."""
    sums = values.new_zeros(batch.n_systems, values.shape[1]).index_add(0, batch.system_idx, values)
    return values - (sums / batch.n_atoms_per_system[:, None])[batch.system_idx]
