"""How far into its noise process a crystal is taken before the way back begins: a variation of it.

Source: Meng et al., arXiv 2108.01073 (SDEdit): noise an example to a time, then denoise it from there.
"""

import logging
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.errors import UserError

LEAST_CHANCE = 1e-7  # a uniform number below it would become an infinite normal one

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class NoiseLevel:
    """The time that a process is run to, and the steps of the way back.

    Attributes:
        strength: Share of the times of the process, above 0; at 1 nothing is left of the example.
        time: The noisiest time, counted from 0; -1 if the strength is less than half a time, so that nothing is added.
        n_steps: Denoising steps from there.
    """

    strength: float
    time: int
    n_steps: int

    @classmethod
    def of(cls, strength: float, n_times: int, steps: int | None = None) -> "NoiseLevel":
        """Find the level that a strength means.

        Args:
            strength: Share of the times of the process.
            n_times: Times of the process.
            steps: Steps that the way back through all times would take, of which the share is taken; None for all.

        Raises:
            UserError: If the strength is not above 0 and at most 1.

        Example:
            >>> NoiseLevel.of(0.3, 1000, 50)
            NoiseLevel(strength=0.3, time=299, n_steps=15)
        """
        check_strength(strength)
        n_visited = round(strength * n_times)
        if n_visited == 0:
            log.warning(
                "strength %g is less than half a step of %d: crystals stay as they are", strength, n_times
            )
        wanted = n_visited if steps is None else min(n_visited, max(1, round(strength * steps)))
        return cls(strength=strength, time=n_visited - 1, n_steps=wanted)

    @property
    def is_whole(self) -> bool:
        """Whether the way back begins where that of a new sample does, so that the example plays no part."""
        return self.strength == 1

    @property
    def is_nothing(self) -> bool:
        """Whether no noise is added."""
        return self.time < 0


class Example(NamedTuple):
    """Vectors that variations are made of, and how far they are noised.

    Attributes:
        clean: The vectors, without noise.
        level: Level of the noise, the same for all.
    """

    clean: Float[Tensor, "n n_features"]
    level: NoiseLevel


def check_strength(strength: float) -> None:
    """Refuse a strength that is none.

    Raises:
        UserError: If it is not above 0 and at most 1.
    """
    if not 0 < strength <= 1:
        raise UserError(
            f"`strength` is {strength:g}, expected a share of the noise process above 0 (as given) and at most 1 (new)"
        )


def normal_of_uniform(uniform: Float[Tensor, "n 3"]) -> Float[Tensor, "n 3"]:
    """Turn uniform numbers in [0, 1) into standard normal ones."""
    return torch.special.ndtri(uniform.double().clamp(LEAST_CHANCE, 1 - LEAST_CHANCE)).to(uniform)
