"""Tables and sentences about what a descriptor confuses."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import pyarrow as pa

from repdiff.crystals.crystal import Crystal
from repdiff.degeneracy.close_pairs import DIFFERENT, DISTORTED, DUPLICATE, UNKNOWN, Judged
from repdiff.degeneracy.sensitivity import Sensitivity
from repdiff.metrics.matching import Match
from repdiff.runs.parquet_files import read_own_table
from repdiff.settings import DegeneracySettings

PAIRS = "pairs.parquet"

N_SHOWN = 10


def pair_table(crystals: Sequence[Crystal], judged: Sequence[Judged]) -> "pa.Table":
    """Return the compared pairs, one row each: names, distances of the vectors, and the verdict."""
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


def read_matches(path: Path, crystals: Sequence[Crystal]) -> dict[tuple[int, int], Match]:
    """Read from a table of pairs what the matcher said, by the rows of both crystals.

    Args:
        path: Written from `pair_table`.
        crystals: Crystals now; names that are not unique among them, or not there, are left out.
    """
    counts = Counter(crystal.id for crystal in crystals)
    rows = {crystal.id: row for row, crystal in enumerate(crystals) if counts[crystal.id] == 1}
    return {
        (rows[pair["id_a"]], rows[pair["id_b"]]): Match(rms=pair["rms"], reason=pair["reason"])
        for pair in read_own_table(path).to_pylist()
        if {pair["id_a"], pair["id_b"]} <= rows.keys()
    }


def sensitivity_table(probed: Sequence[tuple[Crystal, Sensitivity]]) -> "pa.Table":
    """Return one row a probed crystal: how its vector answers to displacements."""
    import pyarrow as pa

    values = [asdict(soft) for _, soft in probed]
    columns = {
        "id": pa.array([crystal.id for crystal, _ in probed], pa.string()),
        "formula": pa.array([crystal.formula for crystal, _ in probed], pa.string()),
        "n_atoms": pa.array([crystal.n_atoms for crystal, _ in probed], pa.int64()),
    }
    for field in fields(Sensitivity):
        kind = pa.int64() if field.type is int else pa.float64()
        columns[field.name] = pa.array([row[field.name] for row in values], kind)
    return pa.table(columns)


def describe_pairs(
    crystals: Sequence[Crystal],
    settings: DegeneracySettings,
    n_pairs: int,
    judged: Sequence[Judged],
    n_left: int,
) -> list[str]:
    """Write what the comparison of pairs found, the most confusing pairs by name."""
    limits = f"vectors within {settings.tolerance:g}, cells within {settings.cell_tolerance:g}"
    if not n_pairs:
        return [f"no pair of the same formula with {limits}"]
    counts = Counter(pair.verdict for pair in judged)
    lines = [
        f"{n_pairs} pairs of the same formula with {limits}; {len(judged)} compared, duplicates only once"
        + (f"; {n_left} crystals NOT reached, raise `max_comparisons`" if n_left else ""),
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


def describe_probes(settings: DegeneracySettings, probed: Sequence[tuple[Crystal, Sensitivity]]) -> list[str]:
    """Write how many directions leave the vector unchanged."""
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
