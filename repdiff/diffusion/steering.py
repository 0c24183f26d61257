"""Sampling drawn towards goals of differentiable functions of the clean vector, without training anew.

At every step the estimate of the clean vector moves along the gradient of the log-likelihood of the goals, so that the
score becomes that of the conditioned distribution: x̂₀ + (1 - ᾱ) / √ᾱ · ∇ log p(y | x_t), where x_t is the noisy vector.

* Towards a value y of a function f, p(y | x_t) is normal about f(x̂₀). Its variance is the square of the tolerance,
  that of the function itself, and what the noise leaves open of f, (1 - ᾱ) / √ᾱ · ∇f · J ∇f, where J is the derivative
  of x̂₀ by x_t: by Tweedie's formula (1 - ᾱ) / √ᾱ · J is the covariance of x₀ given x_t.
* Without a value, p is exp(strength · f(x̂₀)), so that large f are favoured.

For a normal distribution and linear functions both are exact; else they are approximations, the better the less noise.

Source: the gradient through the estimate is that of Chung et al., arXiv 2209.14687 (DPS), the variance in the place of
a constant that of Song et al., ICLR 2023 (ΠGDM), with the covariance of Boys et al., arXiv 2310.06721.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from repdiff.diffusion.samplers import Estimate, Schedule
from repdiff.errors import UserError


class Measured(NamedTuple):
    """What a function says of some vectors.

    Attributes:
        value: Its value, with a gradient.
        variance: Variance of the value where the function does not know it exactly; no gradient is taken.
        penalty: What is taken off the log-likelihood besides, with a gradient.
        known: Where the function says anything; elsewhere it does not steer.
    """

    value: Float[Tensor, " n"]
    variance: Float[Tensor, " n"]
    penalty: Float[Tensor, " n"]
    known: Bool[Tensor, " n"]


@dataclass(frozen=True, kw_only=True)
class Aim:
    """What is wanted of one function.

    Attributes:
        target: Value that it shall have; None for as much as possible, by exp(strength · f).
        tolerance: Standard deviation about the target that is as good as the target itself.
        strength: Factor of the log-likelihood; 1 is Bayes' rule. With a minus sign and without a target, little is
            wanted.
    """

    target: float | None = None
    tolerance: float = 0.0
    strength: float = 1.0

    def log_weight(self, value: Float[Tensor, " n"], variance: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the log-likelihood of finished vectors up to a constant.

        Args:
            value: Values of the function.
            variance: Variances of these.
        """
        if self.target is None:
            return self.strength * value
        total = self.tolerance**2 + variance
        return -self.strength * (value - self.target).square() / (2 * total.clamp(min=1e-30))


Measure = Callable[[Tensor, slice], Sequence[Measured]]
"""Evaluates all functions for vectors in [0, 1], those of the samples that the slice names."""


@dataclass(frozen=True, kw_only=True)
class Steering:
    """Goals of samples.

    Attributes:
        measure: Evaluates the functions, one for each aim.
        aims: What is wanted of each.
    """

    measure: Measure
    aims: Sequence[Aim]


def steered(estimate: Estimate, steering: Steering, schedule: Schedule, rows: slice) -> Estimate:
    """Move the estimate of clean vectors towards goals.

    Args:
        estimate: Estimates clean vectors in [-1, 1]; its gradient by the noisy vectors is taken.
        steering: The goals.
        schedule: The noise process.
        rows: Which samples the estimate is for.
    """

    def moved(noisy: Tensor, time: int, previous: Tensor | None) -> Tensor:
        signal = schedule.signal(time)
        gain = (1 - signal) / signal**0.5
        with torch.enable_grad():
            shown = noisy.detach().requires_grad_()
            clean = estimate(shown, time, previous)
            measured = steering.measure((clean + 1) / 2, rows)
            slope = _slope(clean, shown, measured, steering.aims, gain)
        return (clean.detach() + gain * slope).clamp(-1.0, 1.0)

    return moved


def _slope(
    clean: Tensor, noisy: Tensor, measured: Sequence[Measured], aims: Sequence[Aim], gain: float
) -> Float[Tensor, "n width"]:
    """Return the gradient of the log-likelihood of all goals by the noisy vectors."""
    total = torch.zeros_like(noisy)
    towards: list[_Goal] = []
    for aim, one in zip(aims, measured, strict=True):
        _check_finite(one)
        by_clean, by_noisy = _gradients(one.value, clean, noisy)
        by_noisy = torch.where(one.known[:, None], by_noisy, 0.0)
        if aim.target is None:
            total += aim.strength * by_noisy
        else:
            missing = torch.where(one.known, aim.target - one.value.detach(), 0.0)
            own = (aim.tolerance**2 + one.variance.detach()) / aim.strength
            towards.append(_Goal(missing, torch.where(one.known, own, 1.0), by_clean, by_noisy))
        total -= torch.where(one.known[:, None], _gradients(one.penalty, clean, noisy)[1], 0.0)
    return total + _towards(towards, gain) if towards else total


class _Goal(NamedTuple):
    """How far each row is from a target, how well it is to be met, and the gradients of the function."""

    missing: Float[Tensor, " n"]
    variance: Float[Tensor, " n"]
    by_clean: Float[Tensor, "n width"]
    by_noisy: Float[Tensor, "n width"]


def _towards(goals: Sequence[_Goal], gain: float) -> Float[Tensor, "n width"]:
    """Return the gradient of the log-likelihood of the goals that have a target, all together.

    The noise leaves functions open together, not each by itself: Σ_kl = gain · ∇f_k · J ∇f_l.
    """
    missing, own, by_clean, by_noisy = (torch.stack(parts, 1).double() for parts in zip(*goals, strict=True))
    still_open = _without_negative(gain * torch.einsum("nkw,nlw->nkl", by_clean, by_noisy))
    root = (still_open.diagonal(dim1=1, dim2=2) + own).clamp(min=1e-300).sqrt()  # the units of the functions
    whole = (still_open + torch.diag_embed(own)) / (root[:, :, None] * root[:, None, :])
    eye = torch.eye(whole.shape[-1], dtype=whole.dtype, device=whole.device)
    solved = torch.linalg.solve(whole + 1e-9 * eye, (missing / root)[..., None])[..., 0] / root
    return torch.einsum("nk,nkw->nw", solved, by_noisy).to(goals[0].by_noisy.dtype)


def _without_negative(matrices: Float[Tensor, "n k k"]) -> Float[Tensor, "n k k"]:
    """Return the nearest symmetric matrices without negative eigenvalues: a network's derivative need not be one."""
    values, vectors = torch.linalg.eigh((matrices + matrices.transpose(1, 2)) / 2)
    return vectors @ torch.diag_embed(values.clamp(min=0)) @ vectors.transpose(1, 2)


def _gradients(value: Float[Tensor, " n"], clean: Tensor, noisy: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of each row's value by its clean and its noisy vector; zeros where it depends on neither."""
    if not value.requires_grad:
        return torch.zeros_like(noisy), torch.zeros_like(noisy)
    found = torch.autograd.grad(value.sum(), [clean, noisy], retain_graph=True, allow_unused=True)
    by_clean, by_noisy = (torch.zeros_like(noisy) if one is None else one for one in found)
    return by_clean, by_noisy


def _check_finite(measured: Measured) -> None:
    """Refuse a function that gives no finite number where it says something.

    Raises:
        UserError: If it does.
    """
    wrong = measured.known & ~measured.value.detach().isfinite()
    if bool(wrong.any()):
        row = int(wrong.nonzero()[0, 0])
        raise UserError(
            f"a function that steers gives {float(measured.value.detach()[row])} for a vector, expected finite numbers "
            "for all that the model can make"
        )
