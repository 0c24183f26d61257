"""A property head: what learns a label from representations, its file, and what it is worth on other crystals."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float

from descriptors.symmetry.symbols import SYMBOLS
from repdiff.backends.base import TrainingJob
from repdiff.backends.fit import train_job
from repdiff.backends.properties import COMPUTED, as_numbers, known_labels, labels_of
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.errors import UserError
from repdiff.networks.property_ensemble import EnsembleSettings, PropertyEnsemble
from repdiff.networks.protostructure.ranking import Prediction
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.blocks import Blocks, blocks_of, sound_rows, whole_blocks
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint, tensors_under
from repdiff.settings.property_head import HeadSettings
from repdiff.settings.training import TrainingSettings
from repdiff.training import TrainingResult
from repdiff.training.property_ensemble import KIND, PropertyData, PropertyTraining

FILE, BEST = "head.safetensors", "best.safetensors"
FEWEST = 20  # held-out crystals by which the stated uncertainty is corrected
WITHIN_ONE = 0.6827  # share of a normal distribution within one standard deviation
ROWS_AT_ONCE = 4096
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Head:
    """A trained ensemble.

    Attributes:
        path: Its file, or the folder that holds it.
        network: The ensemble, on the CPU.
        descriptor: Name of the descriptor that it reads.
        descriptor_settings: Settings of that descriptor.
        n_training: Crystals that it learnt from.
        report: How good it is on held-out crystals, by name of the figure; see `held_out_report`.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = rd.CrystalSet.of([bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")])
        >>> labelled = [one.replace(labels={"gap": float(at)}, split="train") for at, one in enumerate(salts)]
        >>> encoded = rd.encode(rd.CrystalSet(crystals=labelled), device="cpu", progress=False)
        >>> head = rd.fit_head(encoded, property="gap", max_steps=1, device="cpu", progress=False)
        >>> head.label, head.predict(encoded).spread.shape
        ('gap', (3,))
    """

    path: Path
    network: PropertyEnsemble
    descriptor: str
    descriptor_settings: Mapping[str, Any]
    n_training: int
    report: Mapping[str, Any]

    @property
    def label(self) -> str:
        """Name of the label that it predicts."""
        return self.network.settings.label

    @property
    def range(self) -> tuple[float, float]:
        """Least and largest label that it learnt from."""
        return self.network.settings.low, self.network.settings.high

    @property
    def scale(self) -> float:
        """Standard deviation of the labels that it learnt from."""
        return self.network.settings.scale

    @cached_property
    def typical_spread(self) -> float:
        """Spread that it states for the middle one of the crystals that its uncertainty was corrected by."""
        return float(self.network.get_buffer("typical"))

    def strange(self, elements: Sequence[int]) -> str:
        """Name the elements that it does not know; "" if it knows all."""
        unknown = sorted(set(elements) - set(self.network.settings.elements))
        return ", ".join(SYMBOLS[number - 1] for number in unknown)

    def check_layout(self, layout: RepresentationSpec, what: str) -> None:
        """Refuse vectors of another descriptor.

        Args:
            layout: What the columns of the vectors mean.
            what: What has these vectors, for the message.

        Raises:
            UserError: If it is another.
        """
        if layout.descriptor != self.descriptor:
            raise UserError(
                f"{self.path} predicts {self.label} from the descriptor {self.descriptor}, {what} has "
                f"{layout.descriptor}: fit a head with that (`repdiff head fit --property {self.label} --descriptor "
                f"{layout.descriptor}`)"
            )
        if layout.descriptor_settings != self.descriptor_settings:
            raise UserError(
                f"{self.path} was fitted with other settings of the descriptor {self.descriptor} than {what} has: fit "
                "the head again"
            )

    def predict(
        self, crystals: EncodedSet | RepresentationBatch | CrystalSet | Sequence[Crystal]
    ) -> Prediction:
        """Predict the label; NaN for crystals that are not sound, or with elements that it does not know.

        Args:
            crystals: What `encode` returned, vectors of a model, or crystals, which are encoded here.

        Raises:
            UserError: If vectors are of another descriptor.
        """
        if isinstance(crystals, EncodedSet):
            crystals = crystals.to_batch()
        if isinstance(crystals, RepresentationBatch):
            self.check_layout(crystals.layout, "what is to be predicted")
            return self.of_blocks(whole_blocks(crystals.vectors, crystals.layout))
        given = list(crystals.crystals if isinstance(crystals, CrystalSet) else crystals)
        mean, spread = np.full((2, len(given)), np.nan)
        if sound := sound_rows(given):
            found = self.of_blocks(blocks_of([given[row] for row in sound], self.descriptor))
            mean[sound], spread[sound] = found.mean, found.spread
        return Prediction(mean=mean, spread=spread)

    @torch.no_grad()
    def of_blocks(self, blocks: Blocks) -> Prediction:
        """Predict the label from blocks; NaN where these are, and for elements that it does not know."""
        n = len(blocks["composition"])
        mean, spread = torch.full((2, n), torch.nan)
        for start in range(0, n, ROWS_AT_ONCE):
            part = {name: block[start : start + ROWS_AT_ONCE].cpu() for name, block in blocks.items()}
            found, known = self.network.moments(part), self.network.knows(part)
            rows = slice(start, start + ROWS_AT_ONCE)
            mean[rows] = torch.where(known, found.mean, torch.nan)
            spread[rows] = torch.where(known, found.variance.sqrt(), torch.nan)
        return Prediction(mean=mean.double().numpy(), spread=spread.double().numpy())

    def write(self, file: Path) -> None:
        """Write all of it to one file."""
        tensors, settings = self.network.tensors_and_metadata()
        metadata = {
            "model": settings,
            "descriptor": self.descriptor,
            "descriptor_settings": dict(self.descriptor_settings),
            "n_training": self.n_training,
            "report": dict(self.report),
        }
        save_checkpoint(file, {f"network.{name}": one for name, one in tensors.items()}, metadata, kind=KIND)

    @classmethod
    def load(cls, path: Path) -> "Head":
        """Read what `repdiff head fit` wrote: a run's folder or a file.

        Raises:
            UserError: If it is missing, damaged, or no such head.
        """
        file = path / FILE if path.is_dir() else path
        tensors, metadata = load_checkpoint(file, kind=KIND)
        try:
            network = PropertyEnsemble.from_tensors_and_metadata(
                tensors_under("network.", tensors)[0], metadata["model"]
            )
            return cls(
                path=path,
                network=network,
                descriptor=str(metadata["descriptor"]),
                descriptor_settings=metadata["descriptor_settings"],
                n_training=int(metadata["n_training"]),
                report=metadata["report"],
            )
        except (KeyError, TypeError, ValueError, UserError) as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{file}: no head of this version, fit it again ({reason})") from error


@dataclass(frozen=True, kw_only=True, eq=False)
class LabelledRows:
    """Vectors and labels of the crystals of a split that have a label.

    Attributes:
        vectors: Whole vectors in physical units.
        labels: Their labels.
    """

    vectors: Float[torch.Tensor, "n n_features"]
    labels: Float[torch.Tensor, " n"]


def labelled_rows(label: str, encoded: EncodedSet, *, told: bool = True) -> dict[str, LabelledRows]:
    """Return vectors and labels by split, and say on the log how many crystals have no label.

    Args:
        label: Name of the label.
        encoded: The crystals.
        told: Whether to say it.

    Raises:
        UserError: If there is no such label, it is no number, or constant over the training crystals.
    """
    if label in COMPUTED:
        raise UserError(f"`property` is {label}, expected the name of a numeric label")
    found = labels_of(label, encoded.crystals)
    splits = {}
    for split in ("train", "val", "test"):
        inside = encoded.rows(split)
        rows = [row for row in inside if found[row] is not None]
        if told and len(rows) < len(inside):
            log.warning(
                "%d of %d crystals of split %s have no label %s, or NaN: left out",
                len(inside) - len(rows), len(inside), split, label,
            )  # fmt: skip
        values = as_numbers(label, [found[row] for row in rows])
        splits[split] = LabelledRows(vectors=encoded.representations[rows], labels=torch.from_numpy(values))
        if split == "train":
            known_labels(label, [found[row] for row in rows])
    return splits


def prepare_head(
    label: str,
    encoded: EncodedSet,
    *,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> TrainingJob:
    """Prepare the training of an ensemble on the splits "train" and "val".

    Args:
        label: Name of a numeric label; crystals without it are left out, and counted.
        encoded: The crystals.
        options: Width, number of members and dropout that differ from the defaults of `EnsembleSettings`.
        seed: Seed of the initial weights.

    Raises:
        UserError: If there is no such label, it is no number, or constant over the training crystals.
    """
    splits, layout = labelled_rows(label, encoded), encoded.layout
    blocks = {split: whole_blocks(one.vectors, layout) for split, one in splits.items() if split != "test"}
    values = splits["train"].labels
    present = blocks["train"]["composition"].sum(0) > 0
    settings = EnsembleSettings(
        label=label,
        elements=tuple(present.nonzero()[:, 0].tolist()),
        n_descriptor=blocks["train"]["descriptor"].shape[1],
        center=float(values.mean()),
        scale=float(values.std(correction=0)),
        low=float(values.min()),
        high=float(values.max()),
        **(options or {}),
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = PropertyEnsemble(settings)
    network.fit_inputs(network.inputs(blocks["train"]))

    def data(split: str) -> PropertyData:
        known = network.knows(blocks[split])
        inputs = network.standardised(network.inputs(blocks[split]))[known]
        return PropertyData(inputs, ((splits[split].labels - settings.center) / settings.scale)[known])

    return TrainingJob(
        model=PropertyTraining(network),
        training=data("train"),
        validation=data("val"),
        metadata={"n_training": len(values)},
        tensors={},
    )


def fit_property_head(
    encoded: EncodedSet,
    settings: HeadSettings,
    folder: Path,
    *,
    summary: dict[str, Any],
    resume: bool,
    progress: bool = True,
) -> TrainingResult:
    """Train an ensemble in a folder, correct its stated uncertainty, and measure it on held-out crystals.

    The weights of the lowest validation loss are taken. By the validation crystals the uncertainty is multiplied by one
    factor, so that 68 % of them lie within one standard deviation; what it is worth then the test crystals tell.

    Args:
        encoded: Labelled crystals.
        settings: What to predict, and how to train.
        folder: Where weights, metrics and checkpoints go; the head is `head.safetensors`.
        summary: What is to be told of it is added here.
        resume: Whether to continue from the last checkpoint there.
        progress: Whether to show bars.

    Raises:
        UserError: If the labels do not serve.
    """
    assert settings.property is not None
    options = {name: getattr(settings, name) for name in ("width", "n_members", "dropout")}
    job = prepare_head(settings.property, encoded, options=options, seed=settings.seed)
    summary.update(label=settings.property, n_training=len(job.training), n_validation=len(job.validation))
    result = train_job(
        job, settings.part(TrainingSettings), folder, summary=summary, resume=resume, progress=progress
    )
    if result.stopped_by == "signal":
        return result
    tensors, metadata = load_checkpoint(result.best or result.model, kind=KIND)
    network = PropertyEnsemble.from_tensors_and_metadata(
        tensors_under("network.", tensors)[0], metadata["model"]
    )
    head = Head(
        path=folder,
        network=network,
        descriptor=encoded.layout.descriptor,
        descriptor_settings=encoded.layout.descriptor_settings,
        n_training=len(job.training),
        report={},
    )
    splits = labelled_rows(settings.property, encoded, told=False)
    _correct(head, splits, encoded.layout)
    split = "test" if len(splits["test"].labels) else "val"
    report = held_out_report(head, splits[split], encoded.layout, split)
    summary.update(report)
    replace(head, report=report).write(folder / FILE)
    return result


def _correct(head: Head, splits: Mapping[str, LabelledRows], layout: RepresentationSpec) -> None:
    """Scale the stated uncertainty by the validation crystals, if there are enough, and note the typical one."""
    rows = splits["val"] if len(splits["val"].labels) >= FEWEST else splits["train"]
    found = head.of_blocks(whole_blocks(rows.vectors, layout))
    off = np.abs(found.mean - rows.labels.numpy()) / found.spread
    known = np.isfinite(off)
    factor = float(np.quantile(off[known], WITHIN_ONE)) if rows is splits["val"] and known.any() else 1.0
    factor = min(max(factor, 0.1), 10.0)
    head.network.get_buffer("widening").fill_(factor)
    head.network.get_buffer("typical").fill_(factor * float(np.median(found.spread[known])))


def held_out_report(head: Head, rows: LabelledRows, layout: RepresentationSpec, split: str) -> dict[str, Any]:
    """Say how good a head is on crystals, by name of the figure; errors are in the unit of the label.

    Returns:
        `split`, `n_test`, `rmse`, `mae`, `std` (of the labels: the error of the best constant), `spearman`,
        `within_1_sigma` and `within_2_sigma` (shares; 0.68 and 0.95 if the uncertainty is right), `mean_spread`, and
        `n_unknown` (left out, with elements that it does not know). Figures that too few crystals tell are None.
    """
    from scipy.stats import spearmanr

    found = head.of_blocks(whole_blocks(rows.vectors, layout))
    known: Bool[np.ndarray, " n"] = np.isfinite(found.mean)
    truth, mean, spread = rows.labels.numpy()[known], found.mean[known], found.spread[known]
    counts = {"split": split, "n_test": len(truth), "n_unknown": int((~known).sum())}
    names = ("rmse", "mae", "std", "spearman", "within_1_sigma", "within_2_sigma", "mean_spread")
    if len(truth) < 2:
        return {**counts, **dict.fromkeys(names)}
    off = np.abs(mean - truth)
    varies = np.ptp(truth) > 0 and np.ptp(mean) > 0
    values = (
        float(np.sqrt((off**2).mean())),
        float(off.mean()),
        float(truth.std()),
        float(spearmanr(truth, mean).statistic) if varies else None,
        float((off < spread).mean()),
        float((off < 2 * spread).mean()),
        float(spread.mean()),
    )
    return {**counts, **dict(zip(names, values, strict=True))}


def in_words(head: Head) -> str:
    """Say in a line how good a head is."""
    told = head.report
    if not told or told["rmse"] is None:
        return f"{head.label}: too few held-out crystals to say how good it is"
    rank = "" if told["spearman"] is None else f", rank correlation {told['spearman']:.3f}"
    return (
        f"{head.label}: error {told['rmse']:.4g} (mean absolute {told['mae']:.4g}) on {told['n_test']} crystals of "
        f"split {told['split']}, whose standard deviation is {told['std']:.4g}{rank}; {told['within_1_sigma']:.0%} lie "
        f"within one stated standard deviation and {told['within_2_sigma']:.0%} within two (68 % and 95 % expected)"
    )
