"""Find the Wyckoff position of a point and its free coordinates."""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float

from descriptors.symmetry.affine import DENOMINATOR
from descriptors.symmetry.space_group import SpaceGroup, WyckoffPosition, space_group

EXACT = 1e-6  # of a cell vector; fractions of the table differ by 1/24 at least
STEPS = np.stack(np.meshgrid(*[np.arange(-2, 3)] * 3, indexing="ij"), -1).reshape(-1, 3)


@dataclass(frozen=True, eq=False, kw_only=True)
class Placement:
    """Where a point lies on a Wyckoff position.

    Attributes:
        letter: Wyckoff letter of the position.
        free: Free coordinates of its orbit, in [0, 1).
        residual: Distance of the point from the position, in the unit of the metric it was asked in.
    """

    letter: str
    free: Float[np.ndarray, " n_free"]
    residual: float


def locate_at(
    position: WyckoffPosition, point: Float[np.ndarray, "3"], lattice: Float[np.ndarray, "3 3"] | None = None
) -> Placement:
    """Find the free coordinates for which the orbit of a position comes nearest to a point.

    Where several images of the point do, as for every orbit of more than one atom, the smallest free coordinates are
    returned, compared from the first on, so that all atoms of an orbit give the same.

    Args:
        position: The Wyckoff position.
        point: Fractional coordinates in the conventional cell.
        lattice: Rows are the conventional cell vectors, Å; without it distances are those of a unit cube.
    """
    group = position.group
    images = point @ group.rotations + group.translations / DENOMINATOR
    images = (images + group.centring_translations[:, None] / DENOMINATOR).reshape(-1, 3)
    offsets = images - np.floor(images + EXACT) - position.origin / DENOMINATOR
    across = np.eye(3) - position.projector
    gaps = (offsets @ across)[:, None] - _lattice_rows(group.number, position.index)
    cartesian = gaps if lattice is None else gaps @ lattice
    squared = (cartesian**2).sum(-1)
    nearest = squared.argmin(1)
    misfit = np.sqrt(squared[np.arange(len(images)), nearest])
    good = misfit <= misfit.min() + EXACT
    steps = _lattice_steps(group.number, position.index)[nearest[good]]
    free = (offsets[good] - steps) @ position.to_free
    free -= np.floor(free + EXACT)
    free = free + 0.0
    first = np.lexsort(np.rint(free / EXACT).T[::-1])[0] if position.n_free else 0
    return Placement(letter=position.letter, free=free[first], residual=float(misfit.min()))


def locate(
    group: SpaceGroup,
    point: Float[np.ndarray, "3"],
    *,
    tolerance: float = EXACT,
    lattice: Float[np.ndarray, "3 3"] | None = None,
) -> Placement:
    """Find the most special position that a point lies on, and its free coordinates there.

    Args:
        group: Space group in its standard setting.
        point: Fractional coordinates in the conventional cell.
        tolerance: Largest distance from the position, Å, or in cell vectors where there is no lattice.
        lattice: Rows are the conventional cell vectors, Å.
    """
    ranked = sorted(group.positions, key=lambda position: (-position.site_symmetry_order, position.n_free))
    for position in ranked[:-1]:
        placement = locate_at(position, point, lattice)
        if placement.residual <= tolerance:
            return placement
    return locate_at(ranked[-1], point, lattice)


@cache
def _lattice_steps(number: int, index: int) -> Float[np.ndarray, "n 3"]:
    """Return lattice vectors that differ across the position, one of each."""
    position = space_group(number).positions[index]
    points = position.group.centring_translations / DENOMINATOR
    steps = (STEPS[:, None] + points[None]).reshape(-1, 3)
    steps = steps[np.argsort((steps**2).sum(1), kind="stable")]
    across = np.rint(steps @ (np.eye(3) - position.projector) / EXACT).astype(np.int64)
    kept = np.sort(np.unique(across, axis=0, return_index=True)[1])
    return steps[kept]


@cache
def _lattice_rows(number: int, index: int) -> Float[np.ndarray, "n 3"]:
    position = space_group(number).positions[index]
    return _lattice_steps(number, index) @ (np.eye(3) - position.projector)
