"""What real crystals score by the same metrics: nobody can judge a value without it.

Two are offered beside the values of an evaluation. Many metrics depend on how many crystals there are, so the first has
as many as were generated.

* `training`: as many random training crystals against the reference: what a model scores that repeats its training set.
  Without a training set `reference` stands for it: as many random reference crystals, half of them at most, against the
  others.
* `halves`: one random half of the reference against the other.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.metrics import Context, EvaluationSet, Metric
from repdiff.metrics.evaluation import Evaluation, evaluate_crystals


def compute_floors(
    context: Context,
    *,
    n: int,
    metrics: Sequence[str | Metric] | None = None,
    halves: bool = False,
) -> dict[str, Evaluation]:
    """Evaluate real crystals as if they had been generated.

    Args:
        context: Of the evaluation that the floors belong to.
        n: Number of crystals to draw, as many as were generated.
        metrics: As for `evaluate_crystals`; those that ask for relaxed or training crystals are left out.
        halves: Whether to compare two halves of the reference too.

    Returns:
        Evaluations by name: "training", or "reference" if the context has no training set; and "halves".

    Raises:
        UserError: If there is no reference, or fewer than two crystals in it.
    """
    if context.reference is None or len(context.reference.crystals) < 2:
        raise UserError("a floor needs at least 2 known crystals to compare: name them by --reference")
    plain = replace(context, training=None, relaxed=None)
    usable = None
    if metrics is not None:
        usable = [name for name in metrics if isinstance(name, Metric) or _applies(name, plain)]
    rng = np.random.default_rng(context.seed)
    floors = {}
    known = context.reference.crystals
    if context.training is not None:
        drawn = EvaluationSet(crystals=draw(context.training.crystals, n, rng))
        floors["training"] = evaluate_crystals(drawn, plain, metrics=usable)
    else:
        floors["reference"] = _against_the_rest(known, min(n, len(known) // 2), plain, usable, rng)
    if halves:
        floors["halves"] = _against_the_rest(known, (len(known) + 1) // 2, plain, usable, rng)
    return floors


def _against_the_rest(
    crystals: Sequence[Crystal],
    n: int,
    context: Context,
    metrics: Sequence[str | Metric] | None,
    rng: np.random.Generator,
) -> Evaluation:
    """Evaluate `n` random crystals of a set against all its others."""
    order = rng.permutation(len(crystals))
    one, other = ([crystals[i] for i in sorted(part.tolist())] for part in (order[:n], order[n:]))
    return evaluate_crystals(
        EvaluationSet(crystals=one),
        replace(context, reference=EvaluationSet(crystals=other)),
        metrics=metrics,
    )


def draw(crystals: Sequence[Crystal], n: int, rng: np.random.Generator) -> list[Crystal]:
    """Choose `n` crystals at random, in their order; all of them if there are no more."""
    if n >= len(crystals):
        return list(crystals)
    return [crystals[i] for i in sorted(rng.choice(len(crystals), size=n, replace=False).tolist())]


def _applies(name: str, context: Context) -> bool:
    from repdiff.metrics import METRICS

    return name not in METRICS or context.missing(METRICS[name].needs) is None
