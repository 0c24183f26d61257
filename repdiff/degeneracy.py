"""`repdiff degeneracy`: which crystals does a descriptor not tell apart?

Two looks. *Pairs*: crystals of a data set with the same formula and nearly the same cell, both of which the
reconstruction is given, whose descriptors differ by less than a tolerance, though they are not the same crystal. A
data set holds few such neighbours, so the second look is the more telling: *probes* of random crystals, whether
their atoms can be moved without changing the vector.
"""

import logging
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from tqdm import tqdm

from descriptors.base import Descriptor
from repdiff.close_pairs import (
    DIFFERENT,
    DISTORTED,
    DUPLICATE,
    UNKNOWN,
    ClosePairs,
    Judged,
    find_close_pairs,
    group_by_formula,
    judge_pairs,
)
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import named_descriptor
from repdiff.runs.atomic_files import replacing
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import DegeneracySettings
from repdiff.soft_directions import Softness, probe, rattled

if TYPE_CHECKING:
    import pyarrow as pa

PAIRS, SOFT, SUMMARY = "pairs.parquet", "soft.parquet", "summary.txt"
N_SHOWN = 10
log = logging.getLogger(__name__)


def run_degeneracy(settings: DegeneracySettings, workspace: Workspace) -> Path:
    """Look for crystals that the descriptor confuses, and print a summary to stdout.

    Returns:
        The run's folder: `pairs.parquet`, `soft.parquet` and `summary.txt`.

    Raises:
        UserError: If the data set, its split, the descriptor or the device is not there.
    """
    device = choose_device(settings.device)
    descriptor = named_descriptor(settings.descriptor)
    dataset = load_dataset(settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir)
    inputs = {name: Input(path=name, sha256=digest) for name, digest in dataset.input_hashes.items()}
    size = f"-n{settings.n}-seed{settings.seed}" if settings.n else ""
    name = plain_name(f"{dataset.name}-{settings.split}{size}-{settings.descriptor}")
    with workspace.run(settings, name, inputs=inputs, resume=False) as run:
        if run.state != "finished":
            chosen = _choose(dataset.crystals, settings, dataset.name)
            encoded, rejected = encode_dataset(
                replace(dataset, crystals=chosen, rejected=[]),
                settings.descriptor,
                niggli=settings.niggli,
                device=device,
            )
            if rejected:
                log.warning("%d crystals left out; the first: %s", len(rejected), rejected[0].reason)
            pairs = _close_pairs(encoded, settings)
            judged, n_left = judge_pairs(
                encoded.crystals,
                pairs,
                same_rms=settings.same_rms,
                max_comparisons=settings.max_comparisons,
            )
            probed = probe_crystals(encoded.crystals, descriptor, settings)
            _write(run.path / PAIRS, _pair_table(encoded.crystals, judged))
            _write(run.path / SOFT, _soft_table(probed))
            counts = Counter(pair.verdict for pair in judged)
            run.summary.update(
                n_crystals=len(encoded.crystals),
                n_close_pairs=len(pairs.rows),
                n_crystals_not_compared=n_left,
                verdicts={verdict: counts[verdict] for verdict in (DUPLICATE, DISTORTED, DIFFERENT, UNKNOWN)},
                n_probed=len(probed),
                n_directions=sum(soft.n_directions for _, soft in probed),
                n_flat=sum(soft.n_flat for _, soft in probed),
                n_soft=sum(soft.n_soft for _, soft in probed),
                note=dataset.note,
            )
            lines = [
                f"{dataset.note or dataset.name}, split {settings.split}: {len(encoded.crystals)} crystals, "
                f"descriptor {settings.descriptor}",
                *_describe_pairs(encoded.crystals, settings, len(pairs.rows), judged, n_left),
                *_describe_probes(settings, probed),
            ]
            with replacing(run.path / SUMMARY) as partial:
                partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write((run.path / SUMMARY).read_text(encoding="utf-8"))
    return run.path


def probe_crystals(
    crystals: Sequence[Crystal], descriptor: Descriptor, settings: DegeneracySettings
) -> list[tuple[Crystal, Softness]]:
    """Probe random crystals of at least two atoms, each rattled first; see `soft_directions.probe`."""
    several = [crystal for crystal in crystals if crystal.n_atoms > 1]
    rows = np.random.default_rng(settings.seed).permutation(len(several))[: settings.probe]
    chosen = [several[row] for row in sorted(rows.tolist())]
    generator = torch.Generator().manual_seed(settings.seed)
    return [
        (
            crystal,
            probe(
                descriptor,
                rattled(to_batch([crystal]), settings.rattle, generator=generator),
                displacement=settings.displacement,
                tolerance=settings.probe_tolerance,
            ),
        )
        for crystal in tqdm(chosen, desc="probing", unit="crystal", disable=not chosen)
    ]


def _choose(crystals: Sequence[Crystal], settings: DegeneracySettings, name: str) -> list[Crystal]:
    """Take `n` random crystals of the split; the choice depends on the seed alone."""
    chosen = [crystal for crystal in crystals if settings.split in ("all", crystal.split)]
    if not chosen:
        raise UserError(f"{name} has no crystal in split {settings.split!r}: use --split all")
    if settings.n is None or settings.n >= len(chosen):
        return chosen
    rows = np.random.default_rng(settings.seed).choice(len(chosen), size=settings.n, replace=False)
    return [chosen[row] for row in sorted(rows.tolist())]


def _close_pairs(encoded: EncodedSet, settings: DegeneracySettings) -> ClosePairs:
    vectors = encoded.representations.numpy()
    blocks = encoded.layout.representation().blocks
    return find_close_pairs(
        vectors[:, blocks["descriptor"]],
        vectors[:, blocks["lattice"]],
        group_by_formula(encoded.crystals),
        tolerance=settings.tolerance,
        cell_tolerance=settings.cell_tolerance,
    )


def _pair_table(crystals: Sequence[Crystal], judged: Sequence[Judged]) -> "pa.Table":
    import pyarrow as pa

    def texts(values: Sequence[str | None]) -> "pa.Array":
        return pa.array(values, pa.string())

    return pa.table(
        {
            "id_a": texts([crystals[pair.a].id for pair in judged]),
            "id_b": texts([crystals[pair.b].id for pair in judged]),
            "split_a": texts([crystals[pair.a].split for pair in judged]),
            "split_b": texts([crystals[pair.b].split for pair in judged]),
            "formula": texts([crystals[pair.a].formula for pair in judged]),
            "descriptor_distance": pa.array([pair.descriptor_distance for pair in judged], pa.float64()),
            "cell_distance": pa.array([pair.cell_distance for pair in judged], pa.float64()),
            "rms": pa.array([pair.match.rms for pair in judged], pa.float64()),
            "verdict": texts([pair.verdict for pair in judged]),
            "reason": texts([pair.match.reason for pair in judged]),
        }
    )


def _soft_table(probed: Sequence[tuple[Crystal, Softness]]) -> "pa.Table":
    import pyarrow as pa

    values = [asdict(soft) for _, soft in probed]
    columns = {
        "id": pa.array([crystal.id for crystal, _ in probed], pa.string()),
        "formula": pa.array([crystal.formula for crystal, _ in probed], pa.string()),
        "n_atoms": pa.array([crystal.n_atoms for crystal, _ in probed], pa.int64()),
    }
    for field in fields(Softness):
        kind = pa.int64() if field.type is int else pa.float64()
        columns[field.name] = pa.array([row[field.name] for row in values], kind)
    return pa.table(columns)


def _write(path: Path, table: "pa.Table") -> None:
    import pyarrow.parquet as pq

    with replacing(path) as partial:
        pq.write_table(table, partial, compression="zstd")


def _describe_pairs(
    crystals: Sequence[Crystal],
    settings: DegeneracySettings,
    n_pairs: int,
    judged: Sequence[Judged],
    n_left: int,
) -> list[str]:
    limits = f"vectors within {settings.tolerance:g}, cells within {settings.cell_tolerance:g}"
    if not n_pairs:
        return [f"no pair of the same formula with {limits}"]
    counts = Counter(pair.verdict for pair in judged)
    lines = [
        f"{n_pairs} pairs of the same formula with {limits}; {len(judged)} compared, duplicates only once"
        + (f"; {n_left} crystals NOT reached, raise --max-comparisons" if n_left else ""),
        f"  {counts[DUPLICATE]:>6} {DUPLICATE}: the same crystal, rms at most {settings.same_rms:g}",
        f"  {counts[DISTORTED]:>6} {DISTORTED}: the same to StructureMatcher, with a larger rms",
        f"  {counts[DIFFERENT]:>6} {DIFFERENT}: other crystals",
    ]
    if counts[UNKNOWN]:
        lines.append(f"  {counts[UNKNOWN]:>6} {UNKNOWN}: StructureMatcher gave up")
    confused = [pair for pair in judged if pair.verdict in (DISTORTED, DIFFERENT)]
    if confused:
        lines.append(
            f"  {'vectors':>9} {'cells':>9} {'rms':>6}  verdict    formula and names, nearest vectors first"
        )
    for pair in confused[:N_SHOWN]:
        a, b = crystals[pair.a], crystals[pair.b]
        lines.append(
            f"  {pair.descriptor_distance:>9.2e} {pair.cell_distance:>9.2e} {pair.match.rms:>6.3f}  "
            f"{pair.verdict:<9}  {a.formula} {a.id} {b.id}"
        )
    if len(confused) > N_SHOWN:
        lines.append(f"  and {len(confused) - N_SHOWN} more in {PAIRS}")
    return lines


def _describe_probes(settings: DegeneracySettings, probed: Sequence[tuple[Crystal, Softness]]) -> list[str]:
    if not probed:
        return ["no crystal probed"]
    softs = [soft for _, soft in probed]
    conditions = np.array([soft.condition for soft in softs])
    changes = np.array([soft.smallest_change for soft in softs])
    n_any = sum(soft.n_soft > 0 for soft in softs)
    worst, least = min(probed, key=lambda item: item[1].smallest_change)
    return [
        f"{len(probed)} crystals probed, rattled by {settings.rattle:g} Å, "
        f"{sum(soft.n_directions for soft in softs)} directions without translations:",
        f"  {sum(soft.n_flat for soft in softs):>6} flat: no change of the vector to first order",
        f"  {sum(soft.n_soft for soft in softs):>6} soft, in {n_any} crystals: {settings.displacement:g} Å (rms) "
        f"changes the vector by less than {settings.probe_tolerance:g}",
        f"  condition number: median {np.median(conditions):.3g}, largest {conditions.max():.3g}",
        f"  smallest change by {settings.displacement:g} Å: median {np.median(changes):.2e}, "
        f"least {least.smallest_change:.2e} ({worst.formula} {worst.id})",
    ]
