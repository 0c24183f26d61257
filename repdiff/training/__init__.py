"""The training loop: settings in, metrics and checkpoints out."""

from repdiff.settings.training import TrainingSettings
from repdiff.training.loop import TrainingResult, train
from repdiff.training.trainable import Trainable, TrainingData

__all__ = ["Trainable", "TrainingData", "TrainingResult", "TrainingSettings", "train"]
