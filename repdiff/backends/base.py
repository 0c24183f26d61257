"""What a backend is: one system that learns from crystals and makes new ones."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from pydantic import BaseModel
from torch import Tensor

from descriptors.registry import Registry
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition
from repdiff.errors import UserError
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.settings import GenerateSettings, TrainSettings
from repdiff.training import Trainable, TrainingData


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What the training loop needs to fit a backend.

    Attributes:
        model: With its initial weights.
        training: The examples.
        validation: May be empty.
        metadata: Plain JSON that goes into every file with weights.
        tensors: Tensors that go into every file with weights.
    """

    model: Trainable
    training: TrainingData
    validation: TrainingData
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


class Backend(ABC):
    """A trained system, ready to sample.

    Attributes:
        description: One line for `repdiff backends`.
        makes: "representations", which `repdiff reconstruct` turns into crystals, or "crystals".
        conditions: What samples can be asked to have: "composition".
        kind: Of the files that hold its weights; by it a file's backend is found.
        training_options: Settings of training that are its own.
        sampling_options: Settings of sampling that are its own.
    """

    description: ClassVar[str]
    makes: ClassVar[Literal["representations", "crystals"]]
    conditions: ClassVar[frozenset[str]]
    kind: ClassVar[str]
    training_options: ClassVar[type[BaseModel]]
    sampling_options: ClassVar[type[BaseModel]]

    @classmethod
    @abstractmethod
    def prepare(cls, encoded: EncodedSet, settings: TrainSettings, folder: Path) -> TrainingJob:
        """Build a fresh model and its data.

        Args:
            encoded: The data set; its splits decide what is training and what validation.
            settings: Of the run.
            folder: Of the run, for what is fitted before the training proper.

        Raises:
            UserError: If settings do not fit, or there is no training data.
        """

    @classmethod
    @abstractmethod
    def load(cls, path: Path, *, device: torch.device) -> "Backend":
        """Read a trained model: a run's folder or a file.

        Raises:
            UserError: If there is none, or it does not fit together.
        """

    @abstractmethod
    def check(self, settings: GenerateSettings, compositions: Sequence[Composition] | None) -> None:
        """Refuse what this model cannot make, before anything is made.

        Args:
            settings: How to sample.
            compositions: That will be asked for.

        Raises:
            UserError: If a setting means nothing to the backend or does not fit, or a composition cannot be made.
        """

    @abstractmethod
    def sample(
        self,
        n: int,
        settings: GenerateSettings,
        *,
        first: int = 0,
        compositions: Sequence[Composition] | None = None,
    ) -> RepresentationBatch | list[Crystal]:
        """Draw samples number `first` to `first + n` of the stream that `settings.seed` begins.

        What `check` refuses is not asked for.

        A sample does not depend on what else is drawn with it, up to the rounding of matrix products.

        Args:
            n: How many.
            settings: Seed, and how to sample.
            first: Number of the first.
            compositions: One for each sample; None lets the backend choose.
        """


def check_sampling(settings: GenerateSettings, *, backend: str, n_times: int) -> None:
    """Refuse samplers of vectors for a backend that makes crystals, and more steps than it was trained with.

    Args:
        settings: How to sample.
        backend: Name of the backend.
        n_times: Of its noise process.

    Raises:
        UserError: If such a setting is given.
    """
    if settings.sampler != "ddpm" or settings.eta or settings.composition_temperature != 1:
        raise UserError(
            "--sampler, --eta and --composition-temperature are those of structrepdiff, expected none of them "
            f"with {backend}: see --backend-options"
        )
    if settings.steps is not None and settings.steps > n_times:
        raise UserError(f"--steps is {settings.steps}, expected at most {n_times}, as in training")


def seen_only(compositions: Iterable[Composition], seen: Collection[int]) -> None:
    """Refuse compositions with an element that the training data lacks.

    Raises:
        UserError: If there is one; the message lists the elements.
    """
    if strange := {number for counts in compositions for number in counts} - set(seen):
        raise UserError(
            f"a composition has the element of atomic number {min(strange)}, expected those of the training data: "
            f"{', '.join(map(str, sorted(seen)))}"
        )


def check_compositions(
    compositions: Sequence[Composition] | None, seen: Collection[int], n_most: int
) -> None:
    """Refuse compositions of strange elements, and those larger than anything the model has learnt.

    Raises:
        UserError: If there is one.
    """
    seen_only(compositions or (), seen)
    largest = max((sum(counts.values()) for counts in compositions or ()), default=0)
    if largest > n_most:
        raise UserError(
            f"a composition has {largest} atoms, expected at most {n_most}, the most of a training crystal"
        )


BACKENDS: Registry[Backend] = Registry("backend", group="repdiff.backends")
