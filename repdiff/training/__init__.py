"""The training loop: settings in, metrics and checkpoints out."""

from repdiff.training.loop import TrainingResult, train
from repdiff.training.settings import TrainingSettings

__all__ = ["TrainingResult", "TrainingSettings", "train"]
