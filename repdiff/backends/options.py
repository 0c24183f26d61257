"""The options of a backend, built from what a user gives."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from descriptors.registry import unknown
from repdiff.errors import UserError
from repdiff.settings.compose import expanded
from repdiff.settings.leaves import leaves

M = TypeVar("M", bound=BaseModel)


def parse_options(model: type[M], options: BaseModel | Mapping[str, Any] | None) -> M:
    """Build the options of a backend; `a.b` names field b of the group a.

    Args:
        model: Such as `GemsDiffSampling`.
        options: Already built, by name, or None for the defaults.

    Raises:
        UserError: If a name is unknown or a value does not fit; the message says what would.
    """
    if isinstance(options, model):
        return options
    if isinstance(options, BaseModel):
        raise UserError(f"options are {type(options).__name__}, expected {model.__name__}")
    try:
        return model.model_validate(expanded(options or {}))
    except ValidationError as error:
        raise UserError(explain(error, model, "option")) from error


def explain(error: ValidationError, model: type[BaseModel], what: str) -> str:
    """Say in one line what is wrong with the first setting that does not fit a model."""
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        return unknown(what, where, [leaf.key for leaf in leaves(model)])
    if first["type"] == "value_error":
        return f"{what}s: {first['ctx']['error']}"
    return f"{what} {where} is {first['input']!r}: {first['msg']}"


@contextmanager
def loading(path: Path, backend: str) -> Generator[None, None, None]:
    """Say in one line that a file does not fit together, whatever its parts complain about.

    Raises:
        UserError: If the block fails for what is in the file.
    """
    try:
        yield
    except UserError:
        raise
    except (KeyError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: not a model of `repdiff train --backend {backend}` of this version; train it again ({reason})"
        ) from error
