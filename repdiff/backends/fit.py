"""Train what a backend has prepared."""

from pathlib import Path

from repdiff.backends.base import TrainingJob
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.workspace import Run
from repdiff.training import TrainingSettings, train


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
    result = train(
        job.model,
        job.training,
        job.validation,
        settings,
        run.path,
        metadata=job.metadata,
        tensors=job.tensors,
        resume=resume,
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
