"""Settings of a backend, from the pairs that a user gives."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from descriptors.registry import unknown
from repdiff.errors import UserError

M = TypeVar("M", bound=BaseModel)


class NoOptions(BaseModel):
    """The options of a backend whose settings all have flags of their own."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def parse_options(model: type[M], options: Mapping[str, Any]) -> M:
    """Build the settings of a backend; `a.b` names field b of the settings a.

    Raises:
        UserError: If a name is unknown or a value does not fit; the message says what would.
    """
    if options and not model.model_fields:
        raise UserError(
            f"backend_options are {dict(options)}, expected none for structrepdiff: its settings are flags of "
            "`repdiff train` and `repdiff generate`"
        )
    nested: dict[str, Any] = {}
    for name, value in options.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    try:
        return model.model_validate(nested)
    except ValidationError as error:
        raise UserError(explain(error, model, "backend option")) from error


def explain(error: ValidationError, model: type[BaseModel], what: str) -> str:
    """Say in one line what is wrong with the first setting that does not fit a model."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return unknown(what, where, _names(model))
    return f"{what} {where} is {first['input']!r}: {first['msg']}"


@contextmanager
def loading(path: Path, backend: str) -> Generator[None, None, None]:
    """Say in one line that a file does not fit together, whatever its parts complain about.

    Raises:
        UserError: If the block fails for what is in the file.
    """
    try:
        yield
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a model of `repdiff train --backend {backend}` of this version; train it again ({reason})"
        ) from error


def _names(model: type[BaseModel], prefix: str = "") -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names += _names(kind, f"{prefix}{name}.")
        else:
            names.append(prefix + name)
    return names
