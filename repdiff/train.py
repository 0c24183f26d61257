"""`repdiff train`: an encoded data set → a trained generator."""

import logging
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from descriptors.normalization import Normalizer
from descriptors.representation import Representation
from repdiff.checkpoint import load_checkpoint, save_checkpoint
from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.diffusion.ddpm import DiffusionSettings, VectorDiffusion
from repdiff.diffusion.training import VectorData, VectorTraining
from repdiff.encoded import EncodedSet
from repdiff.errors import UserError
from repdiff.model import GIVEN, GenerativeModel
from repdiff.networks.base import DenoiserSettings, parse_denoiser
from repdiff.networks.composition import CompositionModel, CompositionModelSettings
from repdiff.settings import TrainSettings
from repdiff.training import TrainingResult, TrainingSettings, train
from repdiff.training.composition import fit_compositions
from repdiff.workspace import Workspace, plain_name

COMPOSITIONS, COMPOSITIONS_KIND = "compositions.safetensors", "compositions"
EXACT_BLOCKS = ("composition", "n_atoms")  # discrete: no tails in their normalisation
log = logging.getLogger(__name__)


def run_train(settings: TrainSettings, workspace: Workspace) -> Path:
    """Fit the composition model, unless compositions are learned jointly, and then the diffusion.

    Returns:
        The run's folder, with `model.safetensors`, `best.safetensors`, `metrics.jsonl` and `checkpoints/`.

    Raises:
        UserError: If there is no encoded set, it has no training crystals, or settings do not fit.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    path = workspace.find("encode", settings.encoded)
    name = plain_name(f"{path.name}-{settings.denoiser}")
    settings = settings.model_copy(update={"encoded": path})
    with workspace.run(settings, name, inputs={"encoded": path}, resume=settings.resume) as run:
        if run.state != "finished":
            encoded = EncodedSet.read(path)
            result = _train(encoded, settings, run.path)
            run.summary.update(
                steps=result.step,
                epochs=result.epoch,
                train_loss=result.train_loss,
                validation_loss=result.validation_loss,
                training_seconds=result.seconds,
                note=encoded.layout.note,
            )
            if result.stopped_by == "signal":
                raise KeyboardInterrupt
    return run.path


def _train(encoded: EncodedSet, settings: TrainSettings, folder: Path) -> TrainingResult:
    vectors = {split: encoded.representations[encoded.rows(split)] for split in ("train", "val")}
    if len(vectors["train"]) == 0:
        raise UserError(f"{settings.encoded} has no crystal in split 'train': encode a set that has")
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
    names = {"train": "training", "val": "validation"}
    data = {
        split: VectorData(name, normalizer.normalize(vectors[split]), n_features=diffusion.n_features)
        for split, name in names.items()
    }
    return train(
        VectorTraining(diffusion),
        data["train"],
        data["val"],
        settings.part(TrainingSettings),
        folder,
        metadata=metadata,
        tensors=tensors,
        resume=settings.resume,
    )


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
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or settings.denoiser
        raise UserError(f"denoiser option {where}: {first['msg']}, got {first['input']!r}") from error
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
