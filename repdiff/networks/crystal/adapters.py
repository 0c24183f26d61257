"""Adapters: conditions added to a trained network without changing what it does."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from repdiff.networks.crystal.layers import take_rows, two_layers


@dataclass(frozen=True, kw_only=True)
class AdapterInput:
    """What is known of one property: a vector for each crystal, and which crystals have one."""

    values: Float[Tensor, "n_systems n_values"]
    has_label: Bool[Tensor, " n_systems"]


class AdapterLayer(nn.Module):
    """One property's way into one block: an MLP on [scalars | values], mixed in by a linear map that starts at zero.

    Args:
        width: Scalar channels of the network.
        n_values: Length of the property's vector.

    Source: Zeni et al., arXiv 2312.03687, supplement on fine-tuning.
    """

    def __init__(self, width: int, n_values: int) -> None:
        super().__init__()
        self.inner = two_layers(width + n_values, width, width)
        self.mix_in = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.mix_in.weight)

    def forward(
        self,
        scalars: Float[Tensor, "n_atoms width"],
        condition: AdapterInput,
        system_idx: Int[Tensor, " n_atoms"],
    ) -> Float[Tensor, "n_atoms width"]:
        """Return what to add to the scalars: zero for crystals whose property is not given."""
        values = torch.where(condition.has_label[:, None], condition.values, 0.0)
        inner = self.inner(torch.cat([scalars, take_rows(values, system_idx)], 1))
        return self.mix_in(inner) * condition.has_label[system_idx, None]


class Adapters(nn.Module):
    """The adapters of all blocks of a network, by name of the property; none at first."""

    def __init__(self, width: int, n_blocks: int) -> None:
        super().__init__()
        self.width, self.n_blocks = width, n_blocks
        self.layers = nn.ModuleDict()

    def add(self, name: str, n_values: int) -> None:
        """Add an adapter for a property.

        Raises:
            ValueError: If there is one of that name.
        """
        if name in self.layers:
            raise ValueError(f"an adapter named {name!r} is there already, expected another name")
        example = next(iter(self.layers.parameters()), None)
        layers = nn.ModuleList([AdapterLayer(self.width, n_values) for _ in range(self.n_blocks)])
        self.layers[name] = layers if example is None else layers.to(example)

    def forward(
        self,
        scalars: Float[Tensor, "n_atoms width"],
        number: int,
        conditions: Mapping[str, AdapterInput],
        system_idx: Int[Tensor, " n_atoms"],
    ) -> Float[Tensor, "n_atoms width"]:
        """Return the scalars with all given properties mixed in, before block `number`."""
        mixed = scalars
        for name, condition in conditions.items():
            layers = self.layers[name]
            assert isinstance(layers, nn.ModuleList)
            mixed = mixed + layers[number](scalars, condition, system_idx)
        return mixed
