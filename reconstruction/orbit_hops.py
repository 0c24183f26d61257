"""Hops from one minimum to another among crystals of given symmetry."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reconstruction.orbit_space import STRAINS, OrbitSpace

SIZE = 0.8  # Å, of a displacement along each free coordinate
FARTHER = (
    1.0  # Å, that an orbit drawn anew moves along each free coordinate at least, or a quarter of a period
)
ODDS = (0.5, 0.4, 0.1)  # of drawing an orbit anew, an exchange, and a displacement of everything


@dataclass(frozen=True, kw_only=True)
class Hops:
    """What can hop in each crystal.

    Attributes:
        is_free: Which entries of a point are free coordinates.
        lengths: Å by which an atom moves for each unit of an entry.
        movable: Which rows are orbits with a free coordinate.
        pairs: Rows of two orbits of unlike elements on one Wyckoff position, filled up.
        n_pairs: How many of these each crystal has.
    """

    is_free: Bool[Tensor, "n_systems n_rows 3"]
    lengths: Float[Tensor, "n_systems n_rows 3"]
    movable: Bool[Tensor, "n_systems n_rows"]
    pairs: Int[Tensor, "n_systems most 2"]
    n_pairs: Int[Tensor, " n_systems"]

    @classmethod
    def of(cls, space: OrbitSpace) -> "Hops":
        """List what can hop."""
        maps = space.maps
        n_orbits = torch.bincount(maps.system_of_orbit, minlength=space.n_systems).tolist()
        found = []
        for letters, elements, free in zip(
            maps.letters.cpu().split(n_orbits),
            maps.elements.cpu().split(n_orbits),
            maps.n_free_of_orbit.cpu().split(n_orbits),
            strict=True,
        ):
            alike = (letters[:, None] == letters) & (elements[:, None] != elements) & (free > 0)
            found.append(torch.nonzero(alike.triu()))
        most = max(max(len(pairs) for pairs in found), 1)
        table = torch.zeros(space.n_systems, most, 2, dtype=torch.long)
        for row, pairs in enumerate(found):
            table[row, : len(pairs)] = pairs
        is_free = space.is_free.clone()
        is_free[:, STRAINS] = False
        return cls(
            is_free=is_free,
            lengths=space.lengths,
            movable=is_free.any(2),
            pairs=table.to(space.lengths.device),
            n_pairs=torch.tensor([len(pairs) for pairs in found], device=space.lengths.device),
        )

    def hop(
        self,
        points: Float[Tensor, "n n_rows 3"],
        systems: Int[Tensor, " n"],
        *,
        generator: torch.Generator,
    ) -> Float[Tensor, "n n_rows 3"]:
        """Hop once from each point: draw one orbit anew, exchange two of unlike elements, or displace all a little.

        Elements stay where they are; what is exchanged are the coordinates of two orbits of one Wyckoff position.

        Args:
            points: Where to hop from.
            systems: Crystal of each; all have a free coordinate.
            generator: Source of randomness.
        """
        n, device = len(points), points.device
        each = torch.arange(n, device=device)

        def uniform(*shape: int) -> Float[Tensor, "*shape"]:
            return torch.rand(*shape, dtype=points.dtype, device=device, generator=generator)

        is_free, random = self.is_free[systems], uniform(*points.shape)
        one = torch.where(self.movable[systems], uniform(n, points.shape[1]), -1.0).argmax(1)
        redrawn = points.clone()
        nearest = (FARTHER / self.lengths[systems[each], one].clamp(min=1e-6)).clamp(max=0.25)
        away = points[each, one] + nearest + (1 - 2 * nearest) * random[each, one]
        redrawn[each, one] = torch.where(is_free[each, one], away, points[each, one])
        steps = (2 * random - 1) * SIZE / self.lengths[systems].clamp(min=1e-6)
        displaced = torch.where(is_free, points + steps, points)
        which = (uniform(n) * self.n_pairs[systems]).long()
        first, second = self.pairs[systems, which].unbind(1)
        exchanged = points.clone()
        exchanged[each, first], exchanged[each, second] = points[each, second], points[each, first]
        odds = torch.tensor(ODDS, device=device).repeat(n, 1)
        odds[:, 1] *= self.n_pairs[systems] > 0
        chosen = torch.multinomial(odds, 1, generator=generator)[:, 0]
        return torch.stack([redrawn, exchanged, displaced])[chosen, each]
