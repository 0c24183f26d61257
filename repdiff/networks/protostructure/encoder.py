"""What a denoiser is told of a protostructure: its orbits as a set, its group, its size and its composition."""

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from repdiff.networks.element_table import ElementTable
from repdiff.networks.protostructure.positions import PositionTable, read_orbits

N_TOTALS = 3  # logarithms of the numbers of atoms and of free coordinates, and the number of orbits


class ProtostructureEncoderSettings(BaseModel):
    """Size of the encoder of protostructures."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    elements: tuple[int, ...] = Field(min_length=1, description="atomic numbers that may occur, ascending")
    width: int = Field(192, ge=8, description="channels of an orbit, and of what comes out")


class ProtostructureEncoder(nn.Module):
    """Encodes protostructures by the set of their orbits.

    Each orbit is seen twice: alone, and beside the mean of all. Orbits are pooled as a mean weighted by their share of
    the atoms, and as a maximum.

    Args:
        settings: Its size, and the elements.
        table: What is known about the elements; looked up when absent.
    """

    column: Tensor
    properties: Tensor
    position_features: Tensor
    position_start: Tensor
    position_size: Tensor
    position_free: Tensor

    def __init__(self, settings: ProtostructureEncoderSettings, *, table: ElementTable | None = None) -> None:
        super().__init__()
        self.settings = settings
        elements, width = settings.elements, settings.width
        table = table or ElementTable.of(elements)
        positions = PositionTable.of_all_groups()
        column = torch.zeros(119, dtype=torch.long)
        column[torch.tensor(elements)[table.order]] = torch.arange(len(elements))
        n_properties, n_features = table.properties.shape[1], positions.features.shape[1]
        self.register_buffer("column", column)
        self.register_buffer("properties", table.properties)
        self.register_buffer("position_features", positions.features, persistent=False)
        self.register_buffer("position_start", positions.start, persistent=False)
        self.register_buffer("position_size", positions.size, persistent=False)
        self.register_buffer("position_free", positions.n_free, persistent=False)
        self.element = nn.Embedding(len(elements), width)
        self.position = nn.Embedding(len(positions.size), width)
        self.group = nn.Embedding(231, width)
        self.of_element = nn.Linear(n_properties, width)
        self.of_position = nn.Linear(n_features, width)
        self.alone = nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU())
        self.beside = nn.Sequential(
            nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        n_composition = len(elements) + n_properties
        self.whole = nn.Sequential(
            nn.Linear(3 * width + n_composition + N_TOTALS, width),
            nn.SiLU(),
            nn.Linear(width, width),
            nn.LayerNorm(width),
        )
        self.scale_mean, self.scale_highest = nn.LayerNorm(width), nn.LayerNorm(width)
        for layer in (self.of_element, self.of_position):
            nn.init.normal_(
                layer.weight, std=0.5
            )  # few inputs are not 0, and products of the two are to count
        for embedding in (self.element, self.position, self.group):
            nn.init.normal_(embedding.weight, std=0.5)

    @property
    def n_context(self) -> int:
        """Length of what comes out."""
        return self.settings.width

    def forward(self, encoded: Int[Tensor, "n n_columns"]) -> Float[Tensor, "n width"]:
        """Encode protostructures.

        Args:
            encoded: Protostructures, written by `descriptors.symmetry.encoding.encode_protostructures`.
        """
        group, atomic, present, place, n_atoms, by_orbit = read_orbits(
            encoded, self.position_start, self.position_size
        )
        row, column = present.nonzero(
            as_tuple=True
        )  # most protostructures have far fewer orbits than the largest
        element, place, share = (
            self.column[atomic[row, column]],
            place[row, column],
            by_orbit[row, column, None],
        )
        who = self.element(element) + self.of_element(self.properties[element])
        where = self.position(place) + self.of_position(self.position_features[place])
        # Sums over orbits keep their precision under autocast.
        orbits = self.alone(torch.cat([who, where, who * where], -1)).to(self.properties.dtype)
        nothing = orbits.new_zeros(len(group), orbits.shape[1])
        spread = nothing.index_add(0, row, orbits * share)[row]
        orbits = orbits + self.beside(torch.cat([orbits, spread, orbits * spread], -1))
        mean = nothing.index_add(0, row, orbits * share)
        own = row[:, None].expand_as(orbits)
        highest = nothing.scatter_reduce(0, own, orbits, "amax", include_self=False)
        pooled = [self.scale_mean(mean), self.scale_highest(highest)]
        composition = orbits.new_zeros(len(group), len(self.settings.elements))
        composition = composition.index_put((row, element), share[:, 0].to(composition), accumulate=True)
        n_free = torch.zeros_like(n_atoms).index_add(0, row, self.position_free[place][:, None])
        totals = torch.cat([n_atoms.log(), (1 + n_free).log(), present.sum(1, keepdim=True) / 8], 1).to(mean)
        return self.whole(
            torch.cat([*pooled, self.group(group), 4 * composition, composition @ self.properties, totals], 1)
        )
