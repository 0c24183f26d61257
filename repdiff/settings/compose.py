"""Complete the settings of a command by the options of a backend, and find the backend that a setting belongs to."""

from collections.abc import Mapping
from functools import cache
from typing import Any, TypeVar, cast

from pydantic import create_model

from repdiff.settings.backends import backend_names, backend_options
from repdiff.settings.base import Options, Settings
from repdiff.settings.leaves import leaves, nested_model

S = TypeVar("S", bound=Settings)
OLD_KEY = "backend_options"  # options of a backend were given under this key, as `a.b: 1`


@cache
def completed(model: type[S], backend: str) -> type[S]:
    """Return the settings of a verb together with those of a backend, as one flat model.

    Args:
        model: Such as `TrainSettings`; one that no backend completes is returned as it is.
        backend: Name of the backend.

    Raises:
        UserError: If there is no such backend.
    """
    if not (own := own_options(model, backend)):
        return model
    if twice := {name for part in own for name in part.model_fields} & set(model.model_fields):
        raise ValueError(
            f"{backend} and {model.__name__} both declare {sorted(twice)}, expected each name once"
        )
    made = create_model(
        model.__name__, __base__=(*own, model), __module__=model.__module__, __doc__=model.__doc__
    )
    return cast("type[S]", made)


def own_options(model: type[Settings], backend: str) -> list[type[Options]]:
    """List the models by which a backend completes the settings of a verb."""
    if model.completed_by is None:
        return []
    options = backend_options(backend)
    if model.completed_by == "training":
        return [options.training]
    asked = [options.conditions] if options.conditions and model.verb == "generate" else []
    return [*asked, options.sampling]


def owners(model: type[Settings], name: str) -> list[str]:
    """List the backends whose options have a setting, by its first name ("network") or its flag ("network-width")."""
    if model.completed_by is None:
        return []
    return [
        backend
        for backend in backend_names()
        for part in own_options(model, backend)
        if name in part.model_fields or name in {leaf.flag for leaf in leaves(part)}
    ]


def modernised(values: Mapping[str, Any], model: type[Settings], backend: str) -> dict[str, Any]:
    """Rewrite settings of the old form, with `backend_options`, as those of now; others are returned as they are.

    A nested group that the old form gave in part took the defaults of its own class for the rest, and still does.

    Args:
        values: Settings as a file gives them.
        model: Settings class of the command.
        backend: Name of the backend whose options were given.
    """
    if OLD_KEY not in values:
        return dict(values)
    found = {name: value for name, value in values.items() if name != OLD_KEY}
    own = own_options(model, backend)
    for owner, part in _once_common(model):
        for leaf in leaves(part):
            if owner != backend and leaf.key in found and found[leaf.key] == leaf.default:
                del found[leaf.key]
    fields = {name: field for part in own for name, field in part.model_fields.items()}
    for name, value in expanded(values[OLD_KEY] or {}).items():
        group = nested_model(fields[name]) if name in fields else None
        if group is not None and isinstance(value, Mapping):
            value = {**group().model_dump(), **value}
        found[name] = value
    return found


def _once_common(model: type[Settings]) -> list[tuple[str, type[Options]]]:
    """List options that every run had in the old form, whatever its backend, with whose they are now."""
    parts = [("structrepdiff", part) for part in own_options(model, "structrepdiff")]
    conditions = backend_options("mattergen").conditions
    return (
        [*parts, ("mattergen", conditions)] if conditions is not None and model.verb == "generate" else parts
    )


def expanded(values: Mapping[str, Any]) -> dict[str, Any]:
    """Turn dotted names into nested mappings: `{"a.b": 1}` into `{"a": {"b": 1}}`."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        *parents, last = str(name).split(".")
        place = found
        for parent in parents:
            place = place.setdefault(parent, {})
        if isinstance(value, Mapping) and isinstance(place.get(last), dict):
            place[last].update(value)
        else:
            place[last] = dict(value) if isinstance(value, Mapping) else value
    return found
