"""Labels of crystals as conditions: which properties there are to learn, and what a user asks of them."""

import logging
import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from descriptors.registry import unknown
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.symmetry import space_groups
from repdiff.errors import UserError
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_embedding import PROPERTY_KINDS, PropertyEmbedding, class_name

CHEMICAL_SYSTEM, SPACE_GROUP = "chemical_system", "space_group"
COMPUTED = (CHEMICAL_SYSTEM, SPACE_GROUP)
"""Properties that need no labels."""

MAX_NAMES = 12  # of labels in a message
MAX_CLASSES = 200
log = logging.getLogger(__name__)


def property_kind(name: str, known: Sequence[object]) -> str:
    """Return the kind of a property: texts, and true and false, are classes; what is computed has its own.

    Args:
        name: Name of the property.
        known: Its known labels.
    """
    if name in COMPUTED:
        return name
    return "class" if all(isinstance(label, str | bool) for label in known) else "scalar"


def labels_of(name: str, crystals: Sequence[Crystal], *, offered: Sequence[str] = ()) -> list[object]:
    """Return the label of each crystal, None where there is none or it is NaN.

    The chemical system is that of the atoms. The space group is found at 0.1 Å unless there is a label of that name, or
    `spacegroup`.

    Args:
        name: Name of the property.
        crystals: The crystals.
        offered: What else than labels may be asked for, for the message.

    Raises:
        UserError: If no crystal has such a label.
    """
    if name == CHEMICAL_SYSTEM:
        return [frozenset(crystal.atomic_numbers.tolist()) for crystal in crystals]
    known = {label for crystal in crystals for label in crystal.labels}
    if name == SPACE_GROUP and not known & {SPACE_GROUP, "spacegroup"}:
        return list(space_groups(crystals, progress=True))
    if name == SPACE_GROUP and name not in known:
        return labels_of("spacegroup", crystals)
    if name not in known:
        numeric = sorted(
            {label for crystal in crystals for label, value in crystal.labels.items() if _is_number(value)}
        )
        more = ", ..." if len(numeric) > MAX_NAMES else ""
        message = unknown("property", name, [*numeric[:MAX_NAMES], *offered])
        raise UserError(f"{message}{more and f' (and {len(numeric) - MAX_NAMES} more)'}")
    return [_without_nan(crystal.labels.get(name)) for crystal in crystals]


def known_labels(name: str, labels: Sequence[object]) -> list[object]:
    """Return the labels that are known.

    Raises:
        UserError: If fewer than two different ones are.
    """
    known = [label for label in labels if label is not None]
    if not known:
        raise UserError(f"no training crystal has a label {name}, expected two or more that have")
    if len(set(known)) < 2:
        value = _shown(known[0])
        raise UserError(
            f"{name} is {value} for all {len(known)} labelled training crystals: "
            "there is nothing to learn from a constant, name another property"
        )
    return known


def as_numbers(name: str, known: Sequence[object]) -> Float[np.ndarray, " n_known"]:
    """Return labels as numbers.

    Raises:
        UserError: If one is no finite number.
    """
    numbers = [label for label in known if _is_number(label)]
    if len(numbers) < len(known):
        wrong = next(label for label in known if not _is_number(label))
        raise UserError(f"{name} is {wrong!r} for a crystal, expected finite numbers")
    return np.array(numbers, dtype=np.float64)


def fit_property(name: str, labels: Sequence[object], elements: Collection[int]) -> PropertyEmbedding:
    """Build what turns the labels of a property into vectors, with the global generator for its weights.

    Args:
        name: Name of the property.
        labels: Labels of the training crystals; None where unknown.
        elements: Atomic numbers of the model.

    Raises:
        UserError: If a label cannot be read, or fewer than two different ones are known.
    """
    known = known_labels(name, labels)
    kind = property_kind(name, known)
    match kind:
        case "scalar":
            values = as_numbers(name, known)
            options: dict[str, Any] = {"mean": float(values.mean()), "std": float(values.std())}
            options |= {"low": float(values.min()), "high": float(values.max())}
        case "class":
            options = {"classes": _classes(name, known)}
        case "chemical_system":
            options = {"elements": list(elements)}
        case _:
            options = {}
    return PROPERTY_KINDS[kind](**options)


def as_input(name: str, labels: Sequence[object], embedding: PropertyEmbedding) -> AdapterInput:
    """Put labels into raw numbers; None becomes zeros without a label.

    Raises:
        UserError: If a label cannot be read.
    """
    zeros = [0.0] * embedding.n_raw
    rows = [zeros if label is None else _read(name, label, embedding) for label in labels]
    return AdapterInput(
        values=torch.tensor(rows, dtype=torch.float32).reshape(len(rows), embedding.n_raw),
        has_label=torch.tensor([label is not None for label in labels], dtype=torch.bool),
    )


def label_inputs(
    embeddings: Mapping[str, PropertyEmbedding], fresh: Collection[str], crystals: Sequence[Crystal]
) -> dict[str, AdapterInput]:
    """Read the labels of new properties, and of earlier ones where the crystals have them.

    Args:
        embeddings: All properties of the model, by name.
        fresh: Those that are new; crystals without such a label are as not given.
        crystals: May be empty.

    Raises:
        UserError: If a label cannot be read.
    """
    found = {}
    for name, embedding in embeddings.items():
        there = name in COMPUTED or any(name in crystal.labels for crystal in crystals)
        if there or name in fresh:
            column = labels_of(name, crystals) if there and crystals else [None] * len(crystals)
            found[name] = as_input(name, column, embedding)
    return found


def fresh_properties(
    names: Sequence[str],
    crystals: Sequence[Crystal],
    elements: Collection[int],
    *,
    seed: int,
    offered: Sequence[str] = (),
) -> dict[str, PropertyEmbedding]:
    """Build embeddings for the labels of training crystals, and say on the log how many have none.

    Args:
        names: The properties.
        crystals: The training crystals.
        elements: Atomic numbers of the model.
        seed: Seed of the weights.
        offered: What else than labels may be learnt, for messages.

    Raises:
        UserError: If labels are missing, constant or unreadable.
    """
    columns = {name: labels_of(name, crystals, offered=offered) for name in names}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = {name: fit_property(name, labels, elements) for name, labels in columns.items()}
    for name, labels in columns.items():
        count_unlabelled(name, labels)
    return fresh


def count_unlabelled(name: str, labels: Sequence[object]) -> int:
    """Say on the log how many crystals have no label, and return the number."""
    n_missing = sum(label is None for label in labels)
    if n_missing:
        log.warning(
            "%d of %d training crystals have no label %s, or NaN: they are used unconditionally",
            n_missing,
            len(labels),
            name,
        )
    return n_missing


def read_condition(name: str, value: object, embedding: PropertyEmbedding) -> list[float]:
    """Return the raw numbers of what a user asks for.

    Raises:
        UserError: If it cannot be read.
    """
    return _read(f"`conditions` {name}", value, embedding)


def _read(name: str, label: object, embedding: PropertyEmbedding) -> list[float]:
    try:
        return embedding.read(label)
    except ValueError as error:
        raise UserError(f"{name} is {_shown(label)}, {error}") from error


def _classes(name: str, known: Sequence[object]) -> list[str]:
    """Return the different labels, sorted.

    Raises:
        UserError: If there are more than could be learnt.
    """
    classes = sorted({class_name(label) for label in known})
    if len(classes) > MAX_CLASSES:
        raise UserError(
            f"{name} has {len(classes)} different texts among {len(known)} training crystals, such as "
            f"{classes[0]!r}, expected numbers, or at most {MAX_CLASSES} classes"
        )
    return classes


def _is_number(label: object) -> bool:
    return isinstance(label, int | float) and not isinstance(label, bool) and math.isfinite(label)


def _without_nan(label: object) -> object:
    return None if isinstance(label, float) and math.isnan(label) else label


def _shown(label: object) -> str:
    return "-".join(map(str, sorted(label))) if isinstance(label, frozenset) else repr(label)
