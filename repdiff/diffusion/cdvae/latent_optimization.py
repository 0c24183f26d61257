"""Latent vectors moved by gradients: towards a property that a small head predicts, or towards a composition.

Source: Xie et al., arXiv 2110.06197, section 5.3 (optimising properties); unlike there, the head is fitted to the
latent vectors of a trained model, so that any property of labelled crystals will do without training it again.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from repdiff.diffusion.cdvae.model import Posterior
from repdiff.execution.progress import progress_bar
from repdiff.networks.crystal.layers import two_layers

LEAST_SPREAD = 1e-8
TETHERS = (0.5, 0.2, 0.1, 0.05, 0.02)  # for steps in standard deviations of the latent vectors


class PropertySettings(BaseModel):
    """Size of a property head, and how it is fitted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(128, ge=1, description="inner channels")
    n_steps: int = Field(4000, ge=1, description="optimiser steps")
    batch_size: int = Field(256, ge=1, description="latent vectors in a step")
    learning_rate: float = Field(1e-3, gt=0, description="highest learning rate; it falls to 0 as a cosine")
    weight_decay: float = Field(0.1, ge=0, description="decoupled weight decay of AdamW")


class LatentOptimizationSettings(BaseModel):
    """How latent vectors are moved."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_steps: int = Field(200, ge=0, description="steps of Adam")
    rate: float = Field(0.03, gt=0, description="learning rate of Adam")
    tether: float | None = Field(
        None,
        ge=0,
        description="weight of half the squared distance from the start, so that z stays likely; without it several, "
        "from 0.5 to 0.02",
    )


class PropertyHead(nn.Module):
    """A scalar property from a latent vector.

    Args:
        n_latent: Length of a latent vector.
        width: Inner channels.
        mean: Mean of the property over the training crystals.
        std: Standard deviation of the property over the training crystals, positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, n_latent: int, width: int, *, mean: float, std: float) -> None:
        super().__init__()
        self.layers = two_layers(n_latent, width, 1)
        self.register_buffer("mean", torch.tensor(mean))
        self.register_buffer("std", torch.tensor(std))

    def forward(self, latents: Float[Tensor, "n n_latent"]) -> Float[Tensor, " n"]:
        """Predict the property, in its own unit."""
        return self.layers(latents)[:, 0] * self.std + self.mean

    def loss(self, latents: Float[Tensor, "n n_latent"], values: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the squared error of each prediction over the variance of the property."""
        return ((self(latents) - values) / self.std).square()


def fit_property(
    latents: Posterior,
    values: Float[Tensor, " n"],
    settings: PropertySettings,
    *,
    seed: int,
    progress: bool = False,
) -> PropertyHead:
    """Fit a head to draws from the latent distributions of labelled crystals, on their device.

    Fitted to their means, it would read the property from differences too small for the decoder to see, and latent
    vectors moved along its gradient would decode to the crystals they came from.

    Args:
        latents: What `DpCdvae.encode_distributions` returned.
        values: Property values of the crystals.
        settings: Settings of the head and its training.
        seed: Seed of the initial weights and of the batches.
        progress: Show a bar on stderr.

    Raises:
        ValueError: If a value is not finite, or all are the same.
    """
    if not bool(values.isfinite().all()):
        raise ValueError("a label is NaN or infinite, expected finite numbers: leave such crystals out")
    if len(values) < 2 or float(values.std()) < LEAST_SPREAD:
        raise ValueError(f"{len(values)} labels, all the same, expected a property that varies")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        n_latent = latents.mean.shape[1]
        head = PropertyHead(n_latent, settings.width, mean=float(values.mean()), std=float(values.std()))
    head = head.to(latents.mean)
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        head.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay
    )
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, settings.n_steps)
    for _ in progress_bar(
        range(settings.n_steps), desc="fitting the property", unit="step", disable=not progress
    ):
        rows = torch.randint(len(values), (settings.batch_size,), generator=generator)
        noise = torch.randn(len(rows), n_latent, generator=generator).to(values)
        rows = rows.to(values.device)
        drawn = Posterior(*(one[rows] for one in latents)).draw(noise)
        optimizer.zero_grad()
        head.loss(drawn, values[rows]).mean().backward()
        optimizer.step()
        schedule.step()
    return head.eval().requires_grad_(False)


def descend_latents(
    latents: Float[Tensor, "n n_latent"],
    loss: Callable[[Float[Tensor, "n n_latent"]], Float[Tensor, " n"]],
    settings: LatentOptimizationSettings,
    *,
    tether: float,
    progress: bool = False,
) -> Float[Tensor, "n n_latent"]:
    """Move each latent vector to where its own loss is low, not far from where it was.

    Args:
        latents: Starting points.
        loss: Returns the loss of each row; rows must not depend on one another.
        settings: How to move.
        tether: Weight of half the squared distance.
        progress: Show a bar on stderr.
    """
    moved = latents.detach().clone().requires_grad_()
    optimizer = torch.optim.Adam([moved], lr=settings.rate)
    with torch.enable_grad():
        for _ in progress_bar(range(settings.n_steps), desc="moving", unit="step", disable=not progress):
            far = (moved - latents).square().sum(1) / 2
            total = (loss(moved) + tether * far).sum()
            (moved.grad,) = torch.autograd.grad(total, moved)
            optimizer.step()
    return moved.detach()


def towards_property(
    latents: Float[Tensor, "n n_latent"],
    head: PropertyHead,
    settings: LatentOptimizationSettings,
    *,
    target: float | None = None,
    maximize: bool = False,
    spread: Float[Tensor, "n_latent n_latent"] | None = None,
    progress: bool = False,
) -> Float[Tensor, "n_tethers n n_latent"]:
    """Move latent vectors to where the head predicts a target, or as little or as much as it can.

    How far a latent vector may go until crystals no longer follow differs from one to the next, so there is an answer
    for each of several tethers: decode them all, and keep the best.

    Args:
        latents: Where to begin: of the crystals to improve, or drawn from the prior.
        head: What `fit_property` returned.
        settings: How to move.
        target: Wanted value; None to go on and on.
        maximize: Without a target: upwards instead of downwards.
        spread: Cholesky factor of the covariance of the latent vectors of the training set. With it steps and distances
            are in its standard deviations, and directions that no crystal takes are not taken.
        progress: Show a bar on stderr.
    """

    def loss(rows: Tensor) -> Tensor:
        if target is not None:
            return head.loss(rows, rows.new_full((len(rows),), target))
        height = (head(rows) - head.mean) / head.std
        return -height if maximize else height

    unit = None if spread is None else spread.to(latents).mT

    def after(steps: Tensor) -> Tensor:
        return latents + (steps if unit is None else steps @ unit)

    tethers = TETHERS if settings.tether is None else (settings.tether,)
    still = torch.zeros_like(latents)
    ways = [
        descend_latents(still, lambda steps: loss(after(steps)), settings, tether=tether, progress=progress)
        for tether in tethers
    ]
    return torch.stack([after(way) for way in ways])
