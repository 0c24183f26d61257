"""`repdiff degeneracy`: which crystals does a descriptor not tell apart?

Two looks. *Pairs*: crystals of a data set with the same formula and nearly the same cell, both of which the
reconstruction is given, whose descriptors differ by less than a tolerance, though they are not the same crystal. A
data set holds few such neighbours, so the second look is the more telling: *probes* of random crystals, whether
their atoms can be moved without changing the vector.
"""

import logging
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

from repdiff.datasets.load import load_dataset
from repdiff.datasets.sources import crystals_of_split
from repdiff.degeneracy.close_pairs import (
    DIFFERENT,
    DISTORTED,
    DUPLICATE,
    UNKNOWN,
    ClosePairs,
    find_close_pairs,
    group_by_formula,
    judge_pairs,
)
from repdiff.degeneracy.sensitivity import probe_crystals
from repdiff.degeneracy.tables import (
    PAIRS,
    describe_pairs,
    describe_probes,
    pair_table,
    read_matches,
    sensitivity_table,
)
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import named_descriptor
from repdiff.runs.atomic_files import replacing
from repdiff.runs.manifest import Input
from repdiff.runs.parquet_files import write_table
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import DegeneracySettings
from repdiff.settings.flags import with_flags

SOFT, SUMMARY = "soft.parquet", "summary.txt"
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
            chosen = crystals_of_split(dataset, settings.split, n=settings.n, seed=settings.seed)
            encoded = encode_dataset(
                replace(dataset, crystals=chosen, rejected=[]),
                settings.descriptor,
                niggli=settings.niggli,
                device=device,
            )
            if rejected := encoded.rejected:
                log.warning("%d crystals left out; the first: %s", len(rejected), rejected[0].reason)
            pairs = _close_pairs(encoded, settings)
            judged, n_left = judge_pairs(
                encoded.crystals,
                pairs,
                same_rms=settings.same_rms,
                max_comparisons=settings.max_comparisons,
                known=read_matches(run.path / PAIRS, encoded.crystals) if run.state == "extended" else None,
            )
            probed = probe_crystals(encoded.crystals, descriptor, settings)
            write_table(run.path / PAIRS, pair_table(encoded.crystals, judged))
            write_table(run.path / SOFT, sensitivity_table(probed))
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
                *describe_pairs(encoded.crystals, settings, len(pairs.rows), judged, n_left),
                *describe_probes(settings, probed),
            ]
            with replacing(run.path / SUMMARY) as partial:
                partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
    sys.stdout.write(with_flags((run.path / SUMMARY).read_text(encoding="utf-8"), settings.verb))
    return run.path


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
