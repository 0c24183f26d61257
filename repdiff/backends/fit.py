"""Train what a backend has prepared."""

from pathlib import Path
from typing import Any

from repdiff.backends.base import FirstStage, TrainingJob
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint, tensors_under
from repdiff.runs.workspace import Run
from repdiff.training import Trainable, TrainingResult, TrainingSettings, train


def read_training_set(path: Path) -> EncodedSet:
    """Read an encoded set that has something to train on.

    Raises:
        UserError: If it cannot be read, or has nothing.
    """
    encoded = EncodedSet.read(path)
    if not encoded.rows("train"):
        raise UserError(f"{path} has no crystal in split 'train': encode a set that has")
    return encoded


def fit(
    job: TrainingJob, encoded: EncodedSet, settings: TrainingSettings, run: Run, *, resume: bool = True
) -> None:
    """Train what a backend has prepared in the folder of a run, and tell its summary.

    Args:
        job: What the backend has prepared.
        encoded: The data set.
        settings: How long and how to train.
        run: Its folder is written to, its summary filled.
        resume: Whether to continue from the last checkpoint there.

    Raises:
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    run.summary["note"] = encoded.layout.note
    result = train_job(job, settings, run.path, summary=run.summary, resume=resume)
    if result.stopped_by == "signal":
        raise KeyboardInterrupt


def train_job(
    job: TrainingJob,
    settings: TrainingSettings,
    folder: Path,
    *,
    summary: dict[str, Any] | None = None,
    resume: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Train what a backend has prepared, a smaller model first where there is one.

    Args:
        job: What the backend has prepared.
        settings: How long and how to train, all models together.
        folder: Where weights, metrics and checkpoints go.
        summary: What is to be told of it is added here.
        resume: Whether to continue from the last checkpoint there.
        progress: Whether to show bars.

    Returns:
        What became of the main model, or of the smaller one where a signal stopped that.
    """
    told = {} if summary is None else summary
    tensors, metadata = dict(job.tensors), dict(job.metadata)
    if job.first is not None:
        result = _train_first(job.first, settings, folder, resume=resume, progress=progress)
        told[job.first.name] = _summary(job.first.model, result)
        if result.stopped_by == "signal":
            return result
        stored, _ = load_checkpoint(result.best or result.model, kind=job.first.model.kind)
        weights, _ = tensors_under("network.", stored)
        tensors |= {f"{job.first.name}.{name}": weight for name, weight in weights.items()}
        metadata[job.first.name] = job.first.model.describe()
        settings = _without(settings, min(result.seconds / 60, job.first.share * (settings.max_minutes or 0)))
    result = train(
        job.model,
        job.training,
        job.validation,
        settings,
        folder,
        metadata=metadata,
        tensors=tensors,
        resume=resume,
        progress=progress,
    )
    told.update(_summary(job.model, result))
    return result


def _train_first(
    first: FirstStage, settings: TrainingSettings, folder: Path, *, resume: bool, progress: bool
) -> TrainingResult:
    """Train the smaller model in a folder of its own."""
    most = min(settings.max_epochs or first.max_epochs, first.max_epochs)
    changes: dict[str, Any] = {"max_epochs": most, **first.settings}
    if settings.max_minutes is not None:
        changes["max_minutes"] = first.share * settings.max_minutes
    return train(
        first.model,
        first.training,
        first.validation,
        settings.model_copy(update=changes),
        folder / first.name,
        metadata={},
        tensors={},
        resume=resume,
        progress=progress,
    )


def _summary(model: Trainable, result: TrainingResult) -> dict[str, Any]:
    return {
        "n_parameters": sum(parameter.numel() for parameter in model.learnt.parameters()),
        "steps": result.step,
        "epochs": result.epoch,
        "train_loss": result.train_loss,
        "validation_loss": result.validation_loss,
        "training_seconds": result.seconds,
    }


def _without(settings: TrainingSettings, minutes: float) -> TrainingSettings:
    """Return the settings without the minutes that are spent."""
    if settings.max_minutes is None:
        return settings
    return settings.model_copy(update={"max_minutes": settings.max_minutes - minutes})
