"""How properties condition the model of protostructures: its hidden vectors, and its frequencies."""

from collections.abc import Mapping

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_adapters import Labels, PropertyAdapters
from repdiff.networks.protostructure.prototypes import PrototypeTable
from repdiff.networks.protostructure.sizes import SizeTable

N_QUERY = 2  # adapters one after another that make the query of the tables
Known = Mapping[str, AdapterInput]
"""What `PropertyAdapters.encode` makes of labels; nothing where nothing is known."""


class TableKeys(nn.Module):
    """A key for each space group, number of atoms, number of elements and prototype.

    The key of a size is the sum of three, so that one that no training crystal has is near its like; that of a
    prototype is that of its size and one of its own.

    Args:
        width: Length of queries and keys.
        sizes: The sizes of the training set.
        prototypes: Its prototypes.
    """

    of_prototypes: Tensor

    def __init__(self, width: int, sizes: SizeTable, prototypes: PrototypeTable) -> None:
        super().__init__()
        self.group = nn.Parameter(torch.randn(231, width))
        self.atoms = nn.Parameter(torch.randn(sizes.n_max + 1, width))
        self.elements = nn.Parameter(torch.randn(sizes.k_max + 1, width))
        self.prototype = nn.Parameter(torch.randn(len(prototypes.prototypes), width))
        own = [[one.number, sum(one.sizes), len(one.parts)] for one in prototypes.prototypes]
        self.register_buffer("of_prototypes", torch.tensor(own), persistent=False)

    def sizes(
        self, query: Float[Tensor, "n width"], entries: Int[Tensor, "n_entries 3"]
    ) -> Float[Tensor, "n n_entries"]:
        """Return the shifts of the log-probabilities of sizes: group, atoms, elements."""
        parts = zip((self.group, self.atoms, self.elements), entries.to(query.device).T, strict=True)
        shift = sum(_compared(query, keys)[:, places] for keys, places in parts)
        assert isinstance(shift, Tensor)
        return shift

    def prototypes(self, query: Float[Tensor, "n width"]) -> Float[Tensor, "n n_prototypes"]:
        """Return the shifts of the log-probabilities of all prototypes."""
        return self.sizes(query, self.of_prototypes) + _compared(query, self.prototype)


def _compared(
    query: Float[Tensor, "n width"], keys: Float[Tensor, "n_keys width"]
) -> Float[Tensor, "n n_keys"]:
    """Compare queries with keys, in the format of the keys.

    A key stands for thousands of sizes or prototypes, whose small gradients are added up; in bfloat16 most of them are
    lost, and training diverges.
    """
    with torch.autocast(query.device.type, enabled=False):
        return query.to(keys.dtype) @ keys.T * keys.shape[1] ** -0.5


class ProtostructureConditions(nn.Module):
    """What properties change: hidden vectors by adapters, frequencies of sizes and prototypes by shifts of their logs.

    A query, made by adapters from nothing, is compared with the keys of sizes and prototypes. Fresh adapters add zero
    and make a query of zero, so that nothing changes before they are trained, nor where nothing is known.

    Args:
        width: Channels of the residual stream.
        n_places: Places of the residual stream that have adapters.
        sizes: The sizes of the training set.
        prototypes: Its prototypes.
    """

    def __init__(self, width: int, n_places: int, sizes: SizeTable, prototypes: PrototypeTable) -> None:
        super().__init__()
        self.width, self.n_places = width, n_places
        self.adapters = PropertyAdapters(width, n_places + N_QUERY)
        self.keys = TableKeys(width, sizes, prototypes)

    def size_shifts(
        self, known: Known, n: int, entries: Int[Tensor, "n_entries 3"]
    ) -> Float[Tensor, "n n_entries"]:
        """Return what properties of `n` crystals add to the log-probabilities of sizes: group, atoms, elements."""
        return self.keys.sizes(self._query(known, n), entries)

    def prototype_shifts(self, known: Known, n: int) -> Float[Tensor, "n n_prototypes"]:
        """Return what properties of `n` crystals add to the log-probabilities of the prototypes."""
        return self.keys.prototypes(self._query(known, n))

    def log_prob(
        self,
        labels: Labels,
        places: Int[Tensor, "n 2"],
        sizes: tuple[Int[Tensor, "n_sizes 3"], Int[Tensor, " n_sizes"]],
        prototype_counts: Int[Tensor, " n_prototypes"],
    ) -> Float[Tensor, " n"]:
        """Return log p(size | labels) + log p(prototype | labels), among those of the training set.

        Args:
            labels: What is known of the properties of crystals.
            places: Places of each in the tables of sizes and prototypes; -1 for none, which adds 0.
            sizes: The sizes, and how often each occurs.
            prototype_counts: How often each prototype occurs.
        """
        known, n = self.adapters.encode(labels), len(places)
        entries, size_counts = sizes
        by_size = size_counts.log() + self.size_shifts(known, n, entries)
        by_prototype = prototype_counts.log() + self.prototype_shifts(known, n)
        total = torch.zeros_like(by_size[:, 0])
        for scores, place in zip((by_size, by_prototype), places.T, strict=True):
            found = scores.log_softmax(1).gather(1, place.clamp(min=0)[:, None])[:, 0]
            total = total + torch.where(place >= 0, found, 0.0)
        return total

    def _query(self, known: Known, n: int) -> Float[Tensor, "n width"]:
        query = torch.zeros(n, self.width, dtype=self.keys.group.dtype, device=self.keys.group.device)
        for place in range(N_QUERY):
            query = self.adapters(query, self.n_places + place, known)
        return query
