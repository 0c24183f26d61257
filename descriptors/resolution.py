"""What embedded atom densities a vector holds: the settings of one block, and the named sets of blocks."""

from dataclasses import dataclass
from itertools import pairwise

from descriptors.elements import check_weights
from descriptors.pooling import check_poolings

ROUNDING = 1e-8  # Å


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """Settings of one block of embedded atom densities.

    Attributes:
        cutoff: How far an atom sees, Å.
        etas: Widths of the Gaussians, Å⁻².
        centers: Their centres R_s, Å.
        orders: Angular momenta l.
        weights: Kinds of neighbour weight, one channel each; see `descriptors.elements.element_weights`.
        poolings: "max", "min", "mean", or "mean:KIND", the mean weighted by the centre's element weight.
        unit_vectors: Divide x, y, z by r, so that the angular factor has no length; irrelevant to l = 0.
        log: Take log(1 + ρ), which brings the values of all shells to one scale.
    """

    cutoff: float
    etas: tuple[float, ...]
    centers: tuple[float, ...]
    orders: tuple[int, ...]
    weights: tuple[str, ...]
    poolings: tuple[str, ...]
    unit_vectors: bool
    log: bool

    def __post_init__(self) -> None:
        """Check the values."""
        if not self.cutoff > 0:
            raise ValueError(f"cutoff is {self.cutoff} Å, expected a positive length")
        if not all((self.etas, self.centers, self.orders, self.weights, self.poolings)):
            raise ValueError(
                "one of etas, centers, orders, weights, poolings is empty, expected at least one of each"
            )
        if min(self.etas) <= 0 or min(self.orders) < 0:
            raise ValueError(
                f"etas are {self.etas} and orders {self.orders}, expected positive and not negative"
            )
        check_weights(self.weights)
        check_poolings(self.poolings)

    @property
    def n_per_atom(self) -> int:
        """Number of densities of one atom."""
        return len(self.weights) * len(self.orders) * len(self.etas) * len(self.centers)

    @property
    def n_features(self) -> int:
        """Number of pooled densities of a crystal."""
        return self.n_per_atom * len(self.poolings)

    @property
    def spacing(self) -> float | None:
        """Distance between neighbouring centres, Å; None if they are not evenly spaced, or there is only one."""
        n_gaps = len(self.centers) - 1
        step = (self.centers[-1] - self.centers[0]) / max(n_gaps, 1)
        even = all(abs(high - low - step) < ROUNDING for low, high in pairwise(self.centers))
        return step if n_gaps and step > 0 and even else None


def evenly(start: float, stop: float, n: int) -> tuple[float, ...]:
    """Return `n` numbers from `start` to `stop`, both included."""
    return tuple(round(start + (stop - start) * k / max(n - 1, 1), 10) for k in range(n))


PAPER = (
    Resolution(
        cutoff=20.0,
        etas=(1.0, 20.0, 90.0),
        centers=evenly(0.0, 19.9, 200),
        orders=(0,),
        weights=("number",),
        poolings=("max", "min"),
        unit_vectors=False,
        log=False,
    ),
)
COMPACT = (
    Resolution(
        cutoff=6.0,
        etas=(0.25,),
        centers=evenly(0.5, 6.0, 8),
        orders=(0, 1, 2),
        weights=("one", "rank", "relative_number"),
        poolings=("mean", "mean:rank", "mean:relative_number", "max", "min"),
        unit_vectors=True,
        log=True,
    ),
    Resolution(
        cutoff=4.5,
        etas=(2.0,),
        centers=evenly(0.5, 4.5, 12),
        orders=(0, 1, 2),
        weights=("one", "rank"),
        poolings=("mean", "mean:rank", "max", "min"),
        unit_vectors=True,
        log=True,
    ),
)
