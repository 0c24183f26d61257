"""What a user asks, against what a model honours: refused, or handed on with how it will be honoured."""

import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.base import Backend
from repdiff.backends.refusals import refuse_conditions
from repdiff.backends.requested_compositions import CompositionRequest
from repdiff.conditions import Asked, HeldPart, How, honoured, typed
from repdiff.conditions.kinds import Condition, Interval, Learnt
from repdiff.crystals.formula import Composition

log = logging.getLogger(__name__)


def read_asked(
    backend: Backend, name: str, values: Mapping[str, Any], wanted: CompositionRequest | None
) -> Asked:
    """Read what is asked of a model.

    Args:
        backend: The model.
        name: Name of its system.
        values: Conditions by name, as text or plain values.
        wanted: Formulas or protostructures that samples take in turn; None for none.

    Raises:
        UserError: If a value cannot be read, or the system honours no such condition.
    """
    declared, own = honoured(type(backend).conditions), backend.honours()
    conditions = typed(values, learnt=backend.taught)
    refuse_conditions(name, _refused(type(backend), conditions, declared), None)
    how = {
        key: How.HELD
        if isinstance(one, HeldPart)
        else How.SOFTLY
        if isinstance(one, Learnt)
        else own.get(key, declared[key])
        for key, one in conditions.items()
    }
    formulas = () if wanted is None or wanted.protostructures is not None else tuple(wanted.compositions)
    for one in conditions.values():
        _warn_of_range(backend, one)
    return Asked(conditions=conditions, how=how, compositions=formulas)


def own_conditions(
    name: str,
    backend: type[Backend],
    conditions: Mapping[str, Any] | None,
    *,
    taught: Collection[str] = (),
    compositions: Sequence[Composition] | None = None,
    protostructures: Sequence[Protostructure] | None = None,
) -> dict[str, Condition]:
    """Read what a system itself has to see to.

    Args:
        name: Name of the system.
        backend: Its class.
        conditions: What is asked of all samples, by name.
        taught: Labels that the model was taught.
        compositions: One for each sample.
        protostructures: One for each sample.

    Raises:
        UserError: If the system does not honour one, or nothing can obey.
    """
    asked = typed(conditions or {}, learnt=taught)
    declared = honoured(backend.conditions)
    own = {key for key, how in declared.items() if how is not How.SELECTED}
    refuse_conditions(name, _refused(backend, asked, own), None)
    Asked(conditions=asked).check(compositions=compositions, protostructures=protostructures)
    return asked


def _refused(
    backend: type[Backend], asked: Mapping[str, Condition], honoured_ones: Collection[str]
) -> dict[str, Condition]:
    """Return what a system does not honour of what is asked."""
    taught = "properties" in backend.conditions
    return {
        key: one
        for key, one in asked.items()
        if key not in honoured_ones
        and not (isinstance(one, Learnt) and taught)
        and not (isinstance(one, HeldPart) and backend.holds)
    }


def _warn_of_range(backend: Backend, condition: Condition) -> None:
    """Warn of a value that no training crystal has."""
    low = high = None
    if isinstance(condition, Interval):
        low, high = condition.low, condition.high
    elif isinstance(condition, Learnt) and isinstance(condition.value, int | float):
        low = high = float(condition.value)
    known = backend.data_range(condition.name)
    if low is None or high is None or known is None or (low <= known[1] and known[0] <= high):
        return
    log.warning(
        "%s is asked to be %s, and the training data lie about %.4g to %.4g: few samples or none will have it",
        condition.name, condition.text, *known,
    )  # fmt: skip
