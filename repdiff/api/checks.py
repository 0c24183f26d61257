"""Arguments that a notebook user may get wrong, refused in one line before anything is done."""

import functools
import inspect
import math
import types
from collections.abc import Callable
from typing import Any, Literal, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import numpy as np

from repdiff.errors import UserError
from repdiff.runs.atomic_files import disk_trouble
from repdiff.settings.base import MAX_SEED

P = ParamSpec("P")
R = TypeVar("R")
WORDS = {
    "int": "a whole number",
    "float": "a number",
    "bool": "True or False",
    "str": "text",
    "Path": "a path",
    "NoneType": "None",
    "Mapping": "a dict",
    "Sequence": "a list",
    "Collection": "a list",
    "EncodedSet": "what rd.encode returned",
    "RelaxedSet": "what rd.relax returned",
    "RepresentationBatch": "what Model.sample_representations returned",
}
"""How messages call a kind, by the name of its type; other kinds are called by that name."""
N_SHOWN = 40  # characters of a value in a message


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Hold the arguments of a function to its annotations, as a type checker would; numpy's numbers become Python's.

    A value of another kind, a number that is not finite, and what a disk refuses are UserErrors of one line. What a
    list or dict holds is not looked at, nor arguments that are annotated as `object`.
    """
    signature, hints = inspect.signature(function), functools.cache(get_type_hints)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        given = signature.bind(*args, **kwargs)
        for name, value in given.arguments.items():
            if signature.parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                given.arguments[name] = {key: _plain(one) for key, one in value.items()}
            else:
                given.arguments[name] = plain = _plain(value)
                _check(name, plain, hints(function).get(name, object))
        try:
            return function(*given.args, **given.kwargs)
        except OSError as error:
            if (trouble := disk_trouble(error)) is None:
                raise
            raise UserError(trouble) from error

    return call


def a_count(name: str, value: object, *, least: int = 1) -> int | None:
    """Return a number of things; None stays None.

    Raises:
        UserError: If it is no whole number, or too small.

    Example:
        >>> a_count("n", 0)
        Traceback (most recent call last):
        repdiff.errors.UserError: n is 0, expected a whole number of at least 1
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return value


def a_seed(value: int) -> int:
    """Return a seed.

    Raises:
        UserError: If it is negative, or too large for a generator of random numbers.
    """
    if not 0 <= value <= MAX_SEED:
        raise UserError(f"seed is {value}, expected a whole number from 0 to {MAX_SEED}")
    return value


def _plain(value: object) -> object:
    return value.item() if isinstance(value, np.generic) else value


def _check(name: str, value: object, annotation: object) -> None:
    kinds = get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)
    if any(_fits(value, kind) for kind in kinds):
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"{name} is {value}, expected a finite number")
        return
    *others, last = dict.fromkeys(_called(kind) for kind in kinds)
    wanted = f"{', '.join(others)} or {last}" if others else last
    raise UserError(f"{name} is {shown(value)}, expected {wanted}")


def _fits(value: object, kind: Any) -> bool:  # noqa: ANN401 (whatever stands in an annotation)
    if kind in (Any, object):
        return True
    if get_origin(kind) is Literal:
        return isinstance(value, tuple(type(choice) for choice in get_args(kind)))
    if kind in (int, float):
        return isinstance(value, (int, kind)) and not isinstance(value, bool)
    return isinstance(value, get_origin(kind) or (types.NoneType if kind is None else kind))


def _called(kind: Any) -> str:  # noqa: ANN401 (whatever stands in an annotation)
    if get_origin(kind) is Literal:
        return " or ".join(map(repr, get_args(kind)))
    name = (get_origin(kind) or kind).__name__
    return WORDS.get(name, name)


def shown(value: object) -> str:
    """Return a value as a message says it: by its type alone if it is long."""
    text = repr(value)
    return text if len(text) <= N_SHOWN and "\n" not in text else f"of the type {type(value).__name__}"
