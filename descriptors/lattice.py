"""Lattices as row vectors.

The convention of the whole project is stated here and only here: `lattice[s]` is a 3×3 matrix whose ROWS are
the cell vectors a, b, c in Å, so that `cart_coords = frac_coords @ lattice`. Angles are radians unless a name
ends in `_deg`.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

FLAT = 1e-10  # squared height of c over the ab plane, for c = 1, below which rounding makes the cell


def frac_to_cart(
    frac_coords: Float[Tensor, "n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    system_idx: Int[Tensor, " n_atoms"],
) -> Float[Tensor, "n_atoms 3"]:
    """Turn fractional into Cartesian coordinates, Å."""
    return torch.einsum("ai,aij->aj", frac_coords, lattice[system_idx])


def cart_to_frac(
    cart_coords: Float[Tensor, "n_atoms 3"],
    lattice: Float[Tensor, "n_systems 3 3"],
    system_idx: Int[Tensor, " n_atoms"],
) -> Float[Tensor, "n_atoms 3"]:
    """Turn Cartesian coordinates, Å, into fractional ones, not wrapped."""
    return torch.einsum("ai,aij->aj", cart_coords, torch.linalg.inv(lattice)[system_idx])


def volume(lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, " n_systems"]:
    """Return the cell volumes, Å³, positive for either handedness.

    Example:
        >>> volume(2 * torch.eye(3)[None])
        tensor([8.])
    """
    return torch.linalg.det(lattice).abs()


def plane_heights(lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 3"]:
    """Return the distances between opposite faces of each cell, Å.

    A sphere of radius r reaches ceil(r / height) cells beyond its own along that direction, for any skew.

    Example:
        >>> plane_heights(torch.tensor([[[2.0, 0, 0], [0, 3, 0], [0, 0, 4]]]))
        tensor([[2., 3., 4.]])
    """
    return torch.linalg.inv(lattice).norm(dim=1).reciprocal()


def to_parameters(lattice: Float[Tensor, "n_systems 3 3"]) -> Float[Tensor, "n_systems 6"]:
    """Return a, b, c in Å and α, β, γ in degrees.

    Example:
        >>> to_parameters(torch.tensor([[[2.0, 0, 0], [0, 3, 0], [0, 0, 4]]]))
        tensor([[ 2.,  3.,  4., 90., 90., 90.]])
    """
    lengths = lattice.norm(dim=2)
    unit = lattice / lengths[:, :, None]
    cosines = torch.stack(
        [
            (unit[:, 1] * unit[:, 2]).sum(1),
            (unit[:, 0] * unit[:, 2]).sum(1),
            (unit[:, 0] * unit[:, 1]).sum(1),
        ],
        1,
    )
    return torch.cat([lengths, torch.rad2deg(torch.acos(cosines.clamp(-1, 1)))], 1)


def from_parameters(parameters: Float[Tensor, "n_systems 6"]) -> Float[Tensor, "n_systems 3 3"]:
    """Build right-handed cells from a, b, c in Å and α, β, γ in degrees: a along x, b in the xy plane.

    Raises:
        ValueError: If lengths are not positive, or no cell has these angles.
    """
    lengths, angles = parameters[:, :3], torch.deg2rad(parameters[:, 3:])
    cos_a, cos_b, cos_c = torch.cos(angles).unbind(1)
    sin_c = torch.sin(angles[:, 2])
    c_y = (cos_a - cos_b * cos_c) / sin_c
    c_z_squared = 1 - cos_b**2 - c_y**2
    bad = (lengths <= 0).any(1) | (sin_c <= 0) | ~(c_z_squared > FLAT)
    if bad.any():
        worst = int(bad.nonzero()[0])
        values = ", ".join(f"{value:.4g}" for value in parameters[worst].tolist())
        raise ValueError(
            f"no cell has the parameters [{worst}] = ({values}), "
            "expected positive lengths and angles that close"
        )
    zero, one = torch.zeros_like(sin_c), torch.ones_like(sin_c)
    unit = torch.stack(
        [
            torch.stack([one, zero, zero], 1),
            torch.stack([cos_c, sin_c, zero], 1),
            torch.stack([cos_b, c_y, c_z_squared.sqrt()], 1),
        ],
        1,
    )
    return unit * lengths[:, :, None]
