"""What is held of the vectors of a model: values in physical units, and the entries that they stand in."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.normalization import Normalizer
from descriptors.symmetry.cell_shape import n_lattice_points
from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.symbols import SYMBOLS
from repdiff.backends.held_columns import held_columns
from repdiff.backends.primitive_parents import in_primitive_cell
from repdiff.conditions import HeldPart, typed
from repdiff.conditions.held import HeldCell, HeldDescriptor, HeldFormula, HeldNumber
from repdiff.crystals.crystal import Crystal
from repdiff.diffusion.inpainting import RESAMPLINGS, Held
from repdiff.errors import UserError
from repdiff.representations.encoding import encode_crystals
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.symmetric_scale import SymmetricScale
from repdiff.representations.symmetric_vectors import KEPT, symmetric_blocks

SLACK = 0.2  # of the logarithm of a volume, beyond the range that was learnt for a protostructure
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class HeldValues:
    """Values in physical units, one row a vector.

    Attributes:
        values: Vectors as the scale takes them; entries that are not held are 0.
        mask: Which entries are held.
        resamplings: See `repdiff.diffusion.inpainting.Held`.
    """

    values: Float[Tensor, "n width"]
    mask: Bool[Tensor, "n width"]
    resamplings: int

    def scaled(self, unit: Float[Tensor, "n width"]) -> Held:
        """Return what the diffusion holds: `unit` has the values on its scale, clipped to what it has learnt."""
        return Held(values=unit, mask=self.mask, resamplings=self.resamplings)

    def put_into(self, vectors: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Return vectors with the held values themselves in their places."""
        return torch.where(self.mask, self.values.to(vectors), vectors)


@dataclass(frozen=True, kw_only=True)
class HeldParts:
    """What is held of all vectors of a model.

    Attributes:
        parts: The parts; not empty.
        layout: What the model was trained on.
        scale: Maps its vectors to [0, 1].
        resamplings: See `repdiff.diffusion.inpainting.Held`.
    """

    parts: tuple[HeldPart, ...]
    layout: RepresentationSpec
    scale: Normalizer | SymmetricScale
    resamplings: int = RESAMPLINGS

    @classmethod
    def of(
        cls,
        conditions: Mapping[str, Any] | None,
        layout: RepresentationSpec,
        scale: Normalizer | SymmetricScale,
        resamplings: int = RESAMPLINGS,
    ) -> "HeldParts | None":
        """Take the held parts out of conditions; None if there are none.

        Raises:
            UserError: If the model draws no such part, two are of the same entries, or it does not know the elements of
                a crystal that values are taken from.
        """
        named = {name: value for name, value in (conditions or {}).items() if name.startswith("held_")}
        parts = tuple(one for one in typed(named).values() if isinstance(one, HeldPart))
        if not parts:
            return None
        found = cls(parts=parts, layout=layout, scale=scale, resamplings=resamplings)
        found._check()
        return found

    @property
    def is_symmetric(self) -> bool:
        """Whether the model draws protostructures first."""
        return isinstance(self.scale, SymmetricScale)

    def columns(self, part: HeldPart) -> list[int]:
        """Return the entries that a part stands in."""
        return held_columns(part.part, self.layout, symmetric=self.is_symmetric)

    def _check(self) -> None:
        taken: dict[int, str] = {}
        for part in self.parts:
            if unlike := sorted({taken[one] for one in self.columns(part) if one in taken}):
                raise UserError(f"`hold` gives {part.part} and {unlike[0]}, which have entries in common")
            taken |= dict.fromkeys(self.columns(part), part.part)
            if strange := sorted(_elements(part) - set(self.layout.elements)):
                raise UserError(
                    f"`hold` takes {part.part} of a crystal with {SYMBOLS[strange[0] - 1]}, expected elements of the "
                    "training data alone"
                )

    def of_whole(self, n: int) -> HeldValues:
        """Return what is held of `n` vectors of a model that draws them whole."""
        width = self.layout.representation().n_features
        row, mask = torch.zeros(width), torch.zeros(width, dtype=torch.bool)
        for part in self.parts:
            columns = self.columns(part)
            row[columns], mask[columns] = self._whole_values(part, columns), True
        return HeldValues(
            values=row.expand(n, -1).clone(), mask=mask.expand(n, -1).clone(), resamplings=self.resamplings
        )

    def _whole_values(self, part: HeldPart, columns: Sequence[int]) -> Float[Tensor, " _"]:
        if isinstance(part, HeldNumber):
            return torch.tensor([part.value])
        if isinstance(part, HeldFormula):
            counts = self.layout.composition_counts([dict(part.formula)])[0]
            return counts / counts.sum()
        assert part.crystal is not None
        if isinstance(part, HeldCell):
            lattice = in_primitive_cell(part.crystal, niggli=self.layout.niggli).lattice
            return cells.to_parameters(torch.from_numpy(lattice.copy())[None])[0].float()
        return self._encoded(part.crystal)[columns]

    def _encoded(self, crystal: Crystal) -> Float[Tensor, " n_features"]:
        primitive = in_primitive_cell(crystal, niggli=self.layout.niggli)
        representation = self.layout.representation()
        return encode_crystals([primitive], representation, device=torch.device("cpu"), progress=False)[0]

    def of_symmetric(self, protostructures: Sequence[Protostructure]) -> HeldValues:
        """Return what is held of vectors that belong to protostructures."""
        representation = self.layout.representation()
        blocks = symmetric_blocks(representation)
        width = max(part.stop for part in blocks.values())
        values = torch.zeros(len(protostructures), width)
        mask = torch.zeros_like(values, dtype=torch.bool)
        for part in self.parts:
            columns = self.columns(part)
            mask[:, columns] = True
            if isinstance(part, HeldCell):
                seven = shape_of(part.conventional, protostructures)
                values[:, columns] = seven if part.part == "cell" else seven[:, 1:]
            elif part.part == "volume":
                assert isinstance(part, HeldNumber)
                values[:, columns] = torch.tensor(part.value).log()
            elif isinstance(part, HeldNumber):
                values[:, columns] = part.value
            else:
                assert part.crystal is not None
                whole = self._encoded(part.crystal)
                own = torch.cat([whole[representation.blocks[name]] for name in KEPT])
                values[:, columns] = own[columns]
        return HeldValues(values=values, mask=mask, resamplings=self.resamplings)

    def is_unlikely(self, protostructure: Protostructure) -> bool:
        """Tell whether the held volume is none that the model has learnt of such a protostructure."""
        return not bool(self._volume_is_known([protostructure])[0])

    def _volume_is_known(self, protostructures: Sequence[Protostructure]) -> Bool[Tensor, " n"]:
        if not self.is_symmetric or not any(one.part in ("cell", "volume") for one in self.parts):
            return torch.ones(len(protostructures), dtype=torch.bool)
        assert isinstance(self.scale, SymmetricScale)
        known = encoded(protostructures)
        place = symmetric_blocks(self.layout.representation())["cell"].start
        values = self.of_symmetric(protostructures).values
        low, high = (self.scale.restore(torch.full_like(values, end), known)[:, place] for end in (0.0, 1.0))
        return (values[:, place] > low - SLACK) & (values[:, place] < high + SLACK)

    def warn(self, protostructures: Sequence[Protostructure]) -> None:
        """Say of how many protostructures the held volume is none that the model has learnt."""
        n_strange = int((~self._volume_is_known(protostructures)).sum())
        if n_strange:
            log.warning(
                "the volume that is held is outside of what the model has learnt for %d of %d protostructures",
                n_strange,
                len(protostructures),
            )


def _elements(part: HeldPart) -> set[int]:
    """Return the elements that a model must know to hold a part."""
    if isinstance(part, HeldFormula):
        return {number for number, _ in part.formula}
    if isinstance(part, HeldDescriptor) and part.crystal is not None:
        return set(part.crystal.atomic_numbers.tolist())
    return set()


def shape_of(cell: Sequence[float], protostructures: Sequence[Protostructure]) -> Float[Tensor, "n 7"]:
    """Describe one conventional cell as `descriptors.symmetry.cell_shape` does, for the atoms of protostructures."""
    parameters = torch.tensor([cell], dtype=torch.float64)
    volume = cells.volume(cells.from_parameters(parameters))
    numbers = torch.tensor([one.number for one in protostructures])
    sizes = torch.tensor([one.n_atoms() for one in protostructures])
    per_atom = volume / (sizes * n_lattice_points(numbers))
    lengths = (parameters[:, :3] / volume[:, None] ** (1 / 3)).log()
    cosines = torch.cos(torch.deg2rad(parameters[:, 3:]))
    shape = torch.cat([lengths, cosines], 1).expand(len(protostructures), -1)
    return torch.cat([per_atom.log()[:, None], shape], 1).float()


def encoded(protostructures: Sequence[Protostructure]) -> Int[Tensor, "n n_columns"]:
    """Encode protostructures as the diffusion is given them."""
    longest = max(len(one.orbits) for one in protostructures)
    return torch.from_numpy(encode_protostructures(list(protostructures), max_orbits=longest))
