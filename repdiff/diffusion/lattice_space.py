"""Cells as points of a vector space: ρ = exp(π v), v of nine numbers for rotation, shape and volume.

The papers write a cell ρ with its vectors as COLUMNS; `lattice` here holds them as rows (see
`descriptors.lattice`), so ρ is its transpose, and turning the crystal multiplies ρ from the left. Nothing else in
this package needs to know.

The logarithm comes in two gauges:

* "polar": ρ = R P with R orthogonal and P symmetric positive definite. R only turns the crystal, so it is left
  out: v = π⁻¹ log P, whose rotation part is zero. It exists for every cell, is the same for all orientations,
  and the cell that comes back is the old one turned.
* "general": the principal logarithm of ρ as it stands, as in the paper; the very matrix comes back. It depends
  on the orientation. A cell with a negative eigenvalue has none and is turned first, to its P.

A left-handed ρ has no real logarithm. Its vector, in either gauge, is that of -ρ: the rows -a, -b, -c span the
same lattice, and with negated fractional coordinates it is the same crystal, which `right_handed` makes of it.

No gradient passes through a logarithm: those of eigenvectors are undefined for cubic cells. Losses compare
lattice parameters, so only data and samples are taken back into this space. `to_lattice` has a gradient.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from repdiff.settings.backends.gemsdiff import Gauge

ROTATION = slice(0, 3)
SHAPE = slice(3, 8)
VOLUME = slice(8, 9)
N_COORDINATES = 9

N_NODES = 6  # of the quadrature of a logarithm: exact to 1e-16 within NEAR of the identity
NEAR = 0.2
MAX_ROOTS = 40
MAX_NEWTON = 60


def _basis() -> Float[Tensor, "9 3 3"]:
    """Return the matrices that π maps the unit vectors to, orthonormal in Frobenius' product."""
    basis = torch.zeros(N_COORDINATES, 3, 3, dtype=torch.float64)
    for number, (i, j) in enumerate([(0, 1), (0, 2), (1, 2)]):
        basis[number, i, j], basis[number, j, i] = -1, 1
        basis[3 + number, i, j] = basis[3 + number, j, i] = 1
    basis[6] = torch.diag(torch.tensor([1.0, -1.0, 0.0]))
    basis[7] = torch.diag(torch.tensor([1.0, 1.0, -2.0]))
    basis[8] = torch.eye(3)
    return basis / basis.flatten(1).norm(dim=1)[:, None, None]


BASIS = _basis()
"""Basis of gl₃ (arXiv 2401.05402, eq. 12 and appendix B): three antisymmetric matrices, three symmetric ones off
the diagonal, diag(1, -1, 0)/√2, diag(1, 1, -2)/√6, I/√3."""


def to_algebra(vector: Float[Tensor, "n 9"]) -> Float[Tensor, "n 3 3"]:
    """Map coordinates to matrices: π of eq. 13, an isometry."""
    return torch.einsum("nk,kij->nij", vector, BASIS.to(vector))


def from_algebra(matrix: Float[Tensor, "n 3 3"]) -> Float[Tensor, "n 9"]:
    """Map matrices to coordinates: the inverse of π."""
    return torch.einsum("nij,kij->nk", matrix, BASIS.to(matrix))


def to_lattice(vector: Float[Tensor, "n_systems 9"]) -> Float[Tensor, "n_systems 3 3"]:
    """Return the cells exp(π v) with vectors as rows, Å, right-handed; differentiable."""
    return torch.matrix_exp(to_algebra(vector)).mT


@torch.no_grad()
def to_vector(lattice: Float[Tensor, "n_systems 3 3"], *, gauge: Gauge) -> Float[Tensor, "n_systems 9"]:
    """Return π⁻¹ log ρ of cells, without gradient, computed in double precision.

    `to_lattice` of it has the lattice parameters of the cell, and in the general gauge, for a right-handed
    cell that has a real logarithm, is that cell. The volume coordinate is log(volume / Å³) / √3 in both gauges.

    Args:
        lattice: Cell vectors as rows, Å; left-handed cells count as -lattice.
        gauge: See the top of this module.

    Raises:
        ValueError: If a cell is singular or not finite.
    """
    cells = lattice.double().mT
    volumes = torch.linalg.det(cells)
    usable = torch.isfinite(volumes) & (volumes != 0)
    if not bool(usable.all()):
        number = int((~usable).nonzero()[0])
        raise ValueError(f"lattice[{number}] has volume {float(volumes[number]):.3g} Å³, expected a cell")
    _, lengths, right = torch.linalg.svd(cells)
    if gauge == "polar":
        logarithm = right.mT @ (lengths.log()[:, :, None] * right)
    else:
        upright = cells * volumes.sign()[:, None, None]
        turned = right.mT @ (lengths[:, :, None] * right)
        logarithm = _general_log(torch.where(_has_no_log(upright)[:, None, None], turned, upright))
    return from_algebra(logarithm).to(lattice.dtype)


def right_handed(batch: CrystalBatch) -> CrystalBatch:
    """Return the same crystals with a right-handed cell each: where needed, rows and coordinates negated.

    No atom moves and no distance, angle or chirality changes; fractional coordinates are not wrapped.
    """
    sign = torch.linalg.det(batch.lattice).sign()
    return replace(
        batch,
        lattice=batch.lattice * sign[:, None, None],
        frac_coords=batch.frac_coords * sign[batch.system_idx, None],
    )


@dataclass(frozen=True, kw_only=True)
class LatticeCoordinates:
    """Coordinates in which the cells of one data set are diffused: v, shifted and scaled.

    Make one by `plain` (v itself, as published) or `fit`.

    Args:
        gauge: Gauge of the logarithm of the cell matrix.
        mean: Subtracted from v.
        std: What v is then divided by, positive.
        per_atom: Whether the volume coordinate is that of the volume per atom, log(V / n) / √3. Then the number
            of atoms, which is given, need not be learnt from the volume nor guessed into it.

    Raises:
        ValueError: If a scale is not positive.
    """

    gauge: Gauge
    mean: Float[Tensor, " 9"]
    std: Float[Tensor, " 9"]
    per_atom: bool

    def __post_init__(self) -> None:
        """Check the values."""
        if not bool((self.std > 0).all()):
            raise ValueError(f"scales {self.std.tolist()} of the lattice vector, expected positive numbers")

    @classmethod
    def plain(cls, *, gauge: Gauge, per_atom: bool = False) -> "LatticeCoordinates":
        """Return the vector as it is, without shift or scale."""
        zeros = torch.zeros(N_COORDINATES, dtype=torch.float64)
        return cls(gauge=gauge, mean=zeros, std=zeros + 1, per_atom=per_atom)

    @classmethod
    def fit(
        cls,
        lattice: Float[Tensor, "n_systems 3 3"],
        n_atoms: Int[Tensor, " n_systems"],
        *,
        gauge: Gauge,
        per_atom: bool,
        min_std: float,
    ) -> "LatticeCoordinates":
        """Take mean and spread of a training set.

        Args:
            lattice: Cells as rows, Å.
            n_atoms: Atoms in each.
            gauge: Gauge of the logarithm of the cell matrix.
            per_atom: See the class.
            min_std: Least scale of a coordinate, in units of v (0.05: strains of about 5 %). Coordinates that do
                not vary, as rotation in the polar gauge or the shape of cubic cells, get it.

        Raises:
            ValueError: If there is no cell, or `min_std` is not positive.
        """
        if not len(lattice) or min_std <= 0:
            raise ValueError(f"{len(lattice)} cells and min_std {min_std}, expected one or more, and over 0")
        vector = cls.plain(gauge=gauge, per_atom=per_atom).encode(lattice.double(), n_atoms)
        std = vector.std(0, correction=0).clamp(min=min_std)
        return cls(gauge=gauge, mean=vector.mean(0), std=std, per_atom=per_atom)

    def to(self, device: torch.device | str) -> "LatticeCoordinates":
        """Move the tables to a device."""
        return replace(self, mean=self.mean.to(device), std=self.std.to(device))

    def encode(
        self, lattice: Float[Tensor, "n_systems 3 3"], n_atoms: Int[Tensor, " n_systems"]
    ) -> Float[Tensor, "n_systems 9"]:
        """Map cells to coordinates, without gradient; raises as `to_vector`."""
        vector = to_vector(lattice, gauge=self.gauge) - self._offset(n_atoms, lattice)
        return (vector - self.mean.to(lattice)) / self.std.to(lattice)

    def decode(
        self, coordinates: Float[Tensor, "n_systems 9"], n_atoms: Int[Tensor, " n_systems"]
    ) -> Float[Tensor, "n_systems 3 3"]:
        """Map coordinates to cells as rows, Å; differentiable."""
        vector = coordinates * self.std.to(coordinates) + self.mean.to(coordinates)
        return to_lattice(vector + self._offset(n_atoms, coordinates))

    def _offset(self, n_atoms: Tensor, like: Tensor) -> Tensor:
        offset = like.new_zeros(len(n_atoms), N_COORDINATES)
        if self.per_atom:
            offset[:, VOLUME] = n_atoms.to(like).log()[:, None] / 3**0.5
        return offset


def _has_no_log(matrix: Tensor) -> Tensor:
    """Tell which matrices have a negative eigenvalue, so that no real logarithm of them exists."""
    eigenvalues = torch.linalg.eigvals(matrix)
    return ((eigenvalues.real < 0) & (eigenvalues.imag.abs() <= 1e-12 * eigenvalues.abs())).any(1)


def _general_log(matrix: Tensor) -> Tensor:
    """Return the principal logarithm of matrices that have one: roots taken until near the identity, then an integral.

    log(I + X) = ∫₀¹ X (I + s X)⁻¹ ds, by Gauss' quadrature, which equals the diagonal Padé approximant; unlike an
    eigendecomposition it also serves matrices without a basis of eigenvectors, which skewed cells can be.

    Source: Higham, Functions of Matrices (SIAM, 2008), chapters 6 and 11.
    """
    eye = torch.eye(3, dtype=matrix.dtype, device=matrix.device)
    n_roots = torch.zeros(len(matrix), dtype=matrix.dtype, device=matrix.device)
    for _ in range(MAX_ROOTS):
        far = (matrix - eye).flatten(1).norm(dim=1) > NEAR
        if not bool(far.any()):
            break
        matrix = torch.where(far[:, None, None], _square_root(matrix), matrix)
        n_roots += far
    nodes, weights = np.polynomial.legendre.leggauss(N_NODES)
    offset = matrix - eye
    parts = [
        weight / 2 * torch.linalg.solve(eye + (1 + node) / 2 * offset, offset)
        for node, weight in zip(nodes.tolist(), weights.tolist(), strict=True)
    ]
    return torch.stack(parts).sum(0) * (2**n_roots)[:, None, None]


def _square_root(matrix: Tensor) -> Tensor:
    """Return the principal square root by the scaled Denman-Beavers iteration (Higham, chapter 6)."""
    root, inverse = matrix, torch.eye(3, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    for _ in range(MAX_NEWTON):
        scale = (torch.linalg.det(root) * torch.linalg.det(inverse)).abs() ** (-1 / 6)
        scale = torch.where((scale - 1).abs() > 1e-2, scale, 1.0)[:, None, None]
        following = (scale * root + torch.linalg.inv(scale * inverse)) / 2
        inverse = (scale * inverse + torch.linalg.inv(scale * root)) / 2
        change = (following - root).flatten(1).norm(dim=1) / following.flatten(1).norm(dim=1)
        root = following
        if bool((change < 1e-14).all()):
            break
    return root
