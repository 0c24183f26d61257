"""What real crystals score by the same metrics: nobody can judge a value without it.

Two are offered beside the values of an evaluation. Many metrics depend on how many crystals there are, so the first has
as many as were generated.

* `training`: as many random training crystals against the reference: what a model scores that repeats its training set.
  Without a training set `reference` stands for it: as many random reference crystals, half of them at most, against the
  others.
* `halves`: one random half of the reference against the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.splits import draw_rows
from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet, Metric, MetricResult
from repdiff.metrics.evaluation import Evaluation, evaluate_crystals
from repdiff.metrics.kept import Kept
from repdiff.metrics.subsample import sample_notes


def evaluate_set(
    crystals: CrystalSet,
    context: Context,
    *,
    metrics: Sequence[str | Metric] | None = None,
    baseline: bool | None = False,
    baseline_size: int | None = None,
    halves: bool = False,
    notes: Sequence[str] = (),
    kept: Kept | None = None,
) -> Evaluation:
    """Score a set of crystals and, if asked, real crystals beside it.

    Args:
        crystals: The crystals, of any quality.
        context: What to compare with, and how.
        metrics: Metrics to compute, see `evaluate_crystals`.
        baseline: Whether to score real crystals under the same metrics, see `compute_baselines`; None does where there
            are at least two known crystals to compare with.
        baseline_size: Number of real crystals; None takes as many as there are `crystals`.
        halves: Whether the baseline compares two halves of the reference too.
        notes: What the table must say about the data, before the remarks of `crystals`.
        kept: What an earlier evaluation of the same crystals found, and need not be computed again.

    Raises:
        UserError: If a metric is unknown or lacks what it needs, or the baseline has no known crystals.
    """
    if baseline is None:
        baseline = context.reference is not None and len(context.reference.crystals) > 1
    if baseline:
        need_reference(context)
    kept = kept or Kept()
    evaluation = evaluate_crystals(crystals, context, metrics=metrics, kept=kept.results)
    sampled = sample_notes({family: result.details for family, result in evaluation.results.items()})
    evaluation = replace(evaluation, notes=(*notes, *crystals.remarks, *sampled))
    if not baseline:
        return evaluation
    n = baseline_size or len(crystals)
    baselines = compute_baselines(context, n=n, metrics=metrics, halves=halves, kept=kept.baselines)
    return replace(evaluation, baselines=baselines)


def need_reference(context: Context) -> CrystalSet:
    """Return the known crystals that real ones are compared with.

    Raises:
        UserError: If there are fewer than two.
    """
    if context.reference is None or len(context.reference.crystals) < 2:
        raise UserError("a baseline needs at least 2 known crystals to compare: name them by `reference`")
    return context.reference


def compute_baselines(
    context: Context,
    *,
    n: int,
    metrics: Sequence[str | Metric] | None = None,
    halves: bool = False,
    kept: Mapping[str, Mapping[str, MetricResult]] | None = None,
) -> dict[str, Evaluation]:
    """Evaluate real crystals as if they had been generated.

    Args:
        context: Context of the evaluation that the baselines belong to.
        n: Number of crystals to draw, as many as were generated.
        metrics: Metrics to compute, see `evaluate_crystals`; those that need relaxed or training crystals are left out.
        halves: Whether to compare two halves of the reference too.
        kept: Results that are taken over, by the name of the comparison and by family.

    Returns:
        Evaluations by name: "training", or "reference" if the context has no training set; and "halves". None where no
        metric can be computed of real crystals.

    Raises:
        UserError: If there is no reference, or fewer than two crystals in it.
    """
    known = need_reference(context).crystals
    plain = replace(context, training=None, relaxed=None)
    usable = None
    if metrics is not None:
        usable = [name for name in metrics if isinstance(name, Metric) or _applies(name, plain)]
        if metrics and not usable:
            return {}
    rng, known_results = np.random.default_rng(context.seed), kept or {}
    baselines = {}
    if context.training is not None:
        training = context.training.crystals
        drawn = CrystalSet(crystals=[training[row] for row in draw_rows(len(training), n, rng)])
        found = known_results.get("training")
        baselines["training"] = evaluate_crystals(drawn, plain, metrics=usable, kept=found)
    else:
        rows = min(n, len(known) // 2), rng
        baselines["reference"] = _against_the_rest(
            known, *rows, plain, usable, known_results.get("reference")
        )
    if halves:
        rows = (len(known) + 1) // 2, rng
        baselines["halves"] = _against_the_rest(known, *rows, plain, usable, known_results.get("halves"))
    return baselines


def _against_the_rest(
    crystals: Sequence[Crystal],
    n: int,
    rng: np.random.Generator,
    context: Context,
    metrics: Sequence[str | Metric] | None,
    kept: Mapping[str, MetricResult] | None,
) -> Evaluation:
    """Evaluate `n` random crystals of a set against all its others."""
    order = rng.permutation(len(crystals))
    one, other = ([crystals[i] for i in sorted(part.tolist())] for part in (order[:n], order[n:]))
    return evaluate_crystals(
        CrystalSet(crystals=one),
        replace(context, reference=CrystalSet(crystals=other)),
        metrics=metrics,
        kept=kept,
    )


def _applies(name: str, context: Context) -> bool:
    from repdiff.metrics import METRICS

    return name not in METRICS or context.missing(METRICS[name].needs) is None
