"""`repdiff train`: an encoded data set → a trained generator, of any backend."""

from pathlib import Path

from descriptors.registry import unknown
from repdiff.backends import BACKENDS, TrainingJob
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import FinetuneSettings, TrainSettings
from repdiff.settings.training import VECTOR_SETTINGS
from repdiff.training import TrainingSettings, train


def run_train(settings: TrainSettings, workspace: Workspace) -> Path:
    """Let a backend prepare its model and data, and train it.

    Returns:
        The run's folder, with `model.safetensors`, `best.safetensors`, `metrics.jsonl` and `checkpoints/`.

    Raises:
        UserError: If there is no encoded set or such device, it has no training crystals, or settings do not fit.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    if settings.backend not in BACKENDS:
        raise UserError(unknown("backend", settings.backend, BACKENDS))
    _refuse_strange(settings)
    choose_device(settings.device)
    path = workspace.find("encode", settings.encoded)
    name = plain_name(f"{path.name}-{_label(settings)}")
    settings = settings.model_copy(update={"encoded": path})
    with workspace.run(settings, name, inputs={"encoded": path}, resume=settings.resume) as run:
        if run.state != "finished":
            encoded = read_training_set(path)
            run.summary["backend"] = settings.backend
            job = BACKENDS[settings.backend].prepare(encoded, settings, run.path)
            fit(job, encoded, settings, run)
    return run.path


def read_training_set(path: Path) -> EncodedSet:
    """Read an encoded set that has something to train on.

    Raises:
        UserError: If it cannot be read, or has nothing.
    """
    encoded = EncodedSet.read(path)
    if not encoded.rows("train"):
        raise UserError(f"{path} has no crystal in split 'train': encode a set that has")
    return encoded


def fit(job: TrainingJob, encoded: EncodedSet, settings: TrainSettings | FinetuneSettings, run: Run) -> None:
    """Train what a backend has prepared in the folder of a run, and tell its summary.

    Raises:
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    result = train(
        job.model,
        job.training,
        job.validation,
        settings.part(TrainingSettings),
        run.path,
        metadata=job.metadata,
        tensors=job.tensors,
        resume=settings.resume,
    )
    run.summary.update(
        n_parameters=sum(parameter.numel() for parameter in job.model.learnt.parameters()),
        steps=result.step,
        epochs=result.epoch,
        train_loss=result.train_loss,
        validation_loss=result.validation_loss,
        training_seconds=result.seconds,
        note=encoded.layout.note,
    )
    if result.stopped_by == "signal":
        raise KeyboardInterrupt


def _refuse_strange(settings: TrainSettings) -> None:
    """Refuse settings that the backend would not look at."""
    changed = [
        name
        for name in VECTOR_SETTINGS
        if getattr(settings, name) != type(settings).model_fields[name].default
    ]
    if settings.backend != "structrepdiff" and changed:
        raise UserError(
            f"{changed[0]} is {getattr(settings, changed[0])!r}, a setting of structrepdiff, expected none with "
            f"{settings.backend}: see --backend-options"
        )


def _label(settings: TrainSettings) -> str:
    """Name what was trained: the network of StructRepDiff, which has several, or the backend."""
    return settings.denoiser if settings.backend == "structrepdiff" else settings.backend
