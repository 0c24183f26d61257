"""Properties as vectors that adapters take: a number, a class, a chemical system, a space group.

Each kind says how it reads a label, as some raw numbers, and how it turns those into a vector.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from descriptors.registry import Registry

WIDTH = 64  # of the vectors
N_WAVES = (
    6  # of sines and of cosines; the first has a period of 16 standard deviations, each next half as much
)
N_SPACE_GROUPS = 230
MAX_SHOWN = 12  # of classes in a message


class PropertyEmbedding(nn.Module, ABC):
    """One property.

    Attributes:
        n_raw: Numbers that say its value.
        n_values: Length of its vector.
    """

    n_raw: int
    n_values: ClassVar[int] = WIDTH

    @abstractmethod
    def read(self, label: object) -> list[float]:
        """Return the raw numbers of a label, or of what a user wrote.

        Raises:
            ValueError: If it is none of this kind; the message goes on from "NAME is LABEL, ".
        """

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return the arguments that build it again, as plain JSON."""

    def caution(self, label: object) -> str:
        """Say why a label that can be read may not be obtained; "" where nothing is known of it."""
        del label
        return ""

    @abstractmethod
    def forward(self, raw: Float[Tensor, "n n_raw"]) -> Float[Tensor, "n n_values"]:
        """Turn raw numbers into vectors."""


PROPERTY_KINDS: Registry[PropertyEmbedding] = Registry("kind of property")


@PROPERTY_KINDS.register("scalar")
class ScalarEmbedding(PropertyEmbedding):
    """A number: its distance from the mean in standard deviations, and sines and cosines of that.

    Args:
        mean: Mean of the training labels.
        std: Standard deviation of the training labels, positive.
        low: Lowest training label; None where it was not kept.
        high: Highest training label; None where it was not kept.
    """

    n_raw = 1
    frequencies: Tensor

    def __init__(
        self, mean: float, std: float, *, low: float | None = None, high: float | None = None
    ) -> None:
        super().__init__()
        if not (math.isfinite(mean) and std > 0):
            raise ValueError(f"mean {mean} and standard deviation {std}, expected a positive one")
        self.mean, self.std, self.low, self.high = mean, std, low, high
        frequencies = 2 * math.pi / 16 * 2.0 ** torch.arange(N_WAVES)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layer = nn.Linear(1 + 2 * N_WAVES, WIDTH)

    def read(self, label: object) -> list[float]:
        """Take a finite number."""
        if isinstance(label, bool) or not isinstance(label, int | float) or not math.isfinite(label):
            raise ValueError("expected a finite number")
        return [float(label)]

    def describe(self) -> dict[str, Any]:
        """Return mean and standard deviation, and the range where it is known."""
        described = {"mean": self.mean, "std": self.std}
        if self.low is not None and self.high is not None:
            described |= {"low": self.low, "high": self.high}
        return described

    def caution(self, label: object) -> str:
        """Say where a number lies outside the training labels."""
        if self.low is None or self.high is None or not isinstance(label, int | float):
            return ""
        if self.low <= label <= self.high:
            return ""
        return f"the training labels go from {self.low:g} to {self.high:g}: nothing beyond was learnt"

    def forward(self, raw: Float[Tensor, "n 1"]) -> Float[Tensor, "n n_values"]:
        """Turn numbers into vectors."""
        scaled = (raw - self.mean) / self.std
        angles = scaled * self.frequencies.to(raw)
        return self.layer(torch.cat([scaled, angles.sin(), angles.cos()], 1))


@PROPERTY_KINDS.register("class")
class ClassEmbedding(PropertyEmbedding):
    """One of a few classes, such as the name of a structure type, or true or false.

    Args:
        classes: The different training labels, as text.
    """

    n_raw = 1

    def __init__(self, classes: Sequence[str]) -> None:
        super().__init__()
        self.classes = list(classes)
        self.layer = nn.Embedding(len(self.classes), WIDTH)

    def read(self, label: object) -> list[float]:
        """Take one of the classes."""
        if class_name(label) not in self.classes:
            shown = ", ".join(self.classes[:MAX_SHOWN])
            more = f" and {len(self.classes) - MAX_SHOWN} more" if len(self.classes) > MAX_SHOWN else ""
            raise ValueError(f"expected one of {shown}{more}")
        return [float(self.classes.index(class_name(label)))]

    def describe(self) -> dict[str, Any]:
        """Return the classes."""
        return {"classes": self.classes}

    def forward(self, raw: Float[Tensor, "n 1"]) -> Float[Tensor, "n n_values"]:
        """Turn places of classes into vectors."""
        return self.layer(raw[:, 0].long())


@PROPERTY_KINDS.register("chemical_system")
class ChemicalSystemEmbedding(PropertyEmbedding):
    """A set of elements, such as Li-O: one for each that is in it.

    Args:
        elements: Atomic numbers of the training set.
    """

    def __init__(self, elements: Collection[int]) -> None:
        super().__init__()
        self.elements = sorted(elements)
        self.n_raw = len(self.elements)
        self.layer = nn.Linear(self.n_raw, WIDTH, bias=False)
        nn.init.normal_(self.layer.weight, std=0.5)  # a sum over about four elements is of order one

    def read(self, label: object) -> list[float]:
        """Take atomic numbers, or symbols with dashes between them."""
        from ase.data import chemical_symbols

        numbers = read_system(label)
        if strange := numbers - set(self.elements):
            known = "-".join(chemical_symbols[number] for number in self.elements)
            raise ValueError(
                f"but {chemical_symbols[min(strange)]} is not in the training set, expected {known}"
            )
        return [float(number in numbers) for number in self.elements]

    def describe(self) -> dict[str, Any]:
        """Return the elements."""
        return {"elements": self.elements}

    def forward(self, raw: Float[Tensor, "n n_elements"]) -> Float[Tensor, "n n_values"]:
        """Turn sets into vectors."""
        return self.layer(raw)


@PROPERTY_KINDS.register("space_group")
class SpaceGroupEmbedding(PropertyEmbedding):
    """The number of a space group."""

    n_raw = 1

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Embedding(N_SPACE_GROUPS + 1, WIDTH)

    def read(self, label: object) -> list[float]:
        """Take a number from 1 to 230."""
        if isinstance(label, bool) or not isinstance(label, int | float) or label not in range(1, 231):
            raise ValueError(f"expected the number of a space group, 1 to {N_SPACE_GROUPS}")
        return [float(label)]

    def describe(self) -> dict[str, Any]:
        """Return nothing: all space groups are alike."""
        return {}

    def forward(self, raw: Float[Tensor, "n 1"]) -> Float[Tensor, "n n_values"]:
        """Turn space groups into vectors; 0 where none is known."""
        return self.layer(raw[:, 0].long())


def read_system(label: object) -> frozenset[int]:
    """Return the atomic numbers of a chemical system, "Li-O" or a collection of atomic numbers.

    Raises:
        ValueError: If it is none; the message goes on from "NAME is LABEL, ".
    """
    from ase.data import atomic_numbers

    if isinstance(label, str):
        symbols = [part.strip() for part in label.split("-")]
        if symbols and all(atomic_numbers.get(symbol, 0) for symbol in symbols):
            return frozenset(atomic_numbers[symbol] for symbol in symbols)
    elif isinstance(label, Collection) and label:
        return frozenset(int(number) for number in label)
    raise ValueError("expected symbols of elements with dashes between them, such as Li-O")


def class_name(label: object) -> str:
    """Return a label as the name of a class; true and false as they are written everywhere.

    >>> class_name(True), class_name("cubic")
    ('true', 'cubic')
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def describe(properties: Mapping[str, PropertyEmbedding]) -> dict[str, dict[str, Any]]:
    """Return what `built` builds the embeddings from."""
    kinds = {PROPERTY_KINDS[kind]: kind for kind in PROPERTY_KINDS}
    return {
        name: {"kind": kinds[type(embedding)], **embedding.describe()}
        for name, embedding in properties.items()
    }


def built(described: Mapping[str, Mapping[str, Any]]) -> dict[str, PropertyEmbedding]:
    """Build the embeddings that `describe` described, with fresh weights."""
    return {
        name: PROPERTY_KINDS[options["kind"]](**{key: options[key] for key in options if key != "kind"})
        for name, options in described.items()
    }
