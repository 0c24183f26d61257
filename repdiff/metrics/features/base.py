"""What a feature extractor is: `FeatureExtractor`, from crystals to vectors; the registry `EXTRACTORS`."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import ClassVar

import numpy as np
from jaxtyping import Bool, Float

from descriptors.registry import Registry, unknown
from repdiff.crystals.crystal import Crystal
from repdiff.energies.relaxed import ForceFieldIdentity
from repdiff.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Features:
    """Vectors of a set of crystals, in its order.

    Attributes:
        values: A row of NaN where there is none.
        reasons: Why there is none, by crystal; "" where there is one.
    """

    values: Float[np.ndarray, "n_crystals n_features"]
    reasons: Sequence[str]

    @property
    def present(self) -> Bool[np.ndarray, " n_crystals"]:
        """Tell which crystals have one."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


class FeatureExtractor(ABC):
    """A pretrained network that is asked for what it computes before its last layers.

    Attributes:
        n_features: Length of a vector.
        layer: Which numbers they are, in a few words.
        install: What to type if the package is missing.
    """

    n_features: ClassVar[int]
    layer: ClassVar[str]
    install: ClassVar[str]

    @abstractmethod
    def __init__(self) -> None:
        """Load the weights.

        Raises:
            ImportError: If the package is not installed.
        """

    @property
    @abstractmethod
    def identity(self) -> ForceFieldIdentity:
        """Which network this is: name, version and hash of the weights, part of every result."""

    @property
    @abstractmethod
    def known_elements(self) -> frozenset[int]:
        """Atomic numbers that the network has learned."""

    @abstractmethod
    def refusal(self, crystal: Crystal) -> str:
        """Say why this crystal cannot be computed, naming elements that are not known; "" if it can be tried."""

    @abstractmethod
    def compute(self, crystals: Sequence[Crystal]) -> Features:
        """Compute a batch of crystals, none of them refused; what fails for one alone becomes its reason."""


EXTRACTORS: Registry[FeatureExtractor] = Registry("feature extractor")


@cache
def load_extractor(name: str) -> FeatureExtractor:
    """Load a registered extractor, once in a process.

    Raises:
        UserError: If there is none of that name, or its package is not installed.
    """
    if name not in EXTRACTORS:
        raise UserError(unknown("feature extractor", name, EXTRACTORS))
    try:
        return EXTRACTORS[name]()
    except ImportError as error:
        raise UserError(
            f"features of {name!r} need a package that cannot be imported ({error}): "
            f"pip install {EXTRACTORS[name].install}"
        ) from error
