"""The shortest of all periodic images of a vector, exactly, for any cell.

Trying the images next to the cell is exact only where the cell is reduced. Here every lattice first gets an
obtuse superbase (Selling's reduction): four lattice vectors of sum zero, no two of them at an acute angle. Its
seven sums of some of the four are all the vectors, up to sign, that bound the Voronoi cell, so that a point
none of them can bring nearer to the origin is as near as any image of it. Few steps lead there.
"""

from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAIRS = tuple(combinations(range(4), 2))
MAX_STEPS = 200  # cells of published data need at most a dozen
FLAT = 1e-9  # volume of a reduced cell with a longest vector of length 1, below which rounding makes it
TOLERANCE = 1e-10  # of a squared length; below it two images are equally near


def _selling_steps() -> Float[Tensor, "7 4 4"]:
    """Return what each step does to the superbase: b_i turns round and is added to the two not in the pair."""
    steps = torch.eye(4, dtype=torch.float64).repeat(len(PAIRS) + 1, 1, 1)  # the last one changes nothing
    for number, (i, j) in enumerate(PAIRS):
        steps[number, i, i] = -1
        for other in set(range(4)) - {i, j}:
            steps[number, other, i] = 1
    return steps


SELLING_STEPS = _selling_steps()
VORONOI_SUMS = torch.tensor(
    [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1]],
    dtype=torch.float64,
)


def obtuse_superbase(lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 4 3"]:
    """Return four lattice vectors of sum zero with no acute angle, as integer combinations of the rows.

    The first three are a cell of the same volume.

    Raises:
        ValueError: If a cell has no volume, but for rounding, or is not finite.

    Source: Conway and Sloane, Proc. R. Soc. A 436, 55 (1992), section 2.
    """
    cells, device = lattice.detach().double(), lattice.device
    steps = SELLING_STEPS.to(device)
    first, second = torch.tensor(PAIRS, device=device).T
    base = torch.eye(3, dtype=torch.float64, device=device)
    base = torch.cat([base, -base.sum(0, keepdim=True)]).repeat(len(cells), 1, 1)
    for _ in range(MAX_STEPS):
        vectors = base @ cells
        products = (vectors[:, first] * vectors[:, second]).sum(-1)
        worst, pair = products.max(1)
        acute = worst > TOLERANCE * vectors.square().sum(-1).amax(1)
        if not bool(acute.any()):
            break
        base = steps[torch.where(acute, pair, len(PAIRS))] @ base
    lengths = vectors.square().sum(-1).amax(1).sqrt()
    flat = acute | ~(torch.linalg.det(vectors[:, :3]).abs() > FLAT * lengths**3)
    if bool(flat.any()):
        number = int(flat.nonzero()[0])
        raise ValueError(f"lattice[{number}] is flat or not finite, expected a cell: are two rows parallel?")
    return base


@dataclass(frozen=True, kw_only=True)
class ImageFinder:
    """Cells made ready for finding shortest images; worth keeping while the cells stay the same."""

    lattice: Float[Tensor, "n_systems 3 3"]
    superbase: Float[Tensor, "n_systems 4 3"]

    @classmethod
    def of(cls, lattice: Float[Tensor, "n_systems 3 3"]) -> "ImageFinder":
        """Prepare cells, which may be skewed, not reduced, or left-handed; no gradient reaches them."""
        return cls(lattice=lattice.detach().double(), superbase=obtuse_superbase(lattice))

    def select(self, systems: Int[Tensor, " n_selected"]) -> "ImageFinder":
        """Return the named cells, in that order."""
        return ImageFinder(lattice=self.lattice[systems], superbase=self.superbase[systems])

    def to(self, device: torch.device | str) -> "ImageFinder":
        """Move the cells to a device."""
        return ImageFinder(lattice=self.lattice.to(device), superbase=self.superbase.to(device))

    def shortest(
        self, difference: Float[Tensor, "n_atoms 3"], system_idx: Int[Tensor, " n_atoms"]
    ) -> Float[Tensor, "n_atoms 3"]:
        """Return the image of each fractional vector whose Cartesian length is least.

        Args:
            difference: Fractional vectors, in any image.
            system_idx: Cell of each vector.

        Returns:
            The vector minus integers that carry no gradient; where several images are equally near, any.

        Raises:
            ValueError: If a vector is not finite.
        """
        with torch.no_grad():
            shift = self._nearest_shift(difference.detach().double(), system_idx)
        return difference - shift.to(difference.dtype)

    def _nearest_shift(self, frac: Tensor, system_idx: Tensor) -> Tensor:
        if not bool(torch.isfinite(frac).all()):
            raise ValueError("a fractional vector is NaN or infinite, expected finite numbers")
        base = self.superbase[:, :3]
        reduced = torch.einsum("ai,aij->aj", frac, torch.linalg.inv(base)[system_idx])
        shift = torch.einsum("ai,aij->aj", reduced.round(), base[system_idx])
        across = VORONOI_SUMS.to(frac.device) @ self.superbase
        vectors = across @ self.lattice
        squares = vectors.square().sum(-1)[system_idx]
        projectors = vectors.mT[system_idx]
        for _ in range(MAX_STEPS):
            cart = torch.einsum("ai,aij->aj", frac - shift, self.lattice[system_idx])
            along = torch.einsum("ai,aij->aj", cart, projectors)
            gain, which = (2 * along.abs() - squares).max(1)
            nearer = gain > TOLERANCE * squares.amax(1)
            if not bool(nearer.any()):
                return shift
            sign = along.gather(1, which[:, None]).sign() * nearer[:, None]
            shift = shift + sign * across[system_idx, which]
        raise AssertionError(f"vectors still shrink after {MAX_STEPS} steps")


def shortest_displacement(
    difference: Float[Tensor, "n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    system_idx: Int[Tensor, " n_atoms"],
) -> Float[Tensor, "n_atoms 3"]:
    """Return the image of each fractional vector whose Cartesian length is least; see `ImageFinder`."""
    return ImageFinder.of(lattice).shortest(difference, system_idx)
