"""Lattice block → a valid lattice."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells

MIN_LENGTH = 1.0  # Å; hydrogen's shortest cell edge under pressure is longer
MIN_ANGLE, MAX_ANGLE = 20.0, 160.0  # degrees
MIN_FLATNESS = 0.05  # volume over abc; a reduced cell has at least 0.5
MIN_VOLUME_PER_ATOM, MAX_VOLUME_PER_ATOM = 1.5, 500.0  # Å³; diamond has 5.7, a frozen noble gas 40


@dataclass(frozen=True, kw_only=True)
class Cells:
    """Lattices read from lattice blocks.

    Attributes:
        lattice: Rows are the cell vectors, Å; the unit matrix where no cell could be read.
        repaired: What was changed to make a cell, or None.
        reasons: Why no cell could be read, or None.
    """

    lattice: Float[Tensor, "n_systems 3 3"]
    repaired: list[str | None]
    reasons: list[str | None]


def decode_cells(parameters: Float[Tensor, "n_systems 6"], n_atoms: Float[Tensor, " n_systems"]) -> Cells:
    """Build cells from a, b, c in Å and α, β, γ in degrees, repairing what is slightly off.

    Angles outside 20 to 160 degrees are brought to that range; angles that do not close, or give a cell flatter
    than 0.05 abc, are moved towards 90 degrees by the least multiple of 2 % that helps. Refused are numbers that
    are not finite, edges below 1 Å and volumes outside 1.5 to 500 Å³ an atom.
    """
    lattice = torch.eye(3, dtype=parameters.dtype, device=parameters.device).repeat(len(parameters), 1, 1)
    repaired: list[str | None] = []
    reasons: list[str | None] = []
    for row, (values, size) in enumerate(zip(parameters, n_atoms.tolist(), strict=True)):
        reason, note, cell = _decode_one(values)
        if cell is not None:
            per_atom = float(cells.volume(cell)[0]) / max(size, 1)
            if not MIN_VOLUME_PER_ATOM <= per_atom <= MAX_VOLUME_PER_ATOM:
                limits = f"{MIN_VOLUME_PER_ATOM} to {MAX_VOLUME_PER_ATOM:g}"
                reason, note = f"volume is {per_atom:.3g} Å³ an atom, expected {limits}", None
            else:
                lattice[row] = cell[0]
        repaired.append(note)
        reasons.append(reason)
    return Cells(lattice=lattice, repaired=repaired, reasons=reasons)


def _decode_one(
    values: Float[Tensor, " 6"],
) -> tuple[str | None, str | None, Float[Tensor, "1 3 3"] | None]:
    """Return why not, what was repaired, and the cell."""
    shown = ", ".join(f"{value:.4g}" for value in values.tolist())
    if not bool(torch.isfinite(values).all()):
        return f"cell parameters are ({shown}), expected finite numbers", None, None
    if float(values[:3].min()) < MIN_LENGTH:
        return f"an edge is {float(values[:3].min()):.3g} Å, expected at least {MIN_LENGTH:g} Å", None, None
    angles = values[3:].clamp(MIN_ANGLE, MAX_ANGLE)
    for percent in range(0, 101, 2):
        tried = 90 + (angles - 90) * (1 - percent / 100)
        cosines = torch.cos(torch.deg2rad(tried))
        flatness_squared = 1 - (cosines**2).sum() + 2 * cosines.prod()
        if float(flatness_squared) >= MIN_FLATNESS**2:
            break
    else:
        raise AssertionError("a right-angled cell is never flat")
    changed = bool((tried - values[3:]).abs().max() > 1e-4)
    note = f"angles of ({shown}) moved towards 90 degrees" if changed else None
    return None, note, cells.from_parameters(torch.cat([values[:3], tried])[None])
