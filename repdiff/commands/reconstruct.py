"""`repdiff reconstruct`: representation vectors → crystals, over processes, which may share a GPU."""

import logging
import math
import sys
from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from reconstruction.presets import SEARCHES, Search
from repdiff.backends.steering import SteeringRequest, with_predictions
from repdiff.conditions import Asked, judge
from repdiff.conditions.files import MISSED, told, write_judged
from repdiff.conditions.pieces import KEPT, read_pieces, write_piece
from repdiff.crystals.crystal import Crystal, read_crystals
from repdiff.crystals.resumable_parts import forget_parts, kept, part_name
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
from repdiff.representations.shards import read_names, read_shards, split_generated
from repdiff.runs.atomic_files import PIECES, read_json, write_json
from repdiff.runs.failures import FAILED, read_records, write_failed
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ReconstructSettings

PIECE = 10_000  # vectors, and their crystals, that are in memory at once
DONE = "done.json"
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Some of the vectors to invert: one piece at a time is in memory.

    Attributes:
        first: Number of its first vector.
        ids: Names of its vectors.
        read: Reads them.
    """

    first: int
    ids: Sequence[str]
    read: Callable[[], RepresentationBatch]


@dataclass(frozen=True, kw_only=True)
class Source:
    """The vectors to invert, and what is known of them.

    Attributes:
        name: Part of the name of the run.
        pieces: The vectors, in their order.
        asked: What was asked of all of them.
        exact: Whether the vectors belong to true crystals.
        inputs: Inputs that the manifest lists, by name.
        refused: Reasons for the crystals that have no vector, by name.
        steering: What the vectors were steered by; None for nothing.
    """

    name: str
    pieces: Sequence[Piece]
    asked: Asked
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
    parts = split_generated(folder, settings.n, largest=PIECE)
    n = parts[-1][1].stop
    names, asked = read_names(folder, n), Asked.read(folder)
    pieces = []
    for shards, rows in parts:
        ids = names[rows.start : rows.stop]
        read = partial(_read_piece, shards, ids, asked.of_rows(rows))
        pieces.append(Piece(first=rows.start, ids=ids, read=read))
    return Source(
        name=f"{folder.name}-n{n}",
        pieces=pieces,
        asked=asked,
        exact=False,
        inputs={"generated": folder},
        steering=SteeringRequest.read(folder),
    )


def _read_piece(shards: Sequence[Path], names: Sequence[str], asked: Asked) -> RepresentationBatch:
    return replace(read_shards(shards).first(len(names)), names=names, asked=asked)


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
    batch = encoded.to_batch()
    default = type(settings).model_fields["descriptor"].default
    other = "" if settings.descriptor == default else f"-{settings.descriptor}"
    other += {"given": "-symmetric", "propose": "-proposed"}.get(settings.symmetry, "")
    return Source(
        name=f"{dataset.name}-{settings.split}-n{len(chosen)}-seed{settings.seed}{other}",
        pieces=[Piece(first=0, ids=batch.ids, read=lambda: batch)],
        asked=Asked(),
        exact=True,
        inputs={name: Input(path=name, sha256=digest) for name, digest in dataset.input_hashes.items()},
        refused={str(rejection.id): rejection.reason for rejection in encoded.rejected},
    )


def _reconstruct(
    source: Source, settings: ReconstructSettings, folder: Path, device: torch.device
) -> dict[str, object]:
    """Do the work in `folder`, piece by piece, and return the summary."""
    places = [folder / PIECES / part_name(piece.first, list(piece.ids)) for piece in source.pieces]
    for number, (place, piece) in enumerate(zip(places, source.pieces, strict=True)):
        if len(places) > 1:
            log.info("piece %d of %d", number + 1, len(places))
        if not _is_done(place):
            _invert_piece(piece.read(), source, settings, folder, place, device)
    judged = read_pieces(places, source.asked, source.refused)
    crystals, failed = judged.crystals.crystals, judged.crystals.failed
    write_failed(folder, failed)
    write_structures(folder, crystals, progress=True)
    more = write_judged(folder, judged)
    done = [read_json(place / DONE) for place in places]
    n_sought = sum(one["n"] for one in done)
    return {
        **_summary(crystals, failed),
        **more,
        "seconds_per_structure": sum(one["seconds"] for one in done) / n_sought if n_sought else None,
        "n_workers": done[-1]["n_workers"],
        "search": done[-1]["search"],
    }


def _is_done(place: Path) -> bool:
    """Say whether an earlier session has made all of a piece, and all of it can be read."""
    return (place / DONE).is_file() and all(
        kept(place / name, read) is not None
        for name, read in (
            (DONE, read_json),
            (KEPT, read_crystals),
            (MISSED, read_crystals),
            (FAILED, read_records),
        )
    )


def _invert_piece(
    batch: RepresentationBatch,
    source: Source,
    settings: ReconstructSettings,
    folder: Path,
    place: Path,
    device: torch.device,
) -> None:
    """Find the crystals of some vectors and write them to `place`, the file that says so last."""
    done = invert(
        batch,
        search=_search(settings),
        exact=source.exact,
        seed=settings.seed,
        device=device,
        n_workers=settings.n_workers,
        folder=folder,
        symmetric=settings.symmetry == "given",
        proposals=settings.symmetry == "propose",
    )
    judged = judge(done.crystals, batch.asked, batch.ids, progress=True)
    if source.steering is not None:
        predicted = with_predictions(judged.crystals, source.steering, batch.layout.descriptor)
        judged = replace(judged, crystals=predicted)
    write_piece(place, judged)
    how = {"n_workers": done.n_workers, "search": asdict(done.search)}
    write_json(place / DONE, {"n": len(done.crystals.crystals), "seconds": done.seconds, **how})
    forget_parts(folder)


def _summary(crystals: Iterable[Crystal], failed: Mapping[str, str]) -> dict[str, object]:
    """Say what came out of it, on the log and for the manifest."""
    losses, sure = array("d"), array("d")
    stopped: Counter[str] = Counter()
    repaired = 0
    for crystal in crystals:
        loss, confidence = crystal.labels["loss"], crystal.labels["confidence"]
        losses.append(math.nan if loss is None else float(loss))
        sure.append(math.nan if confidence is None else float(confidence))
        repaired += crystal.labels["cell_repair"] is not None
        stopped[str(crystal.labels["stopped"])] += 1
    median = float(np.median(losses)) if losses else math.nan
    confidence = float(np.nanmean(sure)) if np.isfinite(sure).any() else None
    log.info(
        "%d crystals, %d refused (in %s), %d cells repaired; median loss %.2g%s; %s",
        len(losses),
        len(failed),
        FAILED,
        repaired,
        median,
        "" if confidence is None else f", mean confidence {confidence:.1%}",
        ", ".join(f"{count} {reason}" for reason, count in sorted(stopped.items())),
    )
    return {
        "n_crystals": len(losses),
        "n_failed": len(failed),
        "n_cells_repaired": repaired,
        "median_loss": None if math.isnan(median) else median,
        "mean_confidence": confidence,
        "stopped": dict(stopped),
    }
