"""A property of labelled crystals, learnt from their latent vectors, and how well."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.backends.properties import COMPUTED, as_numbers, known_labels, labels_of
from repdiff.crystals.crystal import Crystal
from repdiff.diffusion.cdvae.latent_optimization import PropertyHead, PropertySettings, fit_property
from repdiff.diffusion.cdvae.model import Posterior
from repdiff.errors import UserError

LEAST_TO_HOLD_OUT = 20  # labelled crystals, a tenth of which then tells how good the head is
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class LearntProperty:
    """A head and what is known of it.

    Attributes:
        head: Map from a latent vector to the property, in its own unit.
        n_labelled: Crystals with a label.
        n_unlabelled: Crystals without, which were left out.
        spread: Standard deviation of the labels.
        error: Root mean square error on a tenth of the labelled crystals that the head has not seen, chosen at random;
            None where they are too few.
    """

    head: PropertyHead
    n_labelled: int
    n_unlabelled: int
    spread: float
    error: float | None

    def predict(self, latents: Float[Tensor, "n n_latent"]) -> list[float]:
        """Predict the property."""
        return self.head(latents).tolist()


def read_labels(
    name: str, crystals: Sequence[Crystal]
) -> tuple[list[Crystal], Float[np.ndarray, " n_labelled"]]:
    """Return the crystals that have a label, and their labels.

    Raises:
        UserError: If there is no such label, one is no number, or there are no two different ones.
    """
    if name in COMPUTED:
        raise UserError(f"`property` is {name}, expected the name of a numeric label")
    labels = labels_of(name, crystals)
    values = as_numbers(name, known_labels(name, labels))
    return [one for one, label in zip(crystals, labels, strict=True) if label is not None], values


def learn_property(
    backend: DpCdvae, name: str, crystals: Sequence[Crystal], settings: PropertySettings, *, seed: int
) -> LearntProperty:
    """Fit a head to the latent vectors of labelled crystals.

    Args:
        backend: Trained model.
        name: Name of the label.
        crystals: Crystals that the backend can encode; those without the label are left out, and counted.
        settings: Settings of the head and its training.
        seed: Seed of the initial weights, of the batches, and of the choice of the tenth.

    Raises:
        UserError: If the labels do not serve.
    """
    labelled, values = read_labels(name, crystals)
    if n_missing := len(crystals) - len(labelled):
        log.warning("%d of %d crystals have no label %s, or NaN: left out", n_missing, len(crystals), name)
    latents = backend.encode_distributions(labelled)
    truth = torch.from_numpy(values).to(latents.mean)
    order = torch.from_numpy(np.random.default_rng(seed).permutation(len(labelled)))
    n_held = len(labelled) // 10 if len(labelled) >= LEAST_TO_HOLD_OUT else 0
    held, seen = order[:n_held], order[n_held:]
    try:
        shown = Posterior(*(one[seen] for one in latents))
        head = fit_property(shown, truth[seen], settings, seed=seed, progress=True)
    except ValueError as error:
        raise UserError(f"`property` {name}: {error}") from error
    wrong = float((head(latents.mean[held]) - truth[held]).square().mean().sqrt()) if n_held else None
    spread = float(values.std())
    log.info(
        "%s from %d crystals, standard deviation %.4g%s",
        name,
        len(seen),
        spread,
        "" if wrong is None else f", error {wrong:.4g} on {n_held} others",
    )
    return LearntProperty(
        head=head, n_labelled=len(labelled), n_unlabelled=n_missing, spread=spread, error=wrong
    )
