"""What is known of the crystals sought besides their vectors: protostructures, cells, and known crystals like them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.representation import Representation
from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from reconstruction.cell import MAX_VOLUME_PER_ATOM, MIN_LENGTH, MIN_VOLUME_PER_ATOM
from reconstruction.decode import SHORTEST, SHORTEST_SHARE, Decoded

OTHER_FORMULA = (
    0.5  # atoms by which the composition of an exact vector may differ from that of the protostructure
)


@dataclass(frozen=True, kw_only=True)
class Template:
    """A known crystal of a prototype, to start from.

    Attributes:
        free: Free coordinates of its orbits, in the order of the protostructure that it is a template for.
        cell: Free parameters of its conventional cell, as `descriptors.symmetry.unit_cell` orders them.
    """

    free: Float[Tensor, " n_free"]
    cell: Float[Tensor, "6"]


@dataclass(frozen=True, kw_only=True)
class GivenSymmetry:
    """Protostructures and cells of the crystals sought.

    Attributes:
        protostructures: One for each vector; None where nothing is known, so that all positions are searched.
        cells: Free parameters of the conventional cells, as `descriptors.symmetry.unit_cell` orders them; of no
            meaning where there is no protostructure.
        templates: Crystals to start from besides random starts, for each vector; None for none.
        hold_volume: Keep the volumes of the cells, of inexact vectors too, which the search otherwise moves a little.
        hold_shape: Keep their shapes.

    Raises:
        ValueError: If the numbers differ, or a template has not the free coordinates of its protostructure.
    """

    protostructures: Sequence[Protostructure | None]
    cells: Float[Tensor, "n_vectors 6"]
    templates: Sequence[Sequence[Template]] | None = None
    hold_volume: bool = False
    hold_shape: bool = False

    def __post_init__(self) -> None:
        """Check that all have one length."""
        n = len(self.protostructures)
        if self.cells.shape != (n, 6):
            raise ValueError(f"cells are {tuple(self.cells.shape)}, expected ({n}, 6): one for each vector")
        if self.templates is None:
            return
        if len(self.templates) != n:
            raise ValueError(f"templates for {len(self.templates)} vectors, expected {n}")
        for row, (protostructure, templates) in enumerate(
            zip(self.protostructures, self.templates, strict=True)
        ):
            wanted = 0 if protostructure is None else protostructure.n_free
            for template in templates:
                if protostructure is None or template.free.shape != (wanted,):
                    raise ValueError(
                        f"a template of vector {row} has {len(template.free)} free coordinates, its protostructure "
                        f"{wanted if protostructure else 'is not given'}"
                    )

    def templates_of(self, row: int) -> Sequence[Template]:
        """Return the templates of one vector."""
        return () if self.templates is None else self.templates[row]


def impose(
    decoded: Decoded,
    vectors: Float[Tensor, "n_vectors n_columns"],
    representation: Representation,
    symmetry: GivenSymmetry,
    *,
    exact: bool,
    max_atoms: int,
) -> Decoded:
    """Let the protostructures say what atoms there are, and the cells given with them which cells.

    What is refused, with the reason: elements that the representation does not know, too many atoms, cells that
    contradict the group or hold too little or too much for the atoms, and exact vectors of another composition.

    Args:
        decoded: What the vectors say by themselves; kept where no protostructure is given.
        vectors: The vectors, on the CPU.
        representation: Says what their columns mean.
        symmetry: Protostructures and cells.
        exact: Whether the vectors belong to true crystals.
        max_atoms: Protostructures of more atoms are refused.

    Raises:
        ValueError: If there is not one protostructure, or None, for each vector.
    """
    if len(symmetry.protostructures) != len(vectors):
        raise ValueError(
            f"{len(symmetry.protostructures)} protostructures, expected one (or None) for each of "
            f"{len(vectors)} vectors"
        )
    numbers, reasons = list(decoded.atomic_numbers), list(decoded.reasons)
    repaired = list(decoded.repaired)
    lattice, residuals, shortest = (
        decoded.lattice.clone(),
        decoded.residuals.clone(),
        decoded.shortest.clone(),
    )
    blocks = representation.blocks
    for row, protostructure in enumerate(symmetry.protostructures):
        if protostructure is None:
            continue
        repaired[row] = None
        numbers[row] = torch.tensor(
            [z for z, count in protostructure.composition().items() for _ in range(count)]
        )
        reason, cell = _primitive_cell(protostructure, symmetry.cells[row].detach().cpu().double())
        if cell is not None:
            lattice[row] = cell.to(lattice)
        reason = _strange(protostructure, representation, max_atoms) or reason
        if reason is None:
            frequencies = vectors[row, blocks["composition"]].double()
            residuals[row] = _residual(protostructure, frequencies, representation)
            own = vectors[row, blocks["descriptor"]], vectors[row, blocks["min_distance"]]
            if not all(bool(torch.isfinite(part).all()) for part in own):
                reason = "the descriptor is not finite"
            elif exact and not float(residuals[row]) < OTHER_FORMULA:
                reason = (
                    f"the composition of the vector is {float(residuals[row]):.2g} atoms from that of its "
                    f"protostructure, expected the same in an exact vector"
                )
        shortest[row] = (SHORTEST_SHARE * vectors[row, blocks["min_distance"]][0]).clamp(min=SHORTEST)
        if reason is not None:
            numbers[row] = numbers[row][:0]
        reasons[row] = reason
    return replace(
        decoded,
        atomic_numbers=numbers,
        lattice=lattice,
        residuals=residuals,
        shortest=shortest,
        repaired=repaired,
        reasons=reasons,
    )


def _strange(protostructure: Protostructure, representation: Representation, max_atoms: int) -> str | None:
    """Tell why a protostructure cannot be what a vector of this representation belongs to."""
    strange = sorted(set(protostructure.elements) - set(representation.elements))
    if strange:
        return (
            f"the protostructure holds atomic numbers {strange}, which have no column; the representation knows "
            f"{list(representation.elements)}"
        )
    n_atoms = protostructure.n_atoms()
    if n_atoms > max_atoms:
        return f"the protostructure has {n_atoms} atoms in its primitive cell, expected at most {max_atoms}"
    return None


def _primitive_cell(
    protostructure: Protostructure, free: Float[Tensor, "6"]
) -> tuple[str | None, Float[Tensor, "3 3"] | None]:
    """Return why not, and the primitive cell."""
    number = torch.tensor([protostructure.number])
    group, names = protostructure.group, unit_cell.parameter_names(protostructure.number)
    shown = ", ".join(f"{value:.4g}" for value in free.tolist())
    if bool((free[len(names) :] != 0).any()):
        return (
            f"cell parameters ({shown}) contradict space group {group.number} ({group.symbol}): a "
            f"{group.crystal_system} cell is given by {', '.join(names)} alone, expected zeros behind"
        ), None
    try:
        cell = orbit_maps([protostructure]).lattice(free[None])[0]
    except ValueError as error:
        return str(error), None
    edges = unit_cell.to_cell(free[None], number)[0, :3]
    if not float(edges.min()) >= MIN_LENGTH:
        return f"an edge is {float(edges.min()):.3g} Å, expected at least {MIN_LENGTH:g} Å", None
    per_atom = float(cells.volume(cell[None])[0]) / protostructure.n_atoms()
    if not MIN_VOLUME_PER_ATOM <= per_atom <= MAX_VOLUME_PER_ATOM:
        limits = f"{MIN_VOLUME_PER_ATOM} to {MAX_VOLUME_PER_ATOM:g}"
        return f"volume is {per_atom:.3g} Å³ an atom, expected {limits}", None
    return None, cell


def _residual(
    protostructure: Protostructure, frequencies: Float[Tensor, " n_elements"], representation: Representation
) -> float:
    """Return Σ|n f - count| of the formula, atoms."""
    counts = torch.zeros_like(frequencies)
    for element, count in protostructure.composition().items():
        counts[representation.elements.index(element)] = count
    return float((counts.sum() * frequencies - counts).abs().sum())
