"""Diffusion of cells as symmetric matrices, with a limit that has the density of the training set.

A cell with vectors as rows is S Q, with S symmetric and positive and Q a rotation (polar decomposition). Q only turns
the crystal, so S alone is diffused, by a variance-preserving process about the mean of its limit:

    S_t = μ + √ᾱ_t (S_0 - μ) + √(1 - ᾱ_t) σ ε,    μ = (n / ρ_0)^{1/3} 1,    σ = n^{1/3} / 2,

with n the number of atoms, ρ_0 the mean density of the training set, atoms/Å³, and ε symmetric with standard normal
elements. `Limit` maps S to z = (S - μ) / σ, whose process is the standard one and whose limit is standard normal.

The limit is a cube of the right volume, give or take a fifth, so that a noised cell is rarely flat or left-handed,
but it can be: σ / μ is 0.2 whatever n. A network that works on the crystal needs a cell all the same:
`bounded_cells` bounds the eigenvalues of S between a tenth and ten times μ, which leaves all usual cells alone, is
continuous, and turns with S. What the network believes then moves S itself.

Source: Zeni et al., arXiv 2312.03687, methods and supplement on the lattice.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from repdiff.diffusion.samplers import Schedule

LEAST, GREATEST = 0.1, 10.0  # eigenvalues of a cell that a network is shown, over those of the limit's mean
SPREAD = 0.5  # standard deviation of the limit for one atom, Å
N_ELEMENTS = 6  # of a symmetric matrix
PLACES = torch.tensor([[0, 3, 4], [3, 1, 5], [4, 5, 2]])  # of its elements among six numbers


def symmetric_cells(lattice: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 3 3"]:
    """Turn cells, Å, such that their matrix is symmetric and positive.

    A left-handed cell is mirrored too: apply `lattice_space.right_handed` first.
    """
    left, lengths, _ = torch.linalg.svd(lattice)
    return (left * lengths[:, None]) @ left.mT


def as_matrices(numbers: Float[Tensor, "n 6"]) -> Float[Tensor, "n 3 3"]:
    """Arrange six numbers each as a symmetric matrix; standard normal ones give elements of unit variance."""
    return numbers[:, PLACES.to(numbers.device)]


def variance_preserving(n_times: int, *, first: float, last: float) -> Schedule:
    """Return a process with β(t) linear in continuous time, whatever the number of times it is cut into.

    ᾱ(t) = exp(-∫β) at t = (i + 1) / n_times; at the end it is exp(-(first + last) / 2), 4e-5 for the published 0.1
    and 20.

    Raises:
        ValueError: Unless 0 < first ≤ last and there are at least two times.

    Source: Song et al., arXiv 2011.13456, appendix C.
    """
    if n_times < 2 or not 0 < first <= last:
        raise ValueError(
            f"β from {first} to {last} in {n_times} times, expected 0 < first ≤ last and at least 2 times"
        )
    ends = torch.arange(n_times + 1, dtype=torch.float64) / n_times
    exponent = first * ends + (last - first) * ends.square() / 2
    return Schedule(-torch.expm1(-exponent.diff()))


@dataclass(frozen=True)
class Limit:
    """Where cells go.

    Args:
        density: ρ_0, atoms/Å³.

    Raises:
        ValueError: If it is not positive.
    """

    density: float

    def __post_init__(self) -> None:
        """Check the value."""
        if not self.density > 0:
            raise ValueError(f"density is {self.density} atoms/Å³, expected a positive number")

    @classmethod
    def fit(cls, lattice: Float[Tensor, "n 3 3"], n_atoms: Int[Tensor, " n"]) -> "Limit":
        """Take the mean density of a training set."""
        return cls(float((n_atoms / torch.linalg.det(lattice.double()).abs()).mean()))

    def edge(self, n_atoms: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the edge of the mean cube, Å."""
        return (n_atoms / self.density) ** (1 / 3)

    def spread(self, n_atoms: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the standard deviation of each element, Å."""
        return SPREAD * n_atoms ** (1 / 3)

    def encode(self, cells: Float[Tensor, "n 3 3"], n_atoms: Int[Tensor, " n"]) -> Float[Tensor, "n 3 3"]:
        """Map symmetric cells, Å, to z."""
        return (cells - self._mean(n_atoms, cells)) / self.spread(n_atoms).to(cells)[:, None, None]

    def decode(self, z: Float[Tensor, "n 3 3"], n_atoms: Int[Tensor, " n"]) -> Float[Tensor, "n 3 3"]:
        """Map z to symmetric matrices, Å, which may be flat or left-handed."""
        return z * self.spread(n_atoms).to(z)[:, None, None] + self._mean(n_atoms, z)

    def _mean(self, n_atoms: Tensor, like: Tensor) -> Tensor:
        eye = torch.eye(3, dtype=like.dtype, device=like.device)
        return self.edge(n_atoms).to(like)[:, None, None] * eye


def bounded_cells(
    matrices: Float[Tensor, "n 3 3"], edges: Float[Tensor, " n"]
) -> tuple[Float[Tensor, "n 3 3"], Float[Tensor, "n 3"]]:
    """Make cells of symmetric matrices, by bounding their eigenvalues; no gradient passes.

    Args:
        matrices: Å.
        edges: Edge of the limit's mean cube, Å.

    Returns:
        The cells, the very matrices where they are within the bounds, and the eigenvalues over the edge, unbounded,
        ascending.
    """
    matrices = matrices.detach()
    values, vectors = torch.linalg.eigh(matrices.double())
    bounds = edges.double()[:, None]
    kept = values.clamp(LEAST * bounds, GREATEST * bounds)
    change = (vectors * (kept - values)[:, None]) @ vectors.mT
    inside = (kept == values).all(1)
    cells = torch.where(inside[:, None, None], matrices, (matrices + change).to(matrices.dtype))
    return cells, (values / bounds).to(matrices.dtype)


@dataclass(frozen=True)
class Scales:
    """Factors between a network's output of order one and the clean z.

    ẑ_0 = skip · z_t + out · output, and the output should be of order one at every time, as should be its input
    z_t · into.

    Source: Karras et al., arXiv 2206.00364, table 1, for z_t / √ᾱ, which has variance-exploding noise.
    """

    skip: Float[Tensor, " n"]
    out: Float[Tensor, " n"]
    into: Float[Tensor, " n"]

    @classmethod
    def at(cls, signals: Float[Tensor, " n"], std: float) -> "Scales":
        """Compute them.

        Args:
            signals: ᾱ_t.
            std: Standard deviation of the entries of z over the training set.
        """
        noise, total = 1 - signals, signals * std**2 + 1 - signals
        return cls(skip=signals.sqrt() * std**2 / total, out=std * (noise / total).sqrt(), into=total.rsqrt())
