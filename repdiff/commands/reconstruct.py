"""`repdiff reconstruct`: representation vectors → crystals, over processes, which may share a GPU."""

import logging
import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from reconstruction.presets import SEARCHES, Search
from repdiff.backends.steering import SteeringRequest, with_predictions
from repdiff.conditions import Asked, judge
from repdiff.conditions.files import told, write_judged
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.structure_files import TABLE, write_structures
from repdiff.crystals.symmetry import SYMPREC
from repdiff.datasets.load import load_dataset
from repdiff.datasets.sources import crystals_of_split
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.inversion import invert
from repdiff.representations.layout import named_descriptor
from repdiff.representations.shards import read_generated, read_names
from repdiff.runs.failures import FAILED, write_failed
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ReconstructSettings

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The vectors to invert, and what is known of them.

    Attributes:
        name: Part of the name of the run.
        batch: The vectors, with a name for each.
        exact: Whether the vectors belong to true crystals.
        inputs: Inputs that the manifest lists, by name.
        refused: Reasons for the crystals that have no vector, by name.
        steering: What the vectors were steered by; None for nothing.
    """

    name: str
    batch: RepresentationBatch
    exact: bool
    inputs: dict[str, Path | Input]
    refused: dict[str, str] = field(default_factory=dict)
    steering: SteeringRequest | None = None


def run_reconstruct(settings: ReconstructSettings, workspace: Workspace) -> Path:
    """Turn generated vectors, or the true vectors of a data set, into crystals.

    Every group of crystals is written as soon as it is finished, so that an interrupted run goes on where it was.

    Returns:
        The run's folder: `structures.extxyz`, `cif.zip`, `structures.json.gz`, `structures.csv`, `table.parquet`
        in one order, and `failed.jsonl`.

    Raises:
        UserError: If there is nothing to reconstruct, or no vector makes a crystal.
    """
    device = choose_device(settings.device)
    settings = _resolved(settings)
    source = _from_dataset(settings, workspace) if settings.dataset else _from_generated(settings, workspace)
    chosen = "" if settings.symmetry == _symmetry_by_default(settings) else f"-{settings.symmetry}"
    name = plain_name(f"{source.name}-{settings.preset}{chosen}")
    with workspace.run(settings, name, inputs=source.inputs) as run:
        if run.state != "finished":
            run.summary.update(_reconstruct(source, settings, run.path, device))
    sys.stdout.write(told(run.path))
    return run.path


def _search(settings: ReconstructSettings) -> Search:
    """Return the preset with what the user changed of it."""
    changes = {
        "repulsion": settings.repulsion,
        "max_seconds": settings.max_seconds,
        "max_evaluations": settings.max_evaluations,
    }
    given = {name: value for name, value in changes.items() if value is not None}
    return replace(SEARCHES[settings.preset], **given)


def _resolved(settings: ReconstructSettings) -> ReconstructSettings:
    """Put the values of the preset where the user gave none."""
    search = _search(settings)
    return settings.model_copy(
        update={
            "repulsion": search.repulsion,
            "max_seconds": search.max_seconds,
            "max_evaluations": search.max_evaluations,
            "symmetry": _symmetry_by_default(settings) if settings.symmetry == "auto" else settings.symmetry,
        }
    )


def _symmetry_by_default(settings: ReconstructSettings) -> str:
    return "given" if settings.dataset is None else "none"


def _from_generated(settings: ReconstructSettings, workspace: Workspace) -> Source:
    folder = workspace.find("generate", settings.generated)
    if (folder / TABLE).is_file():
        raise UserError(
            f"{folder} holds crystals already, there is nothing to reconstruct: go on with "
            f"`repdiff evaluate {folder}`"
        )
    batch = read_generated(folder)
    if settings.n is not None:
        batch = batch.first(settings.n)
    return Source(
        name=f"{folder.name}-n{len(batch)}",
        batch=replace(batch, names=read_names(folder, len(batch)), asked=Asked.read(folder)),
        exact=False,
        inputs={"generated": folder},
        steering=SteeringRequest.read(folder),
    )


def _from_dataset(settings: ReconstructSettings, workspace: Workspace) -> Source:
    """Encode `n` random crystals of a split; the choice depends on the seed alone."""
    assert settings.dataset is not None
    named_descriptor(settings.descriptor)
    dataset = load_dataset(settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir)
    chosen = crystals_of_split(dataset, settings.split, n=settings.n, seed=settings.seed)
    encoded = encode_dataset(
        replace(dataset, crystals=chosen, rejected=[]),
        settings.descriptor,
        niggli=settings.niggli,
        device=torch.device("cpu"),
        symprec=SYMPREC if settings.symmetry == "given" else None,
    )
    default = type(settings).model_fields["descriptor"].default
    other = "" if settings.descriptor == default else f"-{settings.descriptor}"
    other += {"given": "-symmetric", "propose": "-proposed"}.get(settings.symmetry, "")
    return Source(
        name=f"{dataset.name}-{settings.split}-n{len(chosen)}-seed{settings.seed}{other}",
        batch=encoded.to_batch(),
        exact=True,
        inputs={name: Input(path=name, sha256=digest) for name, digest in dataset.input_hashes.items()},
        refused={str(rejection.id): rejection.reason for rejection in encoded.rejected},
    )


def _reconstruct(
    source: Source, settings: ReconstructSettings, folder: Path, device: torch.device
) -> dict[str, object]:
    """Do the work in `folder` and return the summary."""
    done = invert(
        source.batch,
        search=_search(settings),
        exact=source.exact,
        seed=settings.seed,
        device=device,
        n_workers=settings.n_workers,
        folder=folder,
        symmetric=settings.symmetry == "given",
        proposals=settings.symmetry == "propose",
    )
    judged = judge(done.crystals, source.batch.asked, source.batch.ids, progress=True)
    found = judged.crystals
    if source.steering is not None:
        found = with_predictions(found, source.steering, source.batch.layout.descriptor)
    failed = {**found.failed, **source.refused}
    write_failed(folder, failed)
    write_structures(folder, found.crystals, progress=True)
    more = write_judged(folder, judged)
    return {
        **_summary(found.crystals, failed),
        **more,
        "seconds_per_structure": done.seconds / len(done.crystals.crystals),
        "n_workers": done.n_workers,
        "search": asdict(done.search),
    }


def _summary(crystals: Sequence[Crystal], failed: Mapping[str, str]) -> dict[str, object]:
    """Say what came out of it, on the log and for the manifest."""
    losses = np.array([crystal.labels["loss"] for crystal in crystals], dtype=float)
    sure = np.array([crystal.labels["confidence"] for crystal in crystals], dtype=float)
    repaired = sum(crystal.labels["cell_repair"] is not None for crystal in crystals)
    stopped = Counter(str(crystal.labels["stopped"]) for crystal in crystals)
    median = float(np.median(losses)) if len(losses) else math.nan
    confidence = float(np.nanmean(sure)) if np.isfinite(sure).any() else None
    log.info(
        "%d crystals, %d refused (in %s), %d cells repaired; median loss %.2g%s; %s",
        len(crystals),
        len(failed),
        FAILED,
        repaired,
        median,
        "" if confidence is None else f", mean confidence {confidence:.1%}",
        ", ".join(f"{count} {reason}" for reason, count in sorted(stopped.items())),
    )
    return {
        "n_crystals": len(crystals),
        "n_failed": len(failed),
        "n_cells_repaired": repaired,
        "median_loss": None if math.isnan(median) else median,
        "mean_confidence": confidence,
        "stopped": dict(stopped),
    }
