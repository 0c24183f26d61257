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
from repdiff.metrics import Context, EvaluationSet, Metric
from repdiff.metrics.evaluation import Evaluation, evaluate_crystals


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
    if context.reference is None or len(context.reference.crystals) < 2:
        raise UserError("a floor needs at least 2 known crystals to compare: name them by `reference`")
    plain = replace(context, training=None, relaxed=None)
    usable = None
    if metrics is not None:
        usable = [name for name in metrics if isinstance(name, Metric) or _applies(name, plain)]
    rng = np.random.default_rng(context.seed)
    floors = {}
    if context.training is not None:
        drawn = EvaluationSet(crystals=draw(context.training.crystals, n, rng))
        floors["training"] = evaluate_crystals(drawn, plain, metrics=usable)
    known = context.reference.crystals
    order = rng.permutation(len(known))
    one, other = ([known[i] for i in sorted(part)] for part in np.array_split(order, 2))
    floors["halves"] = evaluate_crystals(
        EvaluationSet(crystals=one),
        replace(plain, reference=EvaluationSet(crystals=other)),
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
