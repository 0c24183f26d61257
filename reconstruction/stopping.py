"""When the search for a crystal ends, and why."""

import time
from dataclasses import dataclass, field

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reconstruction.population import SAME
from reconstruction.presets import Search
from reconstruction.result import AGREED, SOLVED, SPENT, STALLED


@dataclass(kw_only=True)
class Stopping:
    """Which crystals of a batch are still sought after each round, by the limits of a search.

    Attributes:
        settings: The limits.
        active: Crystals that are still sought.
        lowest: Lowest loss of each crystal so far.
        idle: Rounds since it fell.
        reasons: Why the search for each ended; that of the spent budget until another is found.
        nearly: A crystal whose loss is below this is done when one round has not lowered it.
        began: When the search began, by the performance counter.
    """

    settings: Search
    active: Int[Tensor, " n_active"]
    lowest: Float[Tensor, " n_systems"]
    idle: Int[Tensor, " n_systems"]
    reasons: list[str]
    nearly: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def begin(
        cls, settings: Search, losses: Float[Tensor, " n_systems"], *, nearly: float = 0.0
    ) -> "Stopping":
        """Begin with all crystals.

        Args:
            settings: The limits.
            losses: What is known before the first round; infinite where nothing is.
            nearly: See the attribute.
        """
        active = torch.arange(len(losses), device=losses.device)
        return cls(
            settings=settings,
            active=active,
            lowest=losses,
            idle=torch.zeros_like(active),
            reasons=[SPENT] * len(losses),
            nearly=nearly,
        )

    def after_round(
        self,
        lowest: Float[Tensor, " n_systems"],
        *,
        spent: Float[Tensor, " n_systems"],
        n_agreeing: Int[Tensor, " n_systems"],
    ) -> bool:
        """Take out what is done, and tell whether to go on.

        Args:
            lowest: Lowest loss of each crystal now.
            spent: Evaluations spent on each.
            n_agreeing: Trials of each that have found it.
        """
        settings = self.settings
        self.idle = torch.where(lowest < (1 - SAME) * self.lowest, 0, self.idle + 1)
        self.lowest = lowest
        done = torch.zeros_like(self.active, dtype=torch.bool)
        for limit, reached, reason in (
            (settings.max_evaluations, spent >= settings.max_evaluations, SPENT),
            (settings.patience, self.idle >= settings.patience, STALLED),
            (self.nearly, (self.idle >= 1) & (lowest < self.nearly), STALLED),
            (settings.n_agreeing, n_agreeing >= settings.n_agreeing, AGREED),
            (settings.solved_below, lowest < settings.solved_below, SOLVED),
        ):
            if limit:
                done |= reached[self.active]
                for row in self.active[reached[self.active]].tolist():
                    self.reasons[row] = reason
        self.active = self.active[~done]
        seconds = settings.max_seconds * len(lowest)
        late = settings.max_seconds and time.perf_counter() - self.began > seconds
        return len(self.active) > 0 and not late
