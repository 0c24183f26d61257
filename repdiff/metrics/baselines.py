"""What real crystals score under the same metrics: the value that a perfect generator would reach.

Real crystals do not score 100 %, nor is the distance between two draws of them zero. Two comparisons are made:

* `training`: as many training crystals as were generated (all if there are fewer), drawn at random, against
  the reference: what a model scores that repeats its training set.
* `halves`: one random half of the reference against the other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.metrics import Context, CrystalSet, Metric
from repdiff.metrics.evaluation import Evaluation, evaluate_crystals


def evaluate_set(
    crystals: CrystalSet,
    context: Context,
    *,
    metrics: Sequence[str | Metric] | None = None,
    baseline: bool = False,
    baseline_size: int | None = None,
    notes: Sequence[str] = (),
) -> Evaluation:
    """Score a set of crystals and, if asked, real crystals beside it.

    Args:
        crystals: The crystals, of any quality.
        context: What to compare with, and how.
        metrics: As for `evaluate_crystals`.
        baseline: Whether to score real crystals under the same metrics; see `compute_floors`.
        baseline_size: Number of real crystals; None takes as many as there are `crystals`.
        notes: What the table must say about the data, before the remarks of `crystals`.

    Raises:
        UserError: If a metric is unknown or lacks what it needs, or the baseline has no known crystals.
    """
    if baseline:
        need_reference(context)
    evaluation = replace(
        evaluate_crystals(crystals, context, metrics=metrics), notes=(*notes, *crystals.remarks)
    )
    if not baseline:
        return evaluation
    return replace(
        evaluation, floors=compute_floors(context, n=baseline_size or len(crystals), metrics=metrics)
    )


def need_reference(context: Context) -> CrystalSet:
    """Return the known crystals that real ones are compared with.

    Raises:
        UserError: If there are fewer than two.
    """
    if context.reference is None or len(context.reference.crystals) < 2:
        raise UserError("a floor needs at least 2 known crystals to compare: name them by --reference")
    return context.reference


def compute_floors(
    context: Context, *, n: int, metrics: Sequence[str | Metric] | None = None
) -> dict[str, Evaluation]:
    """Evaluate real crystals as if they had been generated.

    Args:
        context: Of the evaluation that the floors belong to.
        n: Number of training crystals to draw.
        metrics: As for `evaluate_crystals`; those that ask for relaxed or training crystals are left out.

    Returns:
        Evaluations by name: "training" if the context has a training set, and "halves".

    Raises:
        UserError: If there is no reference, or fewer than two crystals in it.
    """
    known = need_reference(context).crystals
    plain = replace(context, training=None, relaxed=None)
    usable = None
    if metrics is not None:
        usable = [name for name in metrics if isinstance(name, Metric) or _applies(name, plain)]
    rng = np.random.default_rng(context.seed)
    floors = {}
    if context.training is not None:
        drawn = CrystalSet(crystals=draw(context.training.crystals, n, rng))
        floors["training"] = evaluate_crystals(drawn, plain, metrics=usable)
    order = rng.permutation(len(known))
    one, other = ([known[i] for i in sorted(part)] for part in np.array_split(order, 2))
    floors["halves"] = evaluate_crystals(
        CrystalSet(crystals=one),
        replace(plain, reference=CrystalSet(crystals=other)),
        metrics=usable,
    )
    return floors


def draw(crystals: Sequence[Crystal], n: int, rng: np.random.Generator) -> list[Crystal]:
    """Choose `n` crystals at random, in their order; all of them if there are no more."""
    if n >= len(crystals):
        return list(crystals)
    return [crystals[i] for i in sorted(rng.choice(len(crystals), size=n, replace=False).tolist())]


def _applies(name: str, context: Context) -> bool:
    from repdiff.metrics import METRICS

    return name not in METRICS or context.missing(METRICS[name].needs) is None
