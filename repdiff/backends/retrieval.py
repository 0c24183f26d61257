"""Retrieval: training crystals with other elements. A baseline that generates nothing, beside those that do.

A sample is a training crystal taken at random, the template. Each of its elements is replaced by another, drawn by how
often the two stand in the same place of the same prototype in the training set; different elements stay different. The
first of a few draws whose formula balances its charges is taken. The cell is scaled by the sum of atomic volumes, which
are fitted on the training set. Positions and symmetry are the template's; so every sample is labelled as one from a
template, with its name.
"""

import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor, nn

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.base import BACKENDS, Backend, Samples, TrainingJob
from repdiff.backends.crystal_data import CrystalData
from repdiff.backends.options import loading, parse_options
from repdiff.backends.refusals import refuse_conditions, refuse_protostructures
from repdiff.backends.substitutions import count_places, substitution_probabilities
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import Composition, count_elements
from repdiff.crystals.volumes import atomic_volumes
from repdiff.errors import UserError
from repdiff.execution.jobs import workers_to_use
from repdiff.hardware import n_cores
from repdiff.metrics.charge_balance import check_composition
from repdiff.networks.random_streams import FORMULA, stream
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import check_shapes, load_checkpoint
from repdiff.settings.backends.retrieval import OPTIONS, RetrievalSampling, RetrievalSettings
from repdiff.symmetry import read_protostructures
from repdiff.training import Trainable

log = logging.getLogger(__name__)


class CountedModel(Trainable):
    """A model without weights: all that is learnt was counted, and lies in the tensors of the file."""

    kind = "retrieval"
    fitted = True

    def __init__(self, settings: RetrievalSettings) -> None:
        super().__init__()
        self.settings = settings
        self.nothing = nn.Module()

    @property
    def learnt(self) -> nn.Module:
        """A module without parameters."""
        return self.nothing

    @property
    def parts(self) -> Mapping[str, slice]:
        """None."""
        return {}

    @property
    def n_errors(self) -> int:
        """None."""
        return 0

    def inputs(
        self, data: CrystalData, rows: Int[Tensor, " n_rows"], mine: slice, generator: torch.Generator
    ) -> CrystalData:
        """Return the examples; nothing is done with them."""
        return data.select(rows[mine])

    def forward(self, inputs: CrystalData) -> tuple[Float[Tensor, ""], Float[Tensor, " 0"]]:
        """Refuse: there is no loss.

        Raises:
            RuntimeError: Always.
        """
        raise RuntimeError("a counted model has no loss, expected it to be saved as it is")

    def describe(self) -> dict[str, Any]:
        """Return the settings."""
        return self.settings.model_dump(mode="json")


@BACKENDS.register("retrieval")
class Retrieval(Backend):
    """Training crystals with swapped elements and scaled cells.

    Args:
        templates: Training crystals.
        elements: Atomic numbers of the training set, ascending.
        probabilities: How likely each element (column) replaces another (row).
        volumes: Volume of an atom of each element, Å³.
    """

    description = "baseline: a training crystal with elements swapped for likely others, its volume scaled"
    makes = "crystals"
    conditions = frozenset()
    kind = OPTIONS.kind
    training_options, sampling_options = RetrievalSettings, RetrievalSampling

    def __init__(
        self,
        templates: Sequence[Crystal],
        elements: Sequence[int],
        probabilities: Float[np.ndarray, "n_elements n_elements"],
        volumes: Float[np.ndarray, " n_elements"],
    ) -> None:
        self.templates, self.elements = templates, list(elements)
        self.probabilities, self.volumes = probabilities, volumes

    @cached_property
    def _column(self) -> dict[int, int]:
        return {element: place for place, element in enumerate(self.elements)}

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Count elements by their places in prototypes, and fit atomic volumes; nothing is left to train."""
        chosen = parse_options(RetrievalSettings, options)
        training, validation = CrystalData.of(encoded, "train"), CrystalData.of(encoded, "val")
        crystals = [encoded.crystals[row] for row in encoded.rows("train")]
        elements = sorted(
            {int(number) for crystal in crystals for number in set(crystal.atomic_numbers.tolist())}
        )
        found = _protostructures(encoded, crystals)
        if len(found) < len(crystals):
            log.warning(
                "%d of %d training crystals have no protostructure: their elements are not counted",
                len(crystals) - len(found), len(crystals),
            )  # fmt: skip
        return TrainingJob(
            model=CountedModel(chosen),
            training=training,
            validation=validation,
            metadata={
                "layout": encoded.layout.model_dump(mode="json"),
                "templates": [crystal.id for crystal in crystals],
                "n_without_protostructure": len(crystals) - len(found),
            },
            tensors={
                "templates.n_atoms": torch.tensor([crystal.n_atoms for crystal in crystals]),
                "templates.atomic_numbers": torch.from_numpy(
                    np.concatenate([c.atomic_numbers for c in crystals])
                ),
                "templates.frac_coords": torch.from_numpy(np.concatenate([c.frac_coords for c in crystals])),
                "templates.lattice": torch.from_numpy(np.stack([crystal.lattice for crystal in crystals])),
                "elements": torch.tensor(elements),
                "probabilities": torch.from_numpy(substitution_probabilities(count_places(found), elements)),
                "volumes": torch.from_numpy(_atomic_volumes(crystals, elements, least=chosen.min_volume)),
            },
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "Retrieval":
        """Read templates, probabilities and volumes; they stay on the CPU."""
        tensors, metadata = load_checkpoint(path, kind=cls.kind)
        with loading(path, cls.kind):
            n, n_atoms = len(metadata["templates"]), int(tensors["templates.n_atoms"].sum())
            n_elements = tensors["elements"].numel()
            check_shapes(tensors, {"templates.n_atoms": (n,), "templates.lattice": (n, 3, 3)})
            check_shapes(
                tensors, {"templates.atomic_numbers": (n_atoms,), "templates.frac_coords": (n_atoms, 3)}
            )
            check_shapes(
                tensors,
                {"probabilities": (n_elements, n_elements), "volumes": (n_elements,), "elements": (None,)},
            )
            ends = tensors["templates.n_atoms"].numpy().cumsum()[:-1]
            numbers, coords = (
                np.split(tensors[f"templates.{name}"].numpy(), ends)
                for name in ("atomic_numbers", "frac_coords")
            )
            templates = [
                Crystal(id=name, atomic_numbers=z, lattice=lattice, frac_coords=frac)
                for name, z, lattice, frac in zip(
                    metadata["templates"], numbers, tensors["templates.lattice"].numpy(), coords, strict=True
                )
            ]
            return cls(
                templates,
                tensors["elements"].tolist(),
                tensors["probabilities"].numpy(),
                tensors["volumes"].numpy(),
            )

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
        """Refuse steps, compositions and conditions: there are none."""
        parse_options(RetrievalSampling, options)
        if steps is not None:
            raise UserError(f"`steps` is {steps}, expected none: the backend {self.kind} takes no steps")
        if compositions is not None:
            raise UserError(
                f"compositions given, expected none: the backend {self.kind} takes no compositions"
            )
        refuse_conditions("retrieval", conditions, guidance)
        refuse_protostructures(self.kind, protostructures)

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
        """Take templates at random and swap their elements."""
        sampling = parse_options(RetrievalSampling, options)
        return Samples(made=tuple(self._make(seed, number, sampling) for number in range(first, first + n)))

    def _make(self, seed: int, number: int, sampling: RetrievalSampling) -> Crystal:
        random = stream(seed, number, FORMULA)
        template = self.templates[int(random.integers(len(self.templates)))]
        elements = np.unique(template.atomic_numbers).tolist()
        made = template
        for _ in range(sampling.n_tries):
            swapped = self._swap(elements, random)
            numbers = [swapped[number] for number in template.atomic_numbers.tolist()]
            made = template.replace(atomic_numbers=np.array(numbers, dtype=np.int64))
            if check_composition(count_elements(made)).valid:
                break
        scale = (self._room(made.atomic_numbers) / self._room(template.atomic_numbers)) ** (1 / 3)
        return made.replace(
            id=f"gen-{number:06d}",
            lattice=template.lattice * scale,
            labels={"start": "template", "template": template.id},
        )

    def _swap(self, elements: Sequence[int], random: np.random.Generator) -> dict[int, int]:
        """Draw another element for each, in random order, none twice; one that nothing can replace stays."""
        order = random.permutation(elements).tolist()
        kept = [element for element in order if self._others(element, [element]).sum() == 0]
        swapped = dict(zip(kept, kept, strict=True))
        for element in order:
            if element in swapped:
                continue
            chances = self._others(element, [element, *swapped.values()])
            if chances.sum() == 0:  # others took what could replace it
                return dict(zip(order, order, strict=True))
            swapped[element] = self.elements[int(random.choice(len(chances), p=chances / chances.sum()))]
        return swapped

    def _others(self, element: int, taken: Sequence[int]) -> Float[np.ndarray, " n_elements"]:
        chances = self.probabilities[self._column[element]].copy()
        chances[[self._column[other] for other in taken]] = 0
        return chances

    def _room(self, numbers: Int[np.ndarray, " n_atoms"]) -> float:
        """Sum the atomic volumes, Å³."""
        return float(sum(self.volumes[self._column[number]] for number in numbers.tolist()))


def _protostructures(encoded: EncodedSet, crystals: Sequence[Crystal]) -> list[Protostructure]:
    """Return those that were stored when the training set was encoded, or else read them off its crystals."""
    if encoded.symmetry is not None:
        stored = encoded.symmetry.rows(encoded.rows("train")).protostructures
        return [one for one in stored if one is not None]
    readings = read_protostructures(crystals, n_workers=workers_to_use(None, n_cores()), progress=True)
    return [reading.protostructure for reading in readings if reading.protostructure is not None]


def _atomic_volumes(
    crystals: Sequence[Crystal], elements: Sequence[int], *, least: float
) -> Float[np.ndarray, " n_elements"]:
    counts = [[count_elements(crystal).get(element, 0) for element in elements] for crystal in crystals]
    volumes = np.array([crystal.volume for crystal in crystals])
    return atomic_volumes(np.array(counts, dtype=float), volumes, least=least)
