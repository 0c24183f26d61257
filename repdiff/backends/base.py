"""What a backend is: one system that learns from crystals and makes new ones."""

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from pydantic import BaseModel
from torch import Tensor

from descriptors.registry import Registry
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.refusals import chosen_keep
from repdiff.conditions import How, honoured
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition, count_elements
from repdiff.diffusion.noise_level import check_strength
from repdiff.errors import UserError
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.draws import DrawRecord
from repdiff.representations.encoded_set import EncodedSet
from repdiff.settings.backends import PLUGINS, declare
from repdiff.training import Trainable, TrainingData

if TYPE_CHECKING:
    from repdiff.backends.steering import SteeringRequest

NO_DIFFUSION = "it has no diffusion to noise a crystal by, expected a model of another backend"


@dataclass(frozen=True, kw_only=True)
class FirstStage:
    """A smaller model that is trained before the main one, within the same budget.

    Attributes:
        name: Folder of its checkpoints inside that of the run; in every file with weights of the main model its best
            weights stand under it, and what it says of itself is the metadata of this name.
        model: Model with its initial weights.
        training: The examples.
        validation: May be empty.
        share: Share of the minutes that it may take; budgets of steps and epochs hold for each model by itself.
        max_epochs: Passes over the examples at most, whatever the budget.
        settings: Settings of its training that differ from those of the main model.
    """

    name: str
    model: Trainable
    training: TrainingData
    validation: TrainingData
    share: float
    max_epochs: int
    settings: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class TrainingJob:
    """What the training loop needs to fit a backend.

    Attributes:
        model: Model with its initial weights.
        training: The examples.
        validation: May be empty.
        metadata: Plain JSON that goes into every file with weights.
        tensors: Tensors that go into every file with weights.
        first: What is trained before; None for nothing.
        n_labelled: Training crystals with a label, by property that the model learns.
    """

    model: Trainable
    training: TrainingData
    validation: TrainingData
    metadata: Mapping[str, Any]
    tensors: Mapping[str, Tensor]
    first: FirstStage | None = None
    n_labelled: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """What a backend has made: representations, or crystals, as its `makes` says.

    Attributes:
        made: One or the other, in the order of the samples.
        draws: What became of all protostructures that were drawn for them, where the backend draws any.
    """

    made: RepresentationBatch | tuple[Crystal, ...]
    draws: tuple[DrawRecord, ...] = ()

    def __len__(self) -> int:
        """Count the samples."""
        return len(self.made.vectors) if isinstance(self.made, RepresentationBatch) else len(self.made)

    @property
    def crystals(self) -> list[Crystal]:
        """The crystals.

        Raises:
            ValueError: If they are representations, which have to be reconstructed first.
        """
        if isinstance(self.made, RepresentationBatch):
            raise ValueError("the samples are representations, expected crystals: reconstruct them first")
        return list(self.made)

    @property
    def representations(self) -> RepresentationBatch:
        """The representations.

        Raises:
            ValueError: If they are crystals.
        """
        if not isinstance(self.made, RepresentationBatch):
            raise ValueError("the samples are crystals, expected representations: encode them first")
        return self.made


class Backend(ABC):
    """A trained system, ready to sample.

    Attributes:
        description: One line for `repdiff backends`.
        makes: "representations", which `repdiff reconstruct` turns into crystals, or "crystals".
        conditions: What samples can be asked to be, and how that is honoured: names of `repdiff.conditions.GRAMMAR`,
            "composition", "protostructure" (one given for each sample), and "properties" (labels that it was taught).
            Names alone mean exactly. What is read off finished crystals need not be named: see `honoured`.
        kind: File type tag, used to find the backend of a checkpoint.
        training_options: Options of training.
        sampling_options: Options of sampling.
        holds: Whether parts of what it draws can be held: see `repdiff.conditions.held`.
        varies: Whether it makes variations of given crystals; it then has `keeps` and `vary`.
    """

    description: ClassVar[str]
    makes: ClassVar[Literal["representations", "crystals"]]
    conditions: ClassVar[Mapping[str, How] | frozenset[str]]
    kind: ClassVar[str]
    training_options: ClassVar[type[BaseModel]]
    sampling_options: ClassVar[type[BaseModel]]
    holds: ClassVar[bool] = False
    varies: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Build a fresh model and its data.

        Args:
            encoded: The data set; its splits decide what is training and what validation.
            options: An instance of `training_options`, or values by name (`{"network.width": 32}`); None for the
                defaults.
            seed: Seed of the initial weights.
            folder: Where to keep what is fitted before the training proper.

        Raises:
            UserError: If options do not fit, or there is no training data.
        """

    @classmethod
    def prepare_finetuning(
        cls,
        encoded: EncodedSet,
        base: Path,
        *,
        names: Sequence[str],
        weights: Literal["all", "adapters"] = "all",
        condition_dropout: float = 0.2,
        seed: int = 0,
    ) -> TrainingJob:
        """Add adapters for properties to a trained model, which keeps those it has; most backends cannot.

        Args:
            encoded: Crystals with labels.
            base: The trained model.
            names: The new properties.
            weights: Whether all weights are trained, or those of the adapters alone.
            condition_dropout: Share of the examples that are shown without their labels, for guidance.
            seed: Seed of the adapters' weights.

        Raises:
            UserError: If the backend takes no properties, labels are missing, constant or unreadable, an adapter is
                there already, or the set has elements that the model does not know.
        """
        del encoded, names, weights, condition_dropout, seed
        able = [name for name in BACKENDS if "properties" in BACKENDS[name].conditions]
        raise UserError(
            f"{base} is a model whose backend takes no properties, expected one of {' or '.join(able)}"
        )

    @classmethod
    @abstractmethod
    def load(cls, path: Path, *, device: torch.device) -> "Backend":
        """Read a trained model: a run's folder or a file.

        Raises:
            UserError: If there is none, or it does not fit together.
        """

    def honours(self) -> Mapping[str, How]:
        """Return how this model honours each condition, which may be less than its class declares."""
        return honoured(type(self).conditions)

    @property
    def taught(self) -> Collection[str]:
        """Labels that this model was taught as conditions."""
        return ()

    def data_range(self, name: str) -> tuple[float, float] | None:
        """Return the least and the largest value of a condition in the training data; None if they are not known."""
        return None

    @abstractmethod
    def check(
        self,
        *,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse what this model cannot make, before anything is made; see `sample` for the arguments.

        Raises:
            UserError: If an argument does not fit, or a composition or a condition cannot be met.
        """

    @abstractmethod
    def sample(
        self,
        n: int,
        *,
        seed: int = 0,
        first: int = 0,
        steps: int | None = None,
        compositions: Sequence[Composition] | None = None,
        protostructures: Sequence[Protostructure] | None = None,
        conditions: Mapping[str, Any] | None = None,
        guidance: float | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Draw samples number `first` to `first + n` of the stream that `seed` begins.

        A sample does not depend on what else is drawn with it, up to the rounding of matrix products. What `check`
        refuses must not be asked for.

        Args:
            n: Number of samples.
            seed: Seed of the stream.
            first: Number of the first sample within the stream.
            steps: Denoising steps; None for what suits the sampler, or for as many as in training.
            compositions: One for each sample; None lets the backend choose.
            protostructures: One for each sample, whose symmetry and elements it has exactly; None for none. Formulas
                then come from them. Where they are not None, compositions are.
            conditions: What all samples are asked to be, by name, read or as `repdiff.conditions.typed` reads it.
            guidance: γ of classifier-free guidance: 0 ignores the conditions, 1 (None) is as trained.
            options: An instance of `sampling_options`, or values by name; None for the defaults.
        """

    def likeliest(
        self,
        composition: Composition,
        n: int,
        *,
        conditions: Mapping[str, Any] | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> list[Protostructure]:
        """List the likeliest protostructures of a formula, which `sample` takes; most backends cannot tell any.

        Args:
            composition: Atoms of a formula unit by atomic number.
            n: How many at most.
            conditions: What they shall be, by name, such as `formula_units`.
            options: An instance of `sampling_options`, or values by name; they may leave out known ones.
        """
        return []

    def steered(self, request: "SteeringRequest") -> "Backend":
        """Return this model, whose samples and variations are then drawn towards goals; most backends cannot.

        Args:
            request: What to steer by.

        Raises:
            UserError: If the system has no vectors to steer by, or an objective does not suit those of the model.
        """
        able = [name for name in BACKENDS if BACKENDS[name].makes == "representations"]
        raise UserError(
            f"a model of {self.kind} makes no vectors, by which {request.objectives[0].name} could steer it: expected "
            f"one of {' or '.join(able)}; others take `conditions` that they were taught (`repdiff finetune`)"
        )

    @property
    def keeps(self) -> tuple[str, ...]:
        """What variations may keep of their parents exactly, the default first; "nothing" is a choice too.

        "protostructure" is space group, elements and occupied positions, "composition" the atoms of the primitive cell.
        """
        return ()

    def check_variation(
        self,
        parents: Sequence[Crystal],
        *,
        strength: float,
        keep: str | None = None,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> None:
        """Refuse variations that this model cannot make, before anything is made; see `vary` for the arguments.

        What `check` refuses of the parents' compositions is refused, unless a backend says otherwise.

        Raises:
            UserError: If an argument does not fit, or a parent is nothing that the model knows.
        """
        if not self.varies:
            raise UserError(f"the backend {self.kind} makes no variations: {NO_DIFFUSION}")
        check_strength(strength)
        chosen_keep(keep, self.keeps)
        self.check(steps=steps, compositions=[count_elements(one) for one in parents], options=options)

    def vary(
        self,
        parents: Sequence[Crystal],
        numbers: Sequence[int],
        *,
        strength: float,
        keep: str | None = None,
        seed: int = 0,
        steps: int | None = None,
        options: BaseModel | Mapping[str, Any] | None = None,
    ) -> Samples:
        """Noise crystals to a level and denoise them from there; see `repdiff.diffusion.noise_level`.

        A variation depends on its parent, its number and the seed alone, up to the rounding of matrix products. At
        strength 1 it is what `sample` makes under the condition that is kept. What `check_variation` refuses must not
        be asked for.

        Args:
            parents: One for each variation, in the primitive cell that the model was trained on the like of.
            numbers: Number of each variation within the stream of the seed.
            strength: Share of the times of the noise process, above 0 and at most 1.
            keep: One of `keeps`; None for the first.
            seed: Seed of the stream.
            steps: Denoising steps from the noisiest time of all, of which the share is taken; None as for `sample`.
            options: An instance of `sampling_options`, or values by name; None for the defaults.
        """
        raise UserError(f"the backend {self.kind} makes no variations: {NO_DIFFUSION}")


class _Backends(Registry[Backend]):
    def _file(self, name: str, cls: type) -> None:
        super()._file(name, cls)
        declare(name, cls)


BACKENDS: Registry[Backend] = _Backends("backend", group=PLUGINS)
