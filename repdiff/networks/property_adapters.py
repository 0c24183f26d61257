"""Properties of whole crystals as conditions of a network: embeddings of their labels, and adapters for its layers."""

from collections.abc import Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repdiff.networks.crystal.adapters import AdapterInput, Adapters
from repdiff.networks.property_embedding import PropertyEmbedding, built, describe

Labels = Mapping[str, AdapterInput]
"""Raw numbers of properties, by name, and of which crystals they are known."""


class PropertyAdapters(nn.Module):
    """Turns labels into vectors, and mixes these into hidden vectors at one or several places of a network.

    A fresh adapter adds zero, so that properties can be added to a trained network without changing what it does.

    Args:
        width: Channels of the hidden vectors.
        n_places: Places in the network that have adapters of their own.
    """

    def __init__(self, width: int, n_places: int) -> None:
        super().__init__()
        self.embeddings = nn.ModuleDict()
        self.adapters = Adapters(width, n_places)
        self._names: list[str] = []

    @property
    def properties(self) -> dict[str, PropertyEmbedding]:
        """The embeddings by name of the property."""
        found = {}
        for name in self._names:
            embedding = self.embeddings[module_key(name)]
            assert isinstance(embedding, PropertyEmbedding)
            found[name] = embedding
        return found

    def describe(self) -> dict[str, dict[str, object]]:
        """Return what `add_described` adds the properties again from, as plain JSON."""
        return describe(self.properties)

    def add(self, properties: Mapping[str, PropertyEmbedding]) -> None:
        """Add properties.

        Raises:
            ValueError: If one of that name is there.
        """
        example = next(self.parameters(), None)
        for name, embedding in properties.items():
            self.adapters.add(module_key(name), embedding.n_values)
            self.embeddings[module_key(name)] = embedding if example is None else embedding.to(example)
            self._names.append(name)

    def add_described(self, described: Mapping[str, Mapping[str, object]]) -> None:
        """Add the properties that `describe` described, with fresh weights."""
        self.add(built(described))

    def encode(self, labels: Labels) -> dict[str, AdapterInput]:
        """Turn raw numbers into the vectors that `forward` takes, in full precision: a lower one would blur them.

        Raises:
            KeyError: If there is no property of a name.
        """
        found = {}
        for name, label in labels.items():
            key = module_key(name)
            with torch.autocast(label.values.device.type, enabled=False):
                values = self.embeddings[key](label.values)
            found[key] = AdapterInput(values=values, has_label=label.has_label)
        return found

    def forward(
        self,
        hidden: Float[Tensor, "n width"],
        place: int,
        encoded: Mapping[str, AdapterInput],
        rows: Int[Tensor, " n"] | None = None,
    ) -> Float[Tensor, "n width"]:
        """Return the hidden vectors with what is known mixed in.

        Args:
            hidden: What the network has come to.
            place: Number of the place in the network.
            encoded: What `encode` returned.
            rows: Row of the labels that belongs to each hidden vector; None for the same order.
        """
        if not encoded:
            return hidden
        if rows is None:
            rows = torch.arange(len(hidden), device=hidden.device)
        return self.adapters(hidden, place, encoded, rows)


def module_key(name: str) -> str:
    """Return the name of a property as modules can bear it."""
    return "of_" + name.replace(".", "_")


def same_labels(
    raw: Mapping[str, Sequence[float]], n: int, device: torch.device, *, dtype: torch.dtype = torch.float32
) -> dict[str, AdapterInput]:
    """Give `n` crystals the same labels.

    Args:
        raw: Raw numbers of each property.
        n: Number of crystals.
        device: Where the labels shall be.
        dtype: Precision of the numbers.
    """
    has_label = torch.ones(n, dtype=torch.bool, device=device)
    return {
        name: AdapterInput(
            values=torch.tensor([list(numbers)], dtype=dtype, device=device).expand(n, -1),
            has_label=has_label,
        )
        for name, numbers in raw.items()
    }


def guided_views(labels: Labels | None, guidance: float) -> list[tuple[float, Labels | None]]:
    """Return with what labels a network is asked in classifier-free guidance, and the weight of each answer.

    Args:
        labels: What is asked for; None for nothing.
        guidance: γ: 1 for the conditional network, 0 for the unconditional one.
    """
    if not labels or guidance == 0:
        return [(1.0, None)]
    return [(guidance, labels)] if guidance == 1 else [(guidance, labels), (1 - guidance, None)]
