"""Metrics of large sets by a random sample of them, where all crystals would take days or all pairs make no sense."""

from collections.abc import Iterator, Mapping

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.sources import choose
from repdiff.datasets.splits import draw_rows
from repdiff.metrics.base import CellValue, Context, Metric, MetricResult

KEY = "subsample"  # of the details of a result


def compute_metric(metric: Metric, generated: CrystalSet, context: Context) -> MetricResult:
    """Compute a metric of a set, or of a random sample of it where the metric asks for one and the set is larger.

    The sample is the same for all metrics. Columns have None for the others, and the details say how many there are.

    Raises:
        UserError: If the metric does.
    """
    n, most = len(generated), context.subsample
    if not most or n <= most or not metric.samples(generated, context):
        return metric.compute(generated, context)
    rows = draw_rows(n, most, context.seed)
    result = metric.compute(choose(generated, most, context.seed), context)
    columns: dict[str, list[CellValue]] = {}
    for name, values in result.columns.items():
        columns[name] = [None] * n
        for row, value in zip(rows, values, strict=True):
            columns[name][row] = value
    details = {**result.details, KEY: {"n": most, "of": n}}
    return MetricResult(values=result.values, protocols=result.protocols, columns=columns, details=details)


def sample_notes(details: Mapping[str, Mapping[str, object]]) -> Iterator[str]:
    """Say which families of metrics are of a sample, and of how many.

    Args:
        details: Details of each result, by family.

    Example:
        >>> list(sample_notes({"validity": {}, "coverage": {"subsample": {"n": 10, "of": 30}}}))
        ['coverage: of 10 structures drawn at random from 30 (`subsample`)']
    """
    families: dict[tuple[int, int], list[str]] = {}
    for family, found in details.items():
        if isinstance(sample := found.get(KEY), Mapping):
            families.setdefault((sample["n"], sample["of"]), []).append(family)
    for (n, of), names in families.items():
        yield f"{', '.join(names)}: of {n} structures drawn at random from {of} (`subsample`)"
