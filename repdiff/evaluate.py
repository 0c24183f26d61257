"""Score crystals from any source: run the metrics, show them as a table, as JSON and per structure."""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.registry import unknown
from repdiff.cores import n_cores
from repdiff.datasets.crystal import SPLITS, Crystal
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError
from repdiff.files import replacing, write_json
from repdiff.metrics import METRICS, EvaluationSet, Metric, MetricResult, MetricValue
from repdiff.metrics.formula import safe_formula
from repdiff.settings import EvaluateSettings
from repdiff.structure_files import FAILED, TABLE, read_structures
from repdiff.workspace import Workspace, plain_name

if TYPE_CHECKING:
    import pyarrow as pa

VERSIONS_OF = ("repdiff", "pymatgen", "smact", "numpy")
NEEDS_REFERENCE = "needs known crystals to compare with: name them by --reference"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Everything that the metrics said about one set of crystals.

    Attributes:
        generated: The set.
        n_reference: Number of known crystals; None if there was no reference.
        results: By metric.
        skipped: Reason by metric, for those that could not be computed.
    """

    generated: EvaluationSet
    n_reference: int | None
    results: Mapping[str, MetricResult]
    skipped: Mapping[str, str]

    def table(self) -> str:
        """Write the values for people: one line each, then the protocols, the skipped and the failed."""
        rows = [("metric", "value", "n", "protocol")]
        rows += [
            (f"{family}.{name}", _show(value), str(value.n), value.protocol)
            for family, result in self.results.items()
            for name, value in result.values.items()
        ]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [
            f"{row[0]:<{widths[0]}}  {row[1]:>{widths[1]}}  {row[2]:>{widths[2]}}  {row[3]}" for row in rows
        ]
        lines.insert(1, "-" * max(map(len, lines)))
        protocols = {
            name: text for result in self.results.values() for name, text in result.protocols.items()
        }
        if protocols:
            lines.append("")
        for name, constants in protocols.items():
            lines.append(f"{name}: " + ", ".join(f"{key} = {value}" for key, value in constants.items()))
        lines += [f"{name}: not computed: {reason}" for name, reason in self.skipped.items()]
        if self.generated.failed:
            lines.append(f"{len(self.generated.failed)} of {len(self.generated)} were not reconstructed")
        return "\n".join(lines)

    def to_json(self) -> dict[str, object]:
        """Return everything but the per-structure table, made of what JSON knows."""
        return {
            "n_generated": len(self.generated),
            "n_reference": self.n_reference,
            "failed": dict(self.generated.failed),
            "metrics": {
                family: {
                    "description": METRICS[family].description,
                    "values": {name: _value_to_json(value) for name, value in result.values.items()},
                    "protocols": {name: dict(constants) for name, constants in result.protocols.items()},
                    "details": dict(result.details),
                }
                for family, result in self.results.items()
            },
            "skipped": dict(self.skipped),
            "versions": {package: version(package) for package in VERSIONS_OF},
        }

    @property
    def per_structure(self) -> "pa.Table":
        """One row per structure, the failed last: index, id, formula, failure, columns of the metrics."""
        import pyarrow as pa

        failed = self.generated.failed
        columns: dict[str, Sequence[object]] = {
            "index": list(range(len(self.generated))),
            "id": self.generated.ids,
            "formula": [safe_formula(crystal) for crystal in self.generated.crystals] + [None] * len(failed),
            "failure": [None] * len(self.generated.crystals) + list(failed.values()),
        }
        for result in self.results.values():
            columns.update(result.columns)
        return pa.table(columns)

    def write(self, folder: Path) -> list[Path]:
        """Write `metrics.json` and `per_structure.parquet`, each replaced as a whole.

        Raises:
            UserError: If the folder cannot be written.
        """
        import pyarrow.parquet as pq

        summary, rows = folder / "metrics.json", folder / "per_structure.parquet"
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_json(summary, self.to_json())
            with replacing(rows) as partial:
                pq.write_table(self.per_structure, partial, compression="zstd")
        except OSError as error:
            raise UserError(
                f"{folder}: cannot write the metrics ({error.strerror or error}), expected a writable folder "
                "with room: choose another one"
            ) from error
        return [summary, rows]


def evaluate_crystals(
    generated: Sequence[Crystal],
    reference: Sequence[Crystal] | None = None,
    *,
    failed: Mapping[str, str] | None = None,
    metrics: Sequence[str | Metric] | None = None,
    progress: bool = True,
    n_workers: int = 1,
) -> Evaluation:
    """Score crystals by the registered metrics.

    Args:
        generated: The crystals; they may be of any quality.
        reference: Known crystals, for the metrics that compare.
        failed: Reason by name, of crystals that should exist and do not: they count as invalid and unmatched.
        metrics: Names, or metrics with settings of their own; None for all that are registered.
        progress: Show bars on stderr.
        n_workers: Processes for the metrics that take long.

    Returns:
        The results. A metric that does not apply is listed as skipped with the reason; the others go on.

    Raises:
        UserError: If a metric is unknown, or one that was named needs a reference and there is none.
    """
    known = None if reference is None else EvaluationSet(crystals=reference)
    crystals = EvaluationSet(crystals=generated, failed=failed or {})
    results: dict[str, MetricResult] = {}
    skipped: dict[str, str] = {}
    for name, metric in _choose(metrics).items():
        if metric.needs_reference and known is None:
            if metrics is not None:
                raise UserError(f"metric {name!r} {NEEDS_REFERENCE}")
            skipped[name] = NEEDS_REFERENCE
            continue
        try:
            results[name] = metric.compute(crystals, known, progress=progress, n_workers=n_workers)
        except UserError as error:
            skipped[name] = str(error)
    return Evaluation(
        generated=crystals,
        n_reference=None if reference is None else len(reference),
        results=results,
        skipped=skipped,
    )


def run_evaluate(settings: EvaluateSettings, workspace: Workspace) -> Path:
    """Judge structures, print the table to stdout, and write `metrics.json` and `per_structure.parquet`.

    Returns:
        The run's folder.

    Raises:
        UserError: If there are no structures, or the reference cannot be read.
    """
    path = workspace.find("reconstruct", settings.structures)
    settings = settings.model_copy(update={"structures": path})
    label = f"{path.name}-vs-{settings.reference}" if settings.reference else path.name
    with workspace.run(settings, plain_name(label), inputs={"structures": path}) as run:
        if run.state != "finished":
            crystals, failed = read_for_evaluation(path)
            reference = None
            if settings.reference is not None:
                reference = read_reference(settings.reference, settings.data_dir, workspace)
            evaluation = evaluate_crystals(
                crystals,
                reference,
                failed=failed,
                metrics=settings.only,
                n_workers=settings.n_workers or n_cores(),
            )
            evaluation.write(run.path)
            (run.path / "table.txt").write_text(evaluation.table() + "\n", encoding="utf-8")
            run.summary.update(
                {
                    f"{family}.{name}": value.value
                    for family, result in evaluation.results.items()
                    for name, value in result.values.items()
                }
            )
    sys.stdout.write((run.path / "table.txt").read_text(encoding="utf-8") + "\n")
    return run.path


def read_for_evaluation(path: Path) -> tuple[list[Crystal], dict[str, str]]:
    """Read crystals from a reconstruction or any readable path, and the reason of each that is missing."""
    if path.is_dir() and (path / TABLE).is_file():
        failed = {}
        if (path / FAILED).is_file():
            entries = map(json.loads, (path / FAILED).read_text(encoding="utf-8").splitlines())
            failed = {entry["id"]: entry["reason"] for entry in entries}
        return read_structures(path), failed
    dataset = load_dataset(str(path), data_dir=None)
    return dataset.crystals, {entry.id or f"row {entry.row}": entry.reason for entry in dataset.rejected}


def read_reference(name: str, data_dir: Path | None, workspace: Workspace) -> list[Crystal]:
    """Read known crystals from a data set or path, all of it or the split named behind a colon.

    Raises:
        UserError: If it cannot be read, or has no crystal in that split.
    """
    source, _, split = name.rpartition(":")
    if split not in SPLITS or not source:
        source, split = name, ""
    dataset = load_dataset(source, data_dir=data_dir, downloads=workspace.data_dir)
    chosen = [crystal for crystal in dataset.crystals if split in ("", crystal.split)]
    if not chosen:
        raise UserError(f"{source} has no crystal in split {split!r}, expected one of {', '.join(SPLITS)}")
    return chosen


def _choose(metrics: Sequence[str | Metric] | None) -> dict[str, Metric]:
    """Build the metrics that were asked for, by their registered names."""
    names = {METRICS[name]: name for name in METRICS}
    chosen: dict[str, Metric] = {}
    for metric in list(METRICS) if metrics is None else metrics:
        if isinstance(metric, str):
            if metric not in METRICS:
                raise UserError(unknown("metric", metric, METRICS))
            chosen[metric] = METRICS[metric]()
        else:
            chosen[names[type(metric)]] = metric
    return chosen


def _show(value: MetricValue) -> str:
    if value.value is None:
        return f"- ({value.reason})"
    if value.unit == "fraction":
        return f"{100 * value.value:.2f} %"
    return f"{value.value:.4g} {value.unit}".rstrip()


def _value_to_json(value: MetricValue) -> dict[str, object]:
    shown: dict[str, object] = {
        "value": value.value,
        "n": value.n,
        "protocol": value.protocol,
        "unit": value.unit,
    }
    return shown | ({"reason": value.reason} if value.reason else {})
