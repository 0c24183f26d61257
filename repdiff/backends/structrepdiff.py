"""StructRepDiff: diffusion of representation vectors, which are inverted into crystals afterwards.

Source: arXiv 2408.07213; formulas are drawn first by a model of their own unless told otherwise.
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.representation import Representation
from repdiff.backends.base import BACKENDS, Backend, RepresentationBatch, TrainingJob, check_compositions
from repdiff.backends.options import NoOptions, explain, parse_options
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
from repdiff.settings import GenerateSettings, TrainSettings
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
    training_options = sampling_options = NoOptions

    def __init__(self, model: GenerativeModel) -> None:
        self.model = model

    @classmethod
    def prepare(cls, encoded: EncodedSet, settings: TrainSettings, folder: Path) -> TrainingJob:
        """Fit the composition model, unless compositions are learnt jointly, and build the diffusion."""
        parse_options(cls.training_options, settings.backend_options)
        vectors = {split: encoded.representations[encoded.rows(split)] for split in ("train", "val")}
        representation = encoded.layout.representation()
        exact = torch.zeros(representation.n_features, dtype=torch.bool)
        for block in EXACT_BLOCKS:
            exact[representation.blocks[block]] = True
        normalizer = Normalizer.fit(vectors["train"], exact=exact)
        diffusion = _build(representation, settings)
        compositions = None
        if settings.compositions == "first":
            counts = {split: _counts(part, representation.blocks) for split, part in vectors.items()}
            compositions = _fit_compositions(counts, encoded.layout.elements, settings, folder)
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

    def check(self, settings: GenerateSettings, compositions: Sequence[Composition] | None) -> None:
        """Refuse options, unseen elements, and formulas for a model that draws its own."""
        parse_options(self.sampling_options, settings.backend_options)
        if compositions is None:
            return
        if self.model.compositions is None:
            raise UserError(
                "this model was trained with --compositions joint, so that formulas cannot be given: "
                "train one with --compositions first"
            )
        check_compositions(compositions, self.model.layout.elements, self.model.compositions.n_max)

    def sample(
        self,
        n: int,
        settings: GenerateSettings,
        *,
        first: int = 0,
        compositions: Sequence[Composition] | None = None,
    ) -> RepresentationBatch:
        """Draw formulas, unless they are given, and then the rest of the vectors."""
        vectors = self.model.sample(
            n,
            seed=settings.seed,
            first=first,
            sampler=SamplerSettings(name=settings.sampler, n_steps=settings.steps, eta=settings.eta),
            temperature=settings.composition_temperature,
            counts=None if compositions is None else self._columns(compositions),
        )
        return RepresentationBatch(vectors=vectors, layout=self.model.layout)

    def _columns(self, compositions: Sequence[Composition]) -> Tensor:
        """Put compositions into the columns of the model's elements."""
        column = {number: place for place, number in enumerate(self.model.layout.elements)}
        counts = torch.zeros(len(compositions), len(column), dtype=torch.long)
        for row, composition in enumerate(compositions):
            for number, count in composition.items():
                counts[row, column[number]] = count
        return counts


def _build(representation: Representation, settings: TrainSettings) -> VectorDiffusion:
    """Build the network and its diffusion; all that settings can get wrong is found here."""
    diffusion = settings.part(DiffusionSettings)
    if settings.compositions == "first":
        diffusion = diffusion.model_copy(update={"given": GIVEN})
    model = ModelSettings(
        n_features=representation.n_features,
        blocks={name: (part.start, part.stop) for name, part in representation.blocks.items()},
        diffusion=diffusion,
        denoiser=_denoiser_settings(settings),
    )
    return build_diffusion(model, seed=settings.seed)


def _denoiser_settings(settings: TrainSettings) -> DenoiserSettings:
    try:
        chosen = parse_denoiser({"name": settings.denoiser, **settings.denoiser_options})
    except ValidationError as error:
        raise UserError(explain(error, DENOISERS[settings.denoiser].Settings, "denoiser option")) from error
    except ValueError as error:
        raise UserError(str(error)) from error
    assert isinstance(chosen, DenoiserSettings)
    return chosen


def _counts(vectors: Tensor, blocks: dict[str, slice]) -> Tensor:
    """Read integer formulas off exact vectors."""
    return (vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]).round().long()


def _fit_compositions(
    counts: dict[str, Tensor], elements: tuple[int, ...], settings: TrainSettings, folder: Path
) -> CompositionModel:
    """Fit the composition model, or read the one that an interrupted run has fitted."""
    file = folder / COMPOSITIONS
    if file.is_file():
        tensors, metadata = load_checkpoint(file, kind=COMPOSITIONS_KIND)
        return CompositionModel.from_tensors_and_metadata(tensors, metadata["compositions"])
    log.info("fits the composition model to %d formulas", len(counts["train"]))
    model = fit_compositions(
        counts["train"], counts["val"], elements, CompositionModelSettings(), seed=settings.seed
    )
    tensors, metadata = model.tensors_and_metadata()
    save_checkpoint(file, tensors, {"compositions": metadata}, kind=COMPOSITIONS_KIND)
    return model
