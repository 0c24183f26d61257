"""The minima that a search has found, a few for each crystal."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch

SAME = 0.01  # relative difference of two losses that makes them one minimum


@dataclass(kw_only=True)
class Population:
    """The lowest minima of each crystal, and how often the lowest of all was found.

    Attributes:
        start: Cells and elements; None where minima are points of another kind.
        frac_coords: Fractional coordinates of the minima, or points.
        losses: Losses of the minima; infinite where there is none yet.
        n_agreeing: Independent trials that ended in the lowest minimum.
        found_at: The loss at which the lowest minimum was found; it may have been improved since.
        same: Relative difference of two losses that makes them one minimum.
    """

    start: CrystalBatch | None
    frac_coords: Float[Tensor, "n_systems n_kept size 3"]
    losses: Float[Tensor, "n_systems n_kept"]
    n_agreeing: Int[Tensor, " n_systems"]
    found_at: Float[Tensor, " n_systems"]
    same: float = SAME

    @classmethod
    def empty(cls, start: CrystalBatch, n_kept: int) -> "Population":
        """Begin without minima."""
        size = start.n_atoms // max(start.n_systems, 1)
        nowhere = start.lattice.new_zeros(start.n_systems, size, 3)
        return replace(cls.of_points(nowhere, n_kept), start=start)

    @classmethod
    def of_points(
        cls, points: Float[Tensor, "n_systems size 3"], n_kept: int, *, same: float = SAME
    ) -> "Population":
        """Begin without minima, which will be points of this shape."""
        shape = (len(points), n_kept)
        return cls(
            start=None,
            frac_coords=points[:, None].repeat(1, n_kept, 1, 1),
            losses=points.new_full(shape, torch.inf),
            n_agreeing=torch.zeros(len(points), dtype=torch.long, device=points.device),
            found_at=points.new_full((len(points),), torch.inf),
            same=same,
        )

    def add(
        self,
        rows: Int[Tensor, " n_active"],
        frac_coords: Float[Tensor, "n_active size 3"],
        losses: Float[Tensor, " n_active"],
        parents: Int[Tensor, " n_active"],
    ) -> None:
        """Offer one minimum to each of some crystals.

        One that a hop has reached replaces the minimum hopped from, one of a new start the highest, if it is lower and
        not remembered already.

        Args:
            rows: Indices of the crystals.
            frac_coords: Fractional coordinates of the minima offered.
            losses: Losses of the minima offered.
            parents: Place of the minimum hopped from; -1 for a new start.
        """
        known = self.losses[rows]
        lowest, at = known.min(1)
        here = torch.arange(len(rows), device=rows.device)
        same = ((losses[:, None] - known).abs() <= self.same * known) & torch.isfinite(known)
        again = (losses - self.found_at[rows]).abs() <= self.same * self.found_at[rows]
        same[here, at] |= again & torch.isfinite(self.found_at[rows])
        better = losses < (1 - self.same) * lowest
        independent = parents != at
        agreeing = self.n_agreeing[rows] + (same[here, at] & independent).long()
        self.n_agreeing[rows] = torch.where(better, 1, agreeing)
        self.found_at[rows] = torch.where(better, losses, self.found_at[rows])
        place = torch.where(parents < 0, known.argmax(1), parents)
        twin = same.clone()
        twin[here, place] = False
        taken = (losses < known[here, place]) & ~twin.any(1)
        self.losses[rows[taken], place[taken]] = losses[taken]
        self.frac_coords[rows[taken], place[taken]] = frac_coords[taken]

    def lowest(self) -> tuple[CrystalBatch, Float[Tensor, " n_systems"]]:
        """Return the lowest minimum of each crystal, and its loss."""
        assert self.start is not None
        points, losses = self.lowest_points()
        return replace(self.start, frac_coords=points.reshape(-1, 3)), losses

    def lowest_points(
        self,
    ) -> tuple[Float[Tensor, "n_systems size 3"], Float[Tensor, " n_systems"]]:
        """Return where the lowest minimum of each crystal is, and its loss."""
        losses, place = self.losses.min(1)
        return self.frac_coords[torch.arange(len(losses), device=losses.device), place], losses

    def draw(
        self, rows: Int[Tensor, " n_active"], n: int, *, generator: torch.Generator
    ) -> Int[Tensor, "n_active n"]:
        """Choose places of `n` minima of each crystal: all in turn, beginning with a random one."""
        n_filled = torch.isfinite(self.losses[rows]).sum(1, keepdim=True).clamp(min=1)
        order = self.losses[rows].argsort(1)
        offset = torch.randint(self.losses.shape[1], (len(rows), 1), device=rows.device, generator=generator)
        turn = (torch.arange(n, device=rows.device) + offset) % n_filled
        return order.gather(1, turn)
