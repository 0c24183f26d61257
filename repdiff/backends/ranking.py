"""A model that ranks protostructures before anything is built: what it learns from, and its file."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from descriptors.symmetry.encoding import encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.symbols import SYMBOLS
from repdiff.backends.base import TrainingJob
from repdiff.backends.fit import train_job
from repdiff.backends.properties import as_numbers, known_labels, labels_of
from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError, unknown
from repdiff.networks.protostructure.ranking import Prediction, ProtostructureRanker, RankerSettings
from repdiff.runs.checkpoint import load_checkpoint, tensors_under
from repdiff.settings.ranking import RankSettings
from repdiff.settings.training import TrainingSettings
from repdiff.training import TrainingResult
from repdiff.training.ranking import KIND, RankingData, RankingTraining

BEST = "best.safetensors"
QUARTILES_OF_NORMAL = 1.349  # distance of the quartiles of a normal distribution, in standard deviations
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ranker:
    """A trained ensemble.

    Attributes:
        path: Its file.
        network: The ensemble.
        n_training: Protostructures that it learnt from.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = rd.CrystalSet.of([bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")])
        >>> labelled = [one.replace(labels={"gap": float(at)}, split="train") for at, one in enumerate(salts)]
        >>> ranker = rd.train_ranker(
        ...     rd.CrystalSet(crystals=labelled), by="gap", max_steps=1, device="cpu", progress=False
        ... )
        >>> prediction = ranker.predict([rd.encode(labelled, progress=False).symmetry.protostructures[0]])
        >>> prediction.mean.shape, prediction.spread.shape
        ((1,), (1,))
    """

    path: Path
    network: ProtostructureRanker
    n_training: int

    @property
    def label(self) -> str:
        """Name of the label that it predicts."""
        return self.network.settings.label

    @property
    def elements(self) -> frozenset[int]:
        """Atomic numbers that it knows."""
        return frozenset(self.network.settings.elements)

    def predict(self, protostructures: Sequence[Protostructure]) -> Prediction:
        """Predict the label; NaN for protostructures with an element that it does not know."""
        known = [row for row, one in enumerate(protostructures) if set(one.elements) <= self.elements]
        found = self.network.predict([protostructures[row] for row in known])
        mean, spread = np.full((2, len(protostructures)), np.nan)
        mean[known], spread[known] = found.mean, found.spread
        return Prediction(mean=mean, spread=spread)

    def describe_strange(self, elements: Sequence[int]) -> str:
        """Name the elements that it does not know; "" if it knows all."""
        return ", ".join(SYMBOLS[number - 1] for number in sorted(set(elements) - self.elements))

    @classmethod
    def load(cls, path: Path, *, device: torch.device | str = "cpu") -> "Ranker":
        """Read what `repdiff rank` wrote: a run's folder or a file.

        Raises:
            UserError: If it is missing, damaged, or no such model.
        """
        file = path / BEST if (path / BEST).is_file() else path
        tensors, metadata = load_checkpoint(file, kind=KIND)
        weights, _ = tensors_under("network.", tensors)
        try:
            network = ProtostructureRanker.from_tensors_and_metadata(weights, metadata["model"])
            n_training = int(metadata["n_training"])
        except (KeyError, TypeError, UserError) as error:
            raise UserError(f"{file}: {error}") from error
        return cls(path=path, network=network.to(device), n_training=n_training)


def check_label(label: str, crystals: Sequence[Crystal]) -> None:
    """Refuse a label that no crystal has as a number, before minutes of reading protostructures.

    Raises:
        UserError: If none has; the message names the numeric labels.
    """
    numeric = {name for crystal in crystals for name, value in crystal.labels.items() if _is_number(value)}
    if label not in numeric:
        raise UserError(
            f"`by` is no numeric label of these crystals: {unknown('label', label, sorted(numeric))}"
        )


def prepare_ranking(
    label: str,
    crystals: Sequence[Crystal],
    protostructures: Sequence[Protostructure | None],
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TrainingJob:
    """Prepare the training of an ensemble on the splits "train" and "val" of labelled crystals.

    Crystals without the label, or without a protostructure, are left out, and counted.

    Args:
        label: Name of the label.
        crystals: Labelled crystals, each in a split.
        protostructures: One for each; None where none could be read.
        options: Width, number of members and dropout that differ from the defaults of `RankerSettings`.
        seed: Seed of the initial weights.

    Raises:
        UserError: If no crystal has such a label, one is no number, or all training labels are the same.
    """
    check_label(label, crystals)
    labels = labels_of(label, crystals)
    rows = _usable(label, crystals, labels, protostructures)
    values = {split: as_numbers(label, [labels[row] for row in some]) for split, some in rows.items()}
    known_labels(label, [labels[row] for row in rows["train"]])
    present = {split: [one for row in rows[split] if (one := protostructures[row])] for split in rows}
    elements = sorted({number for one in present["train"] for number in one.elements})
    inside = [row for row, one in enumerate(present["val"]) if set(one.elements) <= set(elements)]
    present["val"], values["val"] = [present["val"][row] for row in inside], values["val"][inside]
    settings = RankerSettings(
        label=label, elements=tuple(elements), **_scale(values["train"]), **(options or {})
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = ProtostructureRanker(settings)
    training, validation = (
        _data(present[split], settings.compressed(torch.from_numpy(values[split])))
        for split in ("train", "val")
    )
    return TrainingJob(
        model=RankingTraining(network),
        training=training,
        validation=validation,
        metadata={"n_training": len(training)},
        tensors={},
    )


def fit_ranking(
    crystals: Sequence[Crystal],
    protostructures: Sequence[Protostructure | None],
    settings: RankSettings,
    folder: Path,
    *,
    summary: dict[str, Any],
    resume: bool,
    progress: bool = True,
) -> TrainingResult:
    """Train an ensemble in a folder, and tell its summary; see `prepare_ranking`.

    Args:
        crystals: Labelled crystals, each in a split.
        protostructures: One for each; None where none could be read.
        settings: What to predict, and how to train.
        folder: Where weights, metrics and checkpoints go.
        summary: What is to be told of it is added here.
        resume: Whether to continue from the last checkpoint there.
        progress: Whether to show bars.
    """
    options = {name: getattr(settings, name) for name in ("width", "n_members", "dropout")}
    job = prepare_ranking(settings.by, crystals, protostructures, options=options, seed=settings.seed)
    summary.update(label=settings.by, n_training=len(job.training), n_validation=len(job.validation))
    chosen = settings.part(TrainingSettings)
    return train_job(job, chosen, folder, summary=summary, resume=resume, progress=progress)


def _usable(
    label: str,
    crystals: Sequence[Crystal],
    labels: Sequence[object],
    protostructures: Sequence[Protostructure | None],
) -> dict[str, list[int]]:
    """Return the rows of training and validation that have both, and say on the log how many lack one."""
    rows = {}
    for split in ("train", "val"):
        inside = [row for row, crystal in enumerate(crystals) if crystal.split == split]
        rows[split] = [row for row in inside if labels[row] is not None and protostructures[row] is not None]
        if n_lost := len(inside) - len(rows[split]):
            n_bare = sum(labels[row] is None for row in inside)
            log.warning(
                "%d of %d crystals of split %s left out: %d have no label %s, %d no protostructure",
                n_lost, len(inside), split, n_bare, label, n_lost - n_bare,
            )  # fmt: skip
    if not rows["train"]:
        raise UserError(
            f"no training crystal has both a protostructure and a label {label}, expected two or more: name another "
            "label, or another data set"
        )
    return rows


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _scale(values: Float[np.ndarray, " n"]) -> dict[str, float]:
    """Return the median and the spread of labels, by quartiles, which outliers do not move."""
    low, middle, high = np.quantile(values, (0.25, 0.5, 0.75)).tolist()
    spread = (high - low) / QUARTILES_OF_NORMAL or float(values.std())
    return {"center": middle, "scale": spread}


def _data(protostructures: Sequence[Protostructure], targets: Float[torch.Tensor, " n"]) -> RankingData:
    longest = max((len(one.orbits) for one in protostructures), default=1)
    encoded = encode_protostructures(protostructures, max_orbits=longest)
    return RankingData(torch.from_numpy(encoded), targets)
