"""`repdiff reconstruct`: representation vectors → crystals, over processes, which may share a GPU."""

import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from reconstruction.inversion import TooLargeError, prepare
from reconstruction.parallel import reconstruct_groups
from reconstruction.presets import SEARCHES, Search
from reconstruction.progress import ReconstructionBar
from reconstruction.result import ReconstructionResult
from repdiff.crystals.crystal import Crystal, from_batch, read_crystals, write_crystals
from repdiff.crystals.structure_files import FAILED, TABLE, write_structures
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError
from repdiff.hardware import choose_device, n_cores
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import RepresentationSpec, named_descriptor
from repdiff.representations.shards import read_generated, read_names
from repdiff.runs.atomic_files import replacing
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ReconstructSettings

MAX_ATOMS = 300
PARTS = "parts"
GPU_WORKERS, GPU_SHARE = 12, 6 * 2**30  # processes that share a GPU at most, and bytes of its memory for each
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Source:
    """The vectors to invert, and what is known of them.

    Attributes:
        name: Of the run, in part.
        ids: One for each vector.
        vectors: In physical units.
        layout: What the columns mean.
        exact: Whether the vectors belong to true crystals.
        inputs: For the manifest.
        refused: Reason by name, of crystals that have no vector.
    """

    name: str
    ids: list[str]
    vectors: Float[Tensor, "n_vectors n_features"]
    layout: RepresentationSpec
    exact: bool
    inputs: dict[str, Path | Input]
    refused: dict[str, str] = field(default_factory=dict)


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
    name = plain_name(f"{source.name}-{settings.preset}")
    with workspace.run(settings, name, inputs=source.inputs) as run:
        if run.state != "finished":
            run.summary.update(_reconstruct(source, settings, run.path, device))
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
        }
    )


def _from_generated(settings: ReconstructSettings, workspace: Workspace) -> Source:
    folder = workspace.find("generate", settings.generated)
    if (folder / TABLE).is_file():
        raise UserError(
            f"{folder} holds crystals already, there is nothing to reconstruct: go on with "
            f"`repdiff evaluate {folder}`"
        )
    vectors, layout = read_generated(folder)
    if settings.n is not None:
        vectors = vectors[: settings.n]
    return Source(
        name=f"{folder.name}-n{len(vectors)}",
        ids=read_names(folder, len(vectors)),
        vectors=vectors,
        layout=layout,
        exact=False,
        inputs={"generated": folder},
    )


def _from_dataset(settings: ReconstructSettings, workspace: Workspace) -> Source:
    """Encode `n` random crystals of a split; the choice depends on the seed alone."""
    assert settings.dataset is not None
    named_descriptor(settings.descriptor)
    dataset = load_dataset(settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir)
    chosen = [c for c in dataset.crystals if settings.split in ("all", c.split)]
    if not chosen:
        raise UserError(f"{dataset.name} has no crystal in split {settings.split!r}: use `split` all")
    if settings.n is not None and settings.n < len(chosen):
        rows = np.random.default_rng(settings.seed).choice(len(chosen), size=settings.n, replace=False)
        chosen = [chosen[row] for row in sorted(rows.tolist())]
    encoded, rejected = encode_dataset(
        replace(dataset, crystals=chosen, rejected=[]),
        settings.descriptor,
        niggli=settings.niggli,
        device=torch.device("cpu"),
    )
    default = type(settings).model_fields["descriptor"].default
    other = "" if settings.descriptor == default else f"-{settings.descriptor}"
    return Source(
        name=f"{dataset.name}-{settings.split}-n{len(chosen)}-seed{settings.seed}{other}",
        ids=[crystal.id for crystal in encoded.crystals],
        vectors=encoded.representations,
        layout=encoded.layout,
        exact=True,
        inputs={name: Input(path=name, sha256=digest) for name, digest in dataset.input_hashes.items()},
        refused={str(rejection.id): rejection.reason for rejection in rejected},
    )


def _reconstruct(
    source: Source, settings: ReconstructSettings, folder: Path, device: torch.device
) -> dict[str, object]:
    """Do the work in `folder` and return the summary."""
    started = time.perf_counter()
    search = _search(settings)
    inversion = prepare(
        source.vectors,
        source.layout.representation(),
        search=search,
        exact=source.exact,
        seed=settings.seed,
        device=device,
        max_atoms=MAX_ATOMS,
    )
    groups, reasons = inversion.groups, inversion.decoded.reasons
    if not groups:
        raise UserError(f"none of {len(source.ids)} vectors makes a crystal; the first: {reasons[0]}")
    parts = folder / PARTS
    parts.mkdir(exist_ok=True)
    files = {tuple(group): _part(parts, group, source.ids) for group in groups}
    missing = [group for group in groups if not files[tuple(group)].is_file()]
    n_workers = _n_workers(settings, device)
    with ReconstructionBar(inversion, missing=missing) as bar:
        try:
            for group, found in reconstruct_groups(inversion, missing, n_workers=n_workers):
                with replacing(files[tuple(group)]) as partial:
                    write_crystals(partial, _labelled(found, source.ids))
                bar.add(group)
        except TooLargeError as error:
            raise UserError(str(error)) from error
    seconds = time.perf_counter() - started
    crystals = {crystal.id: crystal for file in files.values() for crystal in read_crystals(file)}
    if missing != groups:  # resumed: nobody knows how long the earlier part took, but the crystals do
        own = np.array([crystal.labels["seconds"] for crystal in crystals.values()], dtype=float)
        seconds = float(own.sum()) / n_workers
    whys = dict(zip(source.ids, reasons, strict=True))
    ordered = [crystals[name] for name, reason in whys.items() if reason is None]
    failed = [{"id": name, "reason": reason} for name, reason in (whys | source.refused).items() if reason]
    with replacing(folder / FAILED) as partial:
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in failed), encoding="utf-8")
    write_structures(folder, ordered, progress=True)
    shutil.rmtree(parts)
    return {
        **_summary(ordered, failed),
        "seconds_per_structure": seconds / len(ordered),
        "n_workers": n_workers,
        "search": asdict(inversion.search),
    }


def _labelled(found: ReconstructionResult, ids: Sequence[str]) -> list[Crystal]:
    """Turn a group of results into crystals with labels."""
    crystals = from_batch(found.batch, [ids[row] for row in found.rows])
    return [crystal.replace(labels=found.labels(place)) for place, crystal in enumerate(crystals)]


def _n_workers(settings: ReconstructSettings, device: torch.device) -> int:
    """Return how many processes to start: one for each core, on a GPU no more than its memory has room for."""
    if settings.n_workers is not None:
        return settings.n_workers
    if device.type == "cpu":
        return n_cores()
    n_shares = torch.cuda.get_device_properties(device).total_memory // GPU_SHARE
    return max(1, min(n_cores(), GPU_WORKERS, n_shares))


def _part(parts: Path, group: Sequence[int], ids: Sequence[str]) -> Path:
    """Name the file of a group by all that is in it: with another `n` or device, the groups are others."""
    members = json.dumps([(row, ids[row]) for row in group])
    return parts / f"{group[0]:08d}-{hashlib.sha256(members.encode()).hexdigest()[:16]}.parquet"


def _summary(crystals: list[Crystal], failed: list[dict[str, str]]) -> dict[str, object]:
    losses = np.array([crystal.labels["loss"] for crystal in crystals], dtype=float)
    sure = np.array([crystal.labels["confidence"] for crystal in crystals], dtype=float)
    repaired = sum(crystal.labels["cell_repair"] is not None for crystal in crystals)
    stopped = Counter(str(crystal.labels["stopped"]) for crystal in crystals)
    confidence = float(np.nanmean(sure)) if np.isfinite(sure).any() else None
    log.info(
        "%d crystals, %d refused (in %s), %d cells repaired; median loss %.2g%s; %s",
        len(crystals),
        len(failed),
        FAILED,
        repaired,
        float(np.median(losses)),
        "" if confidence is None else f", mean confidence {confidence:.1%}",
        ", ".join(f"{count} {reason}" for reason, count in sorted(stopped.items())),
    )
    return {
        "n_crystals": len(crystals),
        "n_failed": len(failed),
        "n_cells_repaired": repaired,
        "median_loss": float(np.median(losses)),
        "mean_confidence": confidence,
        "stopped": dict(stopped),
    }
