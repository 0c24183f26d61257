"""Autoregressive model of protostructures: group and size by frequency, then one orbit after the other."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn

from repdiff.errors import UserError
from repdiff.networks.element_table import ElementTable
from repdiff.networks.property_adapters import Labels
from repdiff.networks.property_embedding import PropertyEmbedding, built
from repdiff.networks.protostructure.conditions import Known, ProtostructureConditions
from repdiff.networks.protostructure.positions import PositionTable
from repdiff.networks.protostructure.prototypes import Prototype, PrototypeTable
from repdiff.networks.protostructure.sequences import OrbitSequences, SequenceCoder, letter_flags
from repdiff.networks.protostructure.sizes import SizeTable

ROWS_AT_ONCE = 2048


class ProtostructureModelSettings(BaseModel):
    """Size of the model of protostructures."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    width: int = Field(256, ge=8, description="channels of the residual stream")
    n_blocks: int = Field(3, ge=0, description="residual blocks, two linear layers each")
    dropout: float = Field(0.15, ge=0, lt=1, description="dropout probability inside the blocks")


class Prefix(NamedTuple):
    """What is known when the next orbit is drawn, one row a draw.

    Attributes:
        group: Space group.
        n_atoms: Atoms of the finished primitive cell.
        n_elements: Elements of the finished primitive cell.
        orbits: Sum of the vectors of the orbits that are there.
        shares: Share that each element has of the atoms of the finished cell.
        n_left: Atoms still to be placed.
        n_elements_left: Elements still to come.
        last_element: Place in the order; the number of elements before the first orbit.
        last_position: Number of the position among those of all groups; the number of all before the first orbit.
    """

    group: Int[Tensor, " n"]
    n_atoms: Int[Tensor, " n"]
    n_elements: Int[Tensor, " n"]
    orbits: Float[Tensor, "n width"]
    shares: Float[Tensor, "n n_elements"]
    n_left: Int[Tensor, " n"]
    n_elements_left: Int[Tensor, " n"]
    last_element: Int[Tensor, " n"]
    last_position: Int[Tensor, " n"]


class ProtostructureModel(nn.Module):
    """Probability of protostructures, p(group, atoms, elements) Π_k p(element_k | …) p(letter_k | element_k, …).

    Group, number of atoms and number of elements have the frequencies of the training set, smoothed. Orbits follow
    element by element in ascending electronegativity, by ascending letter within an element, in one setting of the
    group. Positions that cannot lead to the number of atoms have no probability, so that no draw has to be stopped: the
    cell is full when its atoms are there.

    Args:
        settings: Size of the network.
        elements: Atomic numbers that may occur, ascending.
        sizes: Frequencies of group, number of atoms and number of elements.
        prototypes: Frequencies of the prototypes of the training set, which draws may begin with.
        table: What is known about the elements; looked up when absent.

    Raises:
        ValueError: If elements do not ascend.
    """

    order: Tensor
    properties: Tensor
    position_features: Tensor
    position_start: Tensor
    position_size: Tensor
    size_entries: Tensor
    size_counts: Tensor
    prototype_counts: Tensor

    def __init__(
        self,
        settings: ProtostructureModelSettings,
        elements: tuple[int, ...],
        sizes: SizeTable,
        prototypes: PrototypeTable,
        *,
        table: ElementTable | None = None,
    ) -> None:
        super().__init__()
        if not elements or list(elements) != sorted(set(elements)):
            raise ValueError(f"elements are {elements}, expected ascending atomic numbers, at least one")
        self.settings, self.elements, self.sizes, self.prototypes = (
            settings,
            tuple(elements),
            sizes,
            prototypes,
        )
        table = table or ElementTable.of(self.elements)
        positions = PositionTable.of_all_groups()
        self.register_buffer("order", table.order)
        self.register_buffer("properties", table.properties)
        self.register_buffer("size_entries", sizes.entries)
        self.register_buffer("size_counts", sizes.counts)
        self.register_buffer("prototype_counts", prototypes.counts)
        self.register_buffer("position_features", positions.features, persistent=False)
        self.register_buffer("position_start", positions.start, persistent=False)
        self.register_buffer("position_size", positions.size, persistent=False)
        (n_elements, n_properties), width = table.properties.shape, settings.width
        self.element = nn.Parameter(0.05 * torch.randn(n_elements + 1, width))
        self.element_properties = nn.Linear(n_properties, width, bias=False)
        self.element_bias = nn.Parameter(torch.zeros(n_elements))
        self.position = nn.Parameter(0.02 * torch.randn(len(positions.features) + 1, width))
        self.position_properties = nn.Linear(positions.features.shape[1], width)
        self.orbit = nn.Sequential(nn.Linear(3 * width, width), nn.SiLU(), nn.Linear(width, width))
        self.group_in = nn.Embedding(231, width)
        self.atoms_in = nn.Embedding(sizes.n_max + 1, width)
        self.elements_in = nn.Embedding(sizes.k_max + 1, width)
        self.left_in = nn.Embedding(sizes.n_max + 1, width)
        self.to_come_in = nn.Embedding(sizes.k_max + 1, width)
        self.shares_in = nn.Linear(2 * (n_elements + n_properties), width)
        self.orbits_in = nn.Linear(width, width)
        self.blocks = nn.ModuleList([self._layers(width) for _ in range(settings.n_blocks)])
        self.query = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.letter = self._layers(width)
        for embedding in (self.group_in, self.atoms_in, self.elements_in, self.left_in, self.to_come_in):
            nn.init.normal_(embedding.weight, std=0.1)
        self.conditions: ProtostructureConditions | None = None

    def add_properties(self, properties: Mapping[str, PropertyEmbedding]) -> None:
        """Let the model be told properties; before it is trained with them, they change nothing.

        They enter before the first block and behind the last, which costs less than an adapter for each block.

        Raises:
            ValueError: If there is one of these properties already.
        """
        if self.conditions is None:
            new = ProtostructureConditions(self.settings.width, 2, self.sizes, self.prototypes)
            self.conditions = new.to(self.device)
        self.conditions.adapters.add(properties)

    def known(self, labels: Labels | None) -> Known:
        """Encode what is known of properties; nothing where the model has learnt none."""
        return {} if self.conditions is None or not labels else self.conditions.adapters.encode(labels)

    def table_log_prob(self, labels: Labels, places: Int[Tensor, "n 2"]) -> Float[Tensor, " n"]:
        """Return log p(size | labels) + log p(prototype | labels) by the places of both in their tables."""
        assert self.conditions is not None
        sizes = (self.size_entries, self.size_counts)
        return self.conditions.log_prob(labels, places, sizes, self.prototype_counts)

    def _layers(self, n_outputs: int) -> nn.Sequential:
        width = self.settings.width
        return nn.Sequential(
            nn.LayerNorm(width),
            nn.Linear(width, 2 * width),
            nn.SiLU(),
            nn.Dropout(self.settings.dropout),
            nn.Linear(2 * width, n_outputs),
        )

    @property
    def device(self) -> torch.device:
        """Where the model lives."""
        return self.order.device

    @property
    def coder(self) -> SequenceCoder:
        """Between protostructures and the sequences of this model."""
        return SequenceCoder(order=tuple(self.elements[column] for column in self.order.tolist()))

    def element_vectors(self) -> Float[Tensor, "n_elements_and_none width"]:
        """Return a vector for each element in the order of generation, and one for none."""
        known = self.element_properties(self.properties)
        return self.element + nn.functional.pad(known, (0, 0, 0, 1))

    def position_vectors(self) -> Float[Tensor, "n_positions_and_none width"]:
        """Return a vector for each Wyckoff position of all groups, and one for none."""
        known = self.position_properties(self.position_features)
        return self.position + nn.functional.pad(known, (0, 0, 0, 1))

    def orbit_vectors(
        self, element: Float[Tensor, "*n width"], position: Float[Tensor, "*n width"]
    ) -> Float[Tensor, "*n width"]:
        """Encode orbits by what sits where."""
        return self.orbit(torch.cat([element, position, element * position], -1))

    def hidden(
        self,
        prefix: Prefix,
        elements: Float[Tensor, "n_elements_and_none width"],
        positions: Float[Tensor, "n_positions_and_none width"],
        known: Known | None = None,
        rows: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n width"]:
        """Encode unfinished protostructures.

        Args:
            prefix: What is known.
            elements: What `element_vectors` returned.
            positions: What `position_vectors` returned.
            known: What is known of properties; see the method of that name.
            rows: Which row of that belongs to each.
        """
        present = (prefix.shares > 0).to(prefix.shares.dtype)
        shares = [4 * prefix.shares, present, prefix.shares @ self.properties, present @ self.properties]
        hidden = self.shares_in(torch.cat(shares, 1)) + self.orbits_in(prefix.orbits)
        hidden = hidden + self.group_in(prefix.group) + self.atoms_in(prefix.n_atoms)
        hidden = hidden + self.elements_in(prefix.n_elements) + self.left_in(prefix.n_left)
        hidden = hidden + self.to_come_in(prefix.n_elements_left)
        hidden = hidden + elements[prefix.last_element] + positions[prefix.last_position]
        told = None if self.conditions is None or not known else self.conditions.adapters
        if told is not None:
            hidden = told(hidden, 0, known, rows)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        return hidden if told is None else told(hidden, 1, known, rows)

    def element_logits(
        self, hidden: Float[Tensor, "n width"], elements: Float[Tensor, "n_elements_and_none width"]
    ) -> Float[Tensor, "n n_elements"]:
        """Score the next element, whether or not it may come."""
        return self.query(hidden) @ elements[:-1].T * self.settings.width**-0.5 + self.element_bias

    def letter_logits(
        self,
        hidden: Float[Tensor, "n width"],
        element: Float[Tensor, "n width"],
        group: Int[Tensor, " n"],
        positions: Float[Tensor, "n_positions_and_none width"],
    ) -> Float[Tensor, "n n_letters"]:
        """Score the Wyckoff letters of the group for an element, whether or not they may be taken."""
        wanted = self.letter(hidden + element)
        letters = torch.arange(27, device=self.device)
        keys = (self.position_start[group][:, None] + letters).clamp(max=len(positions) - 1)
        if torch.is_grad_enabled():
            scores = (wanted @ positions.T).gather(
                1, keys
            )  # of all groups: faster than backwards through some
        else:
            scores = wanted.new_empty(keys.shape)
            for number in group.unique():
                rows = (group == number).nonzero()[:, 0]
                scores[rows] = wanted[rows] @ positions[keys[rows[0]]].T
        return scores * self.settings.width**-0.5

    def allowed_elements(
        self,
        same: Bool[Tensor, " n"],
        new: Bool[Tensor, " n"],
        last_element: Int[Tensor, " n"],
        n_elements_left: Int[Tensor, " n"],
    ) -> Bool[Tensor, "n n_elements"]:
        """Tell which elements may come next: the last one again, or a later one that leaves room for those to come.

        Args:
            same: Whether the last element has a position to take.
            new: Whether a new one has.
            last_element: Place in the order; the number of elements before the first orbit.
            n_elements_left: Elements still to come.
        """
        places = torch.arange(len(self.elements), device=self.device)
        before = torch.where(last_element == len(self.elements), -1, last_element)[:, None]
        later = (places > before) & (places <= len(self.elements) - n_elements_left[:, None])
        return ((places == before) & same[:, None]) | (later & new[:, None])

    def step_log_prob(
        self, sequences: OrbitSequences, labels: Labels | None = None
    ) -> Float[Tensor, "n n_orbits"]:
        """Return log p(element, letter | what comes before, labels) of each orbit, 0 behind the last."""
        elements, positions = self.element_vectors(), self.position_vectors()
        present = sequences.present
        row, step = present.nonzero(as_tuple=True)
        prefix = self._prefixes(sequences, elements, positions)
        hidden = self.hidden(prefix, elements, positions, self.known(labels), row)
        element, letter = sequences.element[row, step], sequences.letter[row, step]
        same, new = letter_flags(sequences.same[row, step]), letter_flags(sequences.new[row, step])
        may_come = self.allowed_elements(same.any(1), new.any(1), prefix.last_element, prefix.n_elements_left)
        by_element = self.element_logits(hidden, elements).masked_fill(~may_come, -torch.inf)
        may_take = torch.where((element == prefix.last_element)[:, None], same, new)
        by_letter = self.letter_logits(hidden, elements[element], prefix.group, positions)
        by_letter = by_letter.masked_fill(~may_take, -torch.inf)
        found = by_element.log_softmax(1).gather(1, element[:, None])[:, 0]
        found = found + by_letter.log_softmax(1).gather(1, letter[:, None])[:, 0]
        return found.new_zeros(present.shape).index_put((row, step), found)

    def _prefixes(self, sequences: OrbitSequences, elements: Tensor, positions: Tensor) -> Prefix:
        """Lay out what is known before each orbit."""
        present, n_elements = sequences.present, len(self.elements)
        element = torch.where(present, sequences.element, n_elements)
        number = torch.where(
            present, self.position_start[sequences.group][:, None] + sequences.letter, len(positions) - 1
        )
        size = torch.where(present, nn.functional.pad(self.position_size, (0, 1))[number], 0)
        vectors = elements.new_zeros(*present.shape, elements.shape[1])
        vectors = vectors.index_put(
            present.nonzero(as_tuple=True),
            self.orbit_vectors(elements[element[present]], positions[number[present]]).to(vectors.dtype),
        )
        is_new = element != nn.functional.pad(element, (1, 0), value=-1)[:, :-1]
        atoms = nn.functional.one_hot(element, n_elements + 1)[..., :-1] * size[..., None]

        def before(values: Tensor) -> Tensor:
            return values.cumsum(1) - values

        last_element = nn.functional.pad(element, (1, 0), value=n_elements)[:, :-1]
        last_number = nn.functional.pad(number, (1, 0), value=len(positions) - 1)[:, :-1]
        shares = before(atoms).to(vectors.dtype) / sequences.n_atoms[:, None, None]

        def spread(values: Tensor) -> Tensor:
            return values[:, None].expand(present.shape)[present]

        return Prefix(
            group=spread(sequences.group),
            n_atoms=spread(sequences.n_atoms),
            n_elements=spread(sequences.n_elements),
            orbits=before(vectors)[present],
            shares=shares[present],
            n_left=(sequences.n_atoms[:, None] - before(size))[present],
            n_elements_left=(sequences.n_elements[:, None] - before(is_new.long() * present))[present],
            last_element=last_element[present],
            last_position=last_number[present],
        )

    @torch.no_grad()
    def log_prob(self, sequences: OrbitSequences) -> Float[Tensor, " n_crystals"]:
        """Return the log-probability of protostructures, each summed over the settings among the rows.

        Crystals are numbered from 0; all of a crystal's settings should be there (`SequenceCoder.encode`).
        """
        rows = [sequences.rows(part) for part in torch.arange(len(sequences)).split(ROWS_AT_ONCE)]
        orbits = torch.cat([self.step_log_prob(part).sum(1) for part in rows])
        total = orbits + self.sizes.log_prob(sequences.group, sequences.n_atoms, sequences.n_elements).to(
            orbits
        )
        n_crystals = int(sequences.crystal.max()) + 1
        highest = total.new_full((n_crystals,), -torch.inf).scatter_reduce(
            0, sequences.crystal, total, "amax"
        )
        shifted = (total - highest[sequences.crystal]).nan_to_num(nan=0.0).exp()
        return total.new_zeros(n_crystals).index_add(0, sequences.crystal, shifted).log() + highest

    def tensors_and_metadata(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Return all that `from_tensors_and_metadata` needs, as tensors and plain JSON values."""
        metadata = {
            "settings": self.settings.model_dump(mode="json"),
            "elements": list(self.elements),
            "prototypes": [str(one) for one in self.prototypes.prototypes],
        }
        if self.conditions is not None:
            metadata["properties"] = self.conditions.adapters.describe()
        return dict(self.state_dict()), metadata

    @classmethod
    def from_tensors_and_metadata(
        cls, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any]
    ) -> "ProtostructureModel":
        """Build the model that `tensors_and_metadata` described, in evaluation mode.

        Raises:
            UserError: If tensors and metadata do not fit together.
        """
        try:
            settings = ProtostructureModelSettings.model_validate(metadata["settings"])
            table = ElementTable(order=tensors["order"], properties=tensors["properties"])
            sizes = SizeTable(entries=tensors["size_entries"], counts=tensors["size_counts"])
            prototypes = PrototypeTable(
                prototypes=tuple(map(Prototype.parse, metadata["prototypes"])),
                counts=tensors["prototype_counts"],
            )
            model = cls(settings, tuple(metadata["elements"]), sizes, prototypes, table=table)
            if "properties" in metadata:
                model.add_properties(built(metadata["properties"]))
            model.load_state_dict(dict(tensors))
        except (KeyError, ValueError, RuntimeError) as error:  # pydantic's error is a ValueError
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"the model of protostructures cannot be restored ({reason}): train it again"
            ) from error
        return model.eval()
