"""`repdiff reconstruct`: representation vectors → crystals, on one GPU or over processes."""

import hashlib
import json
import logging
import shutil
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from tqdm import tqdm

from reconstruction.basin_hopping import SEARCHES, Search
from reconstruction.reconstruct import Decoded, decode, plan, reconstruct_rows
from repdiff.cores import n_cores
from repdiff.datasets.crystal import Crystal, from_batch, read_crystals, write_crystals
from repdiff.datasets.load import load_dataset
from repdiff.device import choose_device
from repdiff.encode import encode_dataset
from repdiff.encoded import Layout, named_descriptor
from repdiff.errors import UserError
from repdiff.files import replacing
from repdiff.generated import read_generated
from repdiff.manifest import Input
from repdiff.settings import ReconstructSettings
from repdiff.structure_files import FAILED, write_structures
from repdiff.workspace import Workspace, plain_name

MAX_ATOMS = 300
PARTS = "parts"
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
    layout: Layout
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
    source = _from_dataset(settings, workspace) if settings.dataset else _from_generated(settings, workspace)
    name = plain_name(f"{source.name}-{settings.preset}")
    with workspace.run(settings, name, inputs=source.inputs) as run:
        if run.state != "finished":
            run.summary.update(_reconstruct(source, settings, run.path, device))
    return run.path


def _from_generated(settings: ReconstructSettings, workspace: Workspace) -> Source:
    folder = workspace.find("generate", settings.generated)
    vectors, layout = read_generated(folder)
    if settings.n is not None:
        vectors = vectors[: settings.n]
    return Source(
        name=f"{folder.name}-n{len(vectors)}",
        ids=[f"gen-{row:06d}" for row in range(len(vectors))],
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
        raise UserError(f"{dataset.name} has no crystal in split {settings.split!r}: use --split all")
    if settings.n is not None and settings.n < len(chosen):
        rows = np.random.default_rng(settings.seed).choice(len(chosen), size=settings.n, replace=False)
        chosen = [chosen[row] for row in sorted(rows.tolist())]
    encoded, rejected = encode_dataset(
        replace(dataset, crystals=chosen, rejected=[]),
        settings.descriptor,
        niggli=settings.niggli,
        device=torch.device("cpu"),
    )
    return Source(
        name=f"{dataset.name}-{settings.split}-n{len(chosen)}-seed{settings.seed}",
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
    representation = source.layout.representation()
    decoded = decode(source.vectors, representation, max_atoms=MAX_ATOMS)
    search = SEARCHES[settings.preset]
    groups = plan(decoded, representation.descriptor, search, device=device)
    if not groups:
        raise UserError(f"none of {len(source.ids)} vectors makes a crystal; the first: {decoded.reasons[0]}")
    parts = folder / PARTS
    parts.mkdir(exist_ok=True)
    files = {tuple(group): _part(parts, group, source.ids) for group in groups}
    missing = [group for group in groups if not files[tuple(group)].is_file()]
    job = _Job(decoded, source.layout, search, source.exact, settings.seed, source.ids, str(device))
    with tqdm(total=sum(map(len, groups)), desc="reconstructing", unit="crystal") as bar:
        bar.update(sum(map(len, groups)) - sum(map(len, missing)))
        for group, crystals in _in_parallel(job, missing, _n_workers(settings, device)):
            with replacing(files[tuple(group)]) as partial:
                write_crystals(partial, crystals)
            bar.update(len(group))
    seconds = (time.perf_counter() - started) / max(sum(map(len, missing)), 1)
    crystals = {crystal.id: crystal for file in files.values() for crystal in read_crystals(file)}
    reasons = dict(zip(source.ids, decoded.reasons, strict=True))
    ordered = [crystals[name] for name, reason in reasons.items() if reason is None]
    failed = [{"id": name, "reason": reason} for name, reason in (reasons | source.refused).items() if reason]
    with replacing(folder / FAILED) as partial:
        partial.write_text("".join(json.dumps(entry) + "\n" for entry in failed), encoding="utf-8")
    write_structures(folder, ordered, progress=True)
    shutil.rmtree(parts)
    return _summary(ordered, failed, seconds)


@dataclass(frozen=True)
class _Job:
    """What every worker needs; sent to each once."""

    decoded: Decoded
    layout: Layout
    search: Search
    exact: bool
    seed: int
    ids: Sequence[str]
    device: str

    def run(self, rows: Sequence[int]) -> list[Crystal]:
        """Reconstruct one group."""
        device = torch.device(self.device)
        descriptor = self.layout.representation().descriptor.to(device)
        started = time.perf_counter()
        found = reconstruct_rows(
            self.decoded, rows, descriptor, self.search, exact=self.exact, seed=self.seed, device=device
        )
        seconds = (time.perf_counter() - started) / len(rows)
        crystals = from_batch(found.batch, [self.ids[row] for row in rows])
        return [
            crystal.replace(
                labels={
                    "loss": float(found.losses[place]),
                    "n_evaluations": int(found.n_evaluations[place]),
                    "seconds": seconds,
                    "stopped": found.stopped[place],
                    "n_agreeing": int(found.n_agreeing[place]),
                    "composition_residual": float(self.decoded.residuals[row]),
                    "cell_repair": self.decoded.repaired[row],
                }
            )
            for place, (row, crystal) in enumerate(zip(rows, crystals, strict=True))
        ]


_JOB: list[_Job] = []  # the job of this worker process


def _start_worker(job: _Job) -> None:
    torch.set_num_threads(1)
    _JOB.append(job)


def _work(rows: Sequence[int]) -> list[Crystal]:
    return _JOB[0].run(rows)


def _in_parallel(
    job: _Job, groups: Sequence[list[int]], n_workers: int
) -> Iterator[tuple[list[int], list[Crystal]]]:
    """Yield each group with its crystals as it is finished; the largest cells first."""
    ordered = sorted(groups, key=lambda rows: -len(job.decoded.atomic_numbers[rows[0]]))
    if n_workers == 1 or len(groups) <= 1:
        for rows in ordered:
            yield rows, job.run(rows)
        return
    context = get_context("spawn")  # a fork after torch has started its threads may hang
    with ProcessPoolExecutor(
        n_workers, mp_context=context, initializer=_start_worker, initargs=(job,)
    ) as pool:
        futures = {pool.submit(_work, rows): rows for rows in ordered}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _n_workers(settings: ReconstructSettings, device: torch.device) -> int:
    if device.type != "cpu":
        return 1
    return settings.n_workers or n_cores()


def _part(parts: Path, group: Sequence[int], ids: Sequence[str]) -> Path:
    """Name the file of a group by all that is in it: with another `n` or device, the groups are others."""
    members = json.dumps([(row, ids[row]) for row in group])
    return parts / f"{group[0]:08d}-{hashlib.sha256(members.encode()).hexdigest()[:16]}.parquet"


def _summary(crystals: list[Crystal], failed: list[dict[str, str]], seconds: float) -> dict[str, object]:
    losses = np.array([crystal.labels["loss"] for crystal in crystals], dtype=float)
    repaired = sum(crystal.labels["cell_repair"] is not None for crystal in crystals)
    stopped = Counter(str(crystal.labels["stopped"]) for crystal in crystals)
    log.info(
        "%d crystals, %d refused (in %s), %d cells repaired; median loss %.2g; %s",
        len(crystals),
        len(failed),
        FAILED,
        repaired,
        float(np.median(losses)),
        ", ".join(f"{count} {reason}" for reason, count in sorted(stopped.items())),
    )
    return {
        "n_crystals": len(crystals),
        "n_failed": len(failed),
        "n_cells_repaired": repaired,
        "median_loss": float(np.median(losses)),
        "stopped": dict(stopped),
        "seconds_per_structure": seconds,
    }
