"""StructRepDiff: diffusion of representation vectors, which are inverted into crystals afterwards.

Source: arXiv 2408.07213; by default a separate model samples the formula first, and the diffusion is conditioned on it.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.representation import Representation
from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.base import (
    BACKENDS,
    Backend,
    RepresentationBatch,
    Samples,
    TrainingJob,
    check_compositions,
    check_steps,
    refuse_conditions,
    refuse_protostructures,
)
from repdiff.backends.options import explain, parse_options
from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.backends.structrepdiff_training import VectorData, VectorTraining
from repdiff.crystals.formula import Composition
from repdiff.diffusion.build import KIND, ModelSettings, build_diffusion
from repdiff.diffusion.ddpm import DiffusionSettings, VectorDiffusion
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.networks.base import DENOISERS, DenoiserSettings, parse_denoiser
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling, StructRepDiffTraining
from repdiff.training.composition import fit_compositions

COMPOSITIONS, COMPOSITIONS_KIND = "compositions.safetensors", "compositions"
EXACT_BLOCKS = ("composition", "n_atoms")  # discrete: no tails in their normalisation
log = logging.getLogger(__name__)


@BACKENDS.register("structrepdiff")
class StructRepDiff(Backend):
    """Diffusion in representation space."""

    description = "diffusion of invariant representations (EAD, composition, cell), inverted by a search"
    makes = "representations"
    conditions = frozenset({"composition"})
    kind = KIND
    training_options, sampling_options = StructRepDiffTraining, StructRepDiffSampling

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    @classmethod
    def prepare(
        cls,
        encoded: EncodedSet,
        *,
        options: BaseModel | Mapping[str, Any] | None = None,
        seed: int = 0,
        folder: Path,
    ) -> TrainingJob:
        """Fit the composition model, unless compositions are learnt jointly, and build the diffusion."""
        chosen = parse_options(StructRepDiffTraining, options)
        vectors = {split: encoded.representations[encoded.rows(split)] for split in ("train", "val")}
        representation = encoded.layout.representation()
        exact = torch.zeros(representation.n_features, dtype=torch.bool)
        for block in EXACT_BLOCKS:
            exact[representation.blocks[block]] = True
        normalizer = Normalizer.fit(vectors["train"], exact=exact)
        diffusion = _build(representation, chosen, seed=seed)
        compositions = None
        if chosen.compositions == "first":
            counts = {split: _counts(part, representation.blocks) for split, part in vectors.items()}
            compositions = _fit_compositions(counts, encoded.layout.elements, folder, seed=seed)
        tensors, metadata = GenerativeModel.stored(compositions, normalizer, encoded.layout)
        n_features = diffusion.n_features
        return TrainingJob(
            model=VectorTraining(diffusion),
            training=VectorData("training", normalizer.normalize(vectors["train"]), n_features=n_features),
            validation=VectorData("validation", normalizer.normalize(vectors["val"]), n_features=n_features),
            metadata=metadata,
            tensors=tensors,
        )

    @classmethod
    def load(cls, path: Path, *, device: torch.device) -> "StructRepDiff":
        """Read the diffusion, the composition model and the layout."""
        return cls(GenerativeModel.load(path, device=device))

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
        """Refuse options, unseen elements, and formulas for a model that draws its own."""
        parse_options(StructRepDiffSampling, options)
        check_steps(steps, self.model.diffusion.settings.timesteps)
        refuse_conditions("structrepdiff", conditions, guidance)
        refuse_protostructures("structrepdiff", protostructures)
        if compositions is None:
            return
        if self.model.compositions is None:
            raise UserError(
                "this model was trained with compositions='joint', so that formulas cannot be given: "
                "train one with compositions='first'"
            )
        check_compositions(compositions, self.model.layout.elements, self.model.compositions.n_max)

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
        """Draw formulas, unless they are given, and then the rest of the vectors."""
        sampling = parse_options(StructRepDiffSampling, options)
        vectors = self.model.sample(
            n,
            seed=seed,
            first=first,
            sampler=SamplerSettings(name=sampling.sampler, n_steps=steps, eta=sampling.eta),
            temperature=sampling.composition_temperature,
            counts=None if compositions is None else self._columns(compositions),
        )
        return Samples(made=RepresentationBatch(vectors=vectors, layout=self.model.layout))

    def _columns(self, compositions: Sequence[Composition]) -> Tensor:
        """Put compositions into the columns of the model's elements."""
        column = {number: place for place, number in enumerate(self.model.layout.elements)}
        counts = torch.zeros(len(compositions), len(column), dtype=torch.long)
        for row, composition in enumerate(compositions):
            for number, count in composition.items():
                counts[row, column[number]] = count
        return counts


def _build(representation: Representation, options: StructRepDiffTraining, *, seed: int) -> VectorDiffusion:
    """Build the network and its diffusion; all that options can get wrong is found here."""
    given = GIVEN if options.compositions == "first" else ()
    model = ModelSettings(
        n_features=representation.n_features,
        blocks={name: (part.start, part.stop) for name, part in representation.blocks.items()},
        diffusion=options.part(DiffusionSettings).model_copy(update={"given": given}),
        denoiser=_denoiser_settings(options),
    )
    return build_diffusion(model, seed=seed)


def _denoiser_settings(options: StructRepDiffTraining) -> DenoiserSettings:
    try:
        chosen = parse_denoiser({"name": options.denoiser, **options.denoiser_options})
    except ValidationError as error:
        raise UserError(explain(error, DENOISERS[options.denoiser].Settings, "denoiser option")) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    assert isinstance(chosen, DenoiserSettings)
    return chosen


def _counts(vectors: Tensor, blocks: dict[str, slice]) -> Tensor:
    """Read integer formulas off exact vectors."""
    return (vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]).round().long()


def _fit_compositions(
    counts: dict[str, Tensor], elements: tuple[int, ...], folder: Path, *, seed: int
) -> CompositionModel:
    """Fit the composition model, or read the one that an interrupted run has fitted."""
    file = folder / COMPOSITIONS
    if file.is_file():
        tensors, metadata = load_checkpoint(file, kind=COMPOSITIONS_KIND)
        return CompositionModel.from_tensors_and_metadata(tensors, metadata["compositions"])
    log.info("fits the composition model to %d formulas", len(counts["train"]))
    model = fit_compositions(counts["train"], counts["val"], elements, CompositionModelSettings(), seed=seed)
    tensors, metadata = model.tensors_and_metadata()
    save_checkpoint(file, tensors, {"compositions": metadata}, kind=COMPOSITIONS_KIND)
    return model
