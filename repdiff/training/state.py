"""What a run must remember to go on, and the files that hold it."""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from jaxtyping import Float
from torch import Tensor

from repdiff.errors import DamagedError, UserError
from repdiff.runs.checkpoint import (
    load_checkpoint,
    numbered,
    optimizer_tensors,
    publish_folder,
    restore_optimizer,
    save_checkpoint,
    tensors_under,
)
from repdiff.runs.leftovers import partial_path
from repdiff.runs.model_files import MODEL_FILE
from repdiff.settings.training import TrainingSettings
from repdiff.training.trainable import Trainable

TRAINING_KIND = "training-state"
TRAINING_FILE = "training.safetensors"
KEPT_CHECKPOINTS = 2
log = logging.getLogger(__name__)


@dataclass
class Progress:
    """How far a run has come; the loop changes it in place.

    Attributes:
        sums: Sums since the last report: the loss, then the errors.
        n_summed: Steps in those sums.
    """

    step: int
    seconds: float
    rate: float
    best_loss: float | None
    train_loss: float | None
    validation_loss: float | None
    n_summed: int
    sums: Float[Tensor, " n_sums"]
    gradient_norm: Tensor

    @classmethod
    def at_start(cls, n_errors: int, device: torch.device) -> "Progress":
        """Return the progress of a run that has not begun."""
        sums = torch.zeros(1 + n_errors, device=device)
        return cls(0, 0.0, 0.0, None, None, None, 0, sums, torch.zeros((), device=device))

    def add(self, loss: Float[Tensor, ""], errors: Float[Tensor, " n_errors"]) -> None:
        """Count one step with its losses; nothing waits for the device."""
        self.sums[0] += loss
        self.sums[1:] += errors
        self.n_summed += 1
        self.step += 1

    def take_means(self, accelerator: Accelerator) -> tuple[Float[Tensor, ""], Float[Tensor, " n_errors"]]:
        """Return the means since the last call, over all processes, and begin anew."""
        self.share_sums(accelerator)
        means = self.sums / max(self.n_summed, 1)
        self.sums.zero_()
        self.n_summed = 0
        return means[0], means[1:]

    def share_sums(self, accelerator: Accelerator) -> None:
        """Replace the sums by their mean over the processes, all of which must call this."""
        shared = accelerator.reduce(self.sums, reduction="mean")
        assert isinstance(shared, Tensor)
        self.sums.copy_(shared)

    def to(self, device: torch.device) -> "Progress":
        """Move the sums."""
        return replace(self, sums=self.sums.to(device), gradient_norm=self.gradient_norm.to(device))

    def numbers(self) -> dict[str, Any]:
        """Return all but the tensors, as JSON values."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "rate": self.rate,
            "best_loss": self.best_loss,
            "train_loss": self.train_loss,
            "validation_loss": self.validation_loss,
            "n_summed": self.n_summed,
        }


class RunFiles:
    """The folder of a run.

    Args:
        folder: Made when the run starts.
        metadata: Plain JSON that goes into every file with weights.
        tensors: Tensors that go into every file with weights.
    """

    def __init__(self, folder: Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        self.folder, self.metadata, self.tensors = folder, dict(metadata), dict(tensors)
        self.model = folder / MODEL_FILE
        self.best = folder / "best.safetensors"
        self.checkpoints = folder / "checkpoints"

    def save(
        self,
        model: Trainable,
        averaged: Trainable,
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
        state: Progress,
    ) -> None:
        """Write the newest averaged weights, and a checkpoint that appears complete or not at all.

        The weights come first: who resumes from a checkpoint does not write its weights again.
        """
        final = self.checkpoints / f"step-{state.step:010d}"
        temporary = partial_path(final)
        self._save_weights(self.model, averaged, state)
        try:
            self._save_weights(temporary / MODEL_FILE, averaged, state)
            moments, groups = optimizer_tensors(optimizer)
            tensors = {f"network.{name}": value for name, value in model.learnt.state_dict().items()}
            tensors |= {f"optimizer.{name}": value for name, value in moments.items()}
            tensors |= {"progress.sums": state.sums, "progress.gradient_norm": state.gradient_norm}
            header = {
                "progress": state.numbers(),
                "optimizer": groups,
                "settings": settings.decisive(),
                "model": model.describe(),
            }
            save_checkpoint(temporary / TRAINING_FILE, tensors, header, kind=TRAINING_KIND)
            publish_folder(temporary, final, keep=KEPT_CHECKPOINTS)
        except UserError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise

    def mend(self, averaged: Trainable, state: Progress) -> None:
        """Write the newest averaged weights again if they are not whole, without another checkpoint."""
        try:
            load_checkpoint(self.model, kind=averaged.kind)
        except UserError as error:
            log.warning("%s; writing it again", getattr(error, "damage", error))
            self._save_weights(self.model, averaged, state)

    def save_best(self, averaged: Trainable, state: Progress) -> None:
        """Replace the weights of the lowest validation loss."""
        self._save_weights(self.best, averaged, state)

    def save_fitted(self, model: Trainable) -> None:
        """Write a model that needs no training."""
        self._save_weights(self.model, model, Progress.at_start(0, torch.device("cpu")))

    def restore(
        self,
        model: Trainable,
        averaged: Trainable,
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
        *,
        resume: bool,
    ) -> Progress | None:
        """Load the newest checkpoint that is whole into the models and the optimiser; none if there is none.

        Raises:
            UserError: If there is one and `resume` is off, it belongs to other settings or another model, or none
                is whole.
        """
        found = numbered(self.checkpoints)
        if not found:
            return None
        if not resume:
            raise UserError(
                f"{self.folder} already holds a run at {found[-1].name}: resume it, or choose another folder"
            )
        damage = ""
        for checkpoint in reversed(found):
            try:
                state = self._load(checkpoint, model, averaged, optimizer, settings)
            except DamagedError as error:
                damage = damage or error.damage
                continue
            if damage:
                log.warning("%s; going on from %s", damage, checkpoint.name)
            return state
        raise DamagedError(
            f"{damage}, and no other checkpoint is whole", "train anew with `overwrite`, or in another folder"
        )

    def _load(
        self,
        checkpoint: Path,
        model: Trainable,
        averaged: Trainable,
        optimizer: torch.optim.Optimizer,
        settings: TrainingSettings,
    ) -> Progress:
        """Load one checkpoint.

        Raises:
            UserError: If it belongs to other settings or another model or, as DamagedError, is not whole.
        """
        file = checkpoint / TRAINING_FILE
        if not file.is_file() or not (checkpoint / MODEL_FILE).is_file():
            raise DamagedError(f"{checkpoint} is not whole, expected {TRAINING_FILE} and {MODEL_FILE} in it")
        tensors, header = load_checkpoint(file, kind=TRAINING_KIND)
        averages, _ = tensors_under("network.", load_checkpoint(checkpoint, kind=model.kind)[0])
        weights, others = tensors_under("network.", tensors)
        moments, others = tensors_under("optimizer.", others)
        if not isinstance(header.get("model"), dict) or not isinstance(header.get("settings"), dict):
            raise DamagedError(f"{file}: its metadata is damaged, expected a model and settings")
        _compare(checkpoint, "model", header["model"], model.describe())
        _compare(checkpoint, "training setting", header["settings"], settings.decisive())
        try:
            model.learnt.load_state_dict(weights)
            averaged.learnt.load_state_dict(averages)
            restore_optimizer(optimizer, moments, header["optimizer"])
            return Progress(
                **header["progress"],
                sums=others["progress.sums"],
                gradient_norm=others["progress.gradient_norm"],
            )
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            why = " ".join(str(error).split())[:200]
            raise DamagedError(f"{checkpoint}: damaged ({why})") from error

    def _save_weights(self, path: Path, averaged: Trainable, state: Progress) -> None:
        tensors = {f"network.{name}": value for name, value in averaged.learnt.state_dict().items()}
        header = {
            **self.metadata,
            "model": averaged.describe(),
            "step": state.step,
            "validation_loss": state.validation_loss,
        }
        save_checkpoint(path, {**self.tensors, **tensors}, header, kind=averaged.kind)


def _compare(checkpoint: Path, what: str, then: dict[str, Any], now: dict[str, Any]) -> None:
    for name in sorted({*then, *now}):
        if then.get(name) != now.get(name):
            raise UserError(
                f"{checkpoint}: {what} {name} was {then.get(name)!r} and is {now.get(name)!r} now: "
                "resume with the former value, or train in another folder"
            )
