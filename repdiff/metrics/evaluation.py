"""Score crystals by the registered metrics, and write what they said: table, JSON, one row per structure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descriptors.registry import unknown
from repdiff.crystals.formula import safe_formula
from repdiff.crystals.views import count
from repdiff.errors import DamagedError, UserError
from repdiff.metrics import METRICS, Context, CrystalSet, Metric, MetricResult, MetricValue
from repdiff.metrics.evaluation_views import (
    aligned,
    evaluation_html,
    funnel_lines,
    show,
    show_interval,
    show_number,
    values_frame,
)
from repdiff.metrics.funnel import Stage
from repdiff.metrics.stored_columns import StoredColumn, stored
from repdiff.metrics.subsample import compute_metric
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.parquet_files import write_table
from repdiff.runs.provenance import versions
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SUMMARY, ROWS = "metrics.json", "per_structure.parquet"
ROWS_PER_GROUP = 65_536  # of the table: what is packed at once
N_NAMED = 5  # failures that the table names; the JSON has them all


@dataclass(frozen=True, kw_only=True, repr=False)
class Evaluation:
    """Everything that the metrics said about one set of crystals.

    Attributes:
        generated: The set.
        n_reference: Number of known crystals; None if there was no reference.
        n_training: Number of crystals that the model has seen; None if they were not named.
        results: Result of each family of metrics, by its name.
        skipped: Reason by metric, for those that could not be computed.
        baselines: What real crystals score, by the name of the comparison; see `repdiff.metrics.baselines`.
        seed: Seed of random subsets and intervals.
        notes: What the table must say about the data.
        refused: Rows of the sources of known crystals that could not be read, counted by reason, by role.
        compared: Name and number of crystals of each known set, by role.
        funnel: What was left after each stage, from drawing to the stable crystals; empty where no run tells.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> scores = rd.evaluate([bulk("Cu"), bulk("Fe")], metrics=["validity"], progress=False)
        >>> scores
        Evaluation: 2 crystals, 3 values of 1 metric
        >>> float(scores.to_frame().loc["validity.structure_valid", "value"])
        1.0
    """

    generated: CrystalSet
    n_reference: int | None
    n_training: int | None
    results: Mapping[str, MetricResult]
    skipped: Mapping[str, str]
    baselines: Mapping[str, "Evaluation"] = field(default_factory=dict)
    seed: int = 0
    notes: tuple[str, ...] = ()
    refused: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    compared: Mapping[str, tuple[str, int]] = field(default_factory=dict)
    funnel: tuple[Stage, ...] = ()

    def table(self) -> str:
        """Write the values for people: one line each, then the protocols, the skipped and the failed."""
        baselines = list(self.baselines)
        rows = [
            (
                "metric",
                "value",
                "95 % interval",
                *(f"baseline: {name}" for name in baselines),
                "n",
                "protocol",
            )
        ]
        rows += [
            (
                f"{family}.{name}",
                show(value),
                show_interval(value),
                *(
                    show(found) if (found := self._baseline(baseline, family, name)) else "-"
                    for baseline in baselines
                ),
                show_number(value),
                value.protocol,
            )
            for family, result in self.results.items()
            for name, value in result.values.items()
        ]
        lines = [*aligned(rows), *funnel_lines(self.funnel)]
        protocols = {
            name: text for result in self.results.values() for name, text in result.protocols.items()
        }
        if protocols:
            lines.append("")
        for name, constants in protocols.items():
            lines.append(f"{name}: " + ", ".join(f"{key} = {value}" for key, value in constants.items()))
        lines += [f"{role}: {name}, {n} crystals" for role, (name, n) in self.compared.items()]
        lines += [
            f"baseline: {name}: {len(baseline.generated)} real crystals against {baseline.n_reference}"
            for name, baseline in self.baselines.items()
        ]
        lines += [
            f"{family}.{name}: {'no value: ' if value.value is None else ''}{value.reason}"
            for family, result in self.results.items()
            for name, value in result.values.items()
            if value.reason
        ]
        lines += [f"note: {note}" for note in self.notes]
        lines += [
            f"note: {role}: {CrystalSet(crystals=(), refused=reasons).refusal}"
            for role, reasons in self.refused.items()
        ]
        lines += [f"{name}: not computed: {reason}" for name, reason in self.skipped.items()]
        return "\n".join([*lines, *self._name_failed()])

    def to_json(self) -> dict[str, object]:
        """Return everything but the per-structure table, made of what JSON knows."""
        return {
            "n_generated": len(self.generated),
            "n_reference": self.n_reference,
            "n_training": self.n_training,
            "compared": {role: {"name": name, "n": n} for role, (name, n) in self.compared.items()},
            "seed": self.seed,
            "failed": dict(self.generated.failed),
            "refused": {role: dict(reasons) for role, reasons in self.refused.items()},
            "metrics": {
                family: {
                    "description": METRICS[family].description,
                    "values": {
                        name: _value_to_json(value) | self._baselines_to_json(family, name)
                        for name, value in result.values.items()
                    },
                    "protocols": {name: dict(constants) for name, constants in result.protocols.items()},
                    "details": dict(result.details),
                    "columns": list(result.columns),
                }
                for family, result in self.results.items()
            },
            **({"funnel": [stage.to_json() for stage in self.funnel]} if self.funnel else {}),
            "skipped": dict(self.skipped),
            "baselines": {
                name: {
                    "n_generated": len(baseline.generated),
                    "n_reference": baseline.n_reference,
                    "skipped": dict(baseline.skipped),
                }
                for name, baseline in self.baselines.items()
            },
            "notes": list(self.notes),
            "versions": versions(),
        }

    def to_frame(self) -> "pd.DataFrame":
        """Put the values into a data frame by metric: value, 95 % interval, n, unit, protocol, baselines, reason."""
        return values_frame(self)

    def __repr__(self) -> str:
        """Say what was scored, and by how many metrics."""
        n_values = sum(len(result.values) for result in self.results.values())
        values, metrics = count(n_values, "value"), count(len(self.results), "metric")
        return f"Evaluation: {count(len(self.generated), 'crystal')}, {values} of {metrics}"

    def _repr_html_(self) -> str:
        """Show the values, what was skipped and what failed in a notebook."""
        return evaluation_html(self)

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
        return pa.table(
            {name: one.array if isinstance(one, StoredColumn) else one for name, one in columns.items()}
        )

    def write(self, folder: str | Path) -> list[Path]:
        """Write `per_structure.parquet` and `metrics.json`, each replaced as a whole.

        Raises:
            UserError: If the folder cannot be written.
        """
        folder = home_expanded(folder)
        summary, rows = folder / SUMMARY, folder / ROWS
        try:
            folder.mkdir(parents=True, exist_ok=True)
            write_table(rows, self.per_structure, rows_per_group=ROWS_PER_GROUP)
            write_json(summary, self.to_json())
        except OSError as error:
            raise UserError(
                f"{folder}: cannot write the metrics ({error.strerror or error}), expected a writable folder "
                "with room: choose another one"
            ) from error
        return [summary, rows]

    def _baseline(self, baseline: str, family: str, name: str) -> MetricValue | None:
        result = self.baselines[baseline].results.get(family)
        return result.values.get(name) if result else None

    def _baselines_to_json(self, family: str, name: str) -> dict[str, object]:
        found = {baseline: self._baseline(baseline, family, name) for baseline in self.baselines}
        values = {baseline: _value_to_json(value) for baseline, value in found.items() if value is not None}
        return {"baseline": values} if values else {}

    def _name_failed(self) -> Iterable[str]:
        failed = self.generated.failed
        if failed:
            yield f"{len(failed)} of {len(self.generated)} could not be made or read, and count as invalid:"
        yield from (f"  {name}: {reason}" for name, reason in list(failed.items())[:N_NAMED])
        if len(failed) > N_NAMED:
            yield f"  and {len(failed) - N_NAMED} more, all in {SUMMARY}"


def evaluate_crystals(
    generated: CrystalSet,
    context: Context | None = None,
    *,
    metrics: Sequence[str | Metric] | None = None,
    kept: Mapping[str, MetricResult] | None = None,
) -> Evaluation:
    """Score crystals by the registered metrics.

    Args:
        generated: The crystals, of any quality, and those that should exist and do not.
        context: What to compare with and how; without it only what needs nothing else is computed.
        metrics: Names, or metrics with settings of their own; None for all that are registered.
        kept: Results of the same crystals by family, which are taken over.

    Returns:
        The results. A metric that does not apply is listed as skipped with the reason; the others go on.

    Raises:
        UserError: If a metric is unknown, or one that was named lacks what it needs.
    """
    context = context or Context()
    results: dict[str, MetricResult] = {}
    skipped: dict[str, str] = {}
    for name, metric in choose_metrics(metrics).items():
        if kept and name in kept:
            results[name] = kept[name]
            continue
        if missing := context.missing(metric.needs):
            if metrics is not None:
                raise UserError(f"metric {name!r} {missing}")
            skipped[name] = missing
            continue
        try:
            result = compute_metric(metric, generated, context)
            results[name] = replace(result, columns=stored(result.columns))
        except UserError as error:
            skipped[name] = str(error)
    sets = _sets(generated, context)
    return Evaluation(
        generated=generated,
        n_reference=None if context.reference is None else len(context.reference),
        n_training=None if context.training is None else len(context.training),
        refused={role: one.refused for role, one in sets.items() if one.refused},
        compared={
            role: (one.name or "without a name", len(one.crystals))
            for role, one in sets.items()
            if role != "crystals"
        },
        results=results,
        skipped=skipped,
        seed=context.seed,
    )


def _sets(generated: CrystalSet, context: Context) -> dict[str, CrystalSet]:
    sets = {
        "crystals": generated,
        "reference": context.reference,
        "training": context.training,
        "novelty": context.known_set,
    }
    return {role: known for role, known in sets.items() if known is not None}


def choose_metrics(metrics: Sequence[str | Metric] | None) -> dict[str, Metric]:
    """Build the metrics that were asked for, by their registered names.

    Raises:
        UserError: If one is unknown, or no metric, or none is named.
    """
    if isinstance(metrics, str | Metric):
        metrics = [metrics]
    if metrics is not None and not metrics:
        raise UserError(f"no metric is named, expected some of {', '.join(METRICS)}")
    names = {METRICS[name]: name for name in METRICS}
    chosen: dict[str, Metric] = {}
    for metric in list(METRICS) if metrics is None else metrics:
        if isinstance(metric, str):
            if metric not in METRICS:
                raise UserError(unknown("metric", metric, METRICS))
            chosen[metric] = METRICS[metric]()
        elif type(metric) in names:
            chosen[names[type(metric)]] = metric
        else:
            raise UserError(
                f"metrics holds {metric!r}, expected names or registered metrics; known: {', '.join(METRICS)}"
            )
    return chosen


def _value_to_json(value: MetricValue) -> dict[str, object]:
    shown: dict[str, object] = {
        "value": value.value,
        "interval": None if value.interval is None else list(value.interval),
        "n": value.n,
        "protocol": value.protocol,
        "unit": value.unit,
    }
    if value.sizes is not None:
        shown |= dict(zip(("n_generated", "n_reference"), value.sizes, strict=True))
    return shown | ({"reason": value.reason} if value.reason else {})


def read_summary(folder: Path) -> dict[str, Any]:
    """Read the metrics that an evaluation wrote.

    Raises:
        UserError: If there are none or, as DamagedError, they are damaged.
    """
    found = read_json(folder / SUMMARY)
    if not isinstance(found, dict) or not isinstance(found.get("metrics"), dict):
        raise DamagedError(
            f"{folder / SUMMARY}: damaged, expected the metrics of an evaluation",
            "evaluate again with `overwrite`",
        )
    return found
