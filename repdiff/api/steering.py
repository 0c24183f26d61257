"""What a notebook user steers samples by."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from repdiff.api.checks import shown
from repdiff.backends import Backend
from repdiff.backends.goals import read_goals
from repdiff.backends.property_head import Head
from repdiff.backends.steering import FunctionObjective, SteeringRequest, head_request
from repdiff.errors import UserError
from repdiff.representations.blocks import Blocks
from repdiff.settings.paths import home_expanded
from repdiff.settings.steering import SteeringSettings

OPTIONS = {"steer_strength": "strength", "caution": "caution", "candidates": "n_candidates"}
"""Options of steering, by the name that samples take them by."""
Steer = Mapping[str, object] | Callable[[Blocks], Tensor] | None
Heads = Head | str | Path | Sequence[Head | str | Path] | None


def steered(
    backend: Backend, steer: Steer, heads: Heads, options: Mapping[str, Any]
) -> tuple[Backend, SteeringRequest | None, dict[str, Any]]:
    """Steer a model, where that is asked for.

    Args:
        backend: The model.
        steer: Goals by property, or a function of blocks.
        heads: Those that predict the properties.
        options: All options of sampling.

    Returns:
        The model as it is to be used; what it is steered by; and the options that are not of steering.

    Raises:
        UserError: If goals, heads and model do not suit each other.
    """
    own = {name: value for name, value in options.items() if name in OPTIONS}
    others = {name: value for name, value in options.items() if name not in OPTIONS}
    if steer is None:
        given = [*own, *(["heads"] if heads is not None else [])]
        if given:
            raise UserError(f"{given[0]} is given, expected it with `steer` only, such as {{'gap': 1.5}}")
        return backend, None, others
    request = _request(steer, heads, own)
    return backend.steered(request), request, others


def _request(steer: Steer, heads: Heads, options: Mapping[str, Any]) -> SteeringRequest:
    chosen = {OPTIONS[name]: _checked(name, value) for name, value in options.items()}
    if isinstance(steer, Mapping):
        return head_request(read_goals(steer), read_heads(heads), **chosen)
    assert callable(steer)
    if heads is not None:
        raise UserError("heads are given, and `steer` is a function, which needs none: leave them out")
    if "caution" in chosen:
        raise UserError("caution is given, and `steer` is a function, which has no spread: leave it out")
    strength = chosen.pop("strength", 1.0)
    return SteeringRequest(objectives=[FunctionObjective(function=steer, strength=strength)], **chosen)


def _checked(name: str, value: object) -> Any:  # noqa: ANN401 (a whole number or any other)
    """Return an option of steering.

    Raises:
        UserError: If it does not fit.
    """
    whole, least = name == "candidates", 0 if name == "caution" else 1 if name == "candidates" else None
    kinds = int if whole else (int, float)
    fits = isinstance(value, kinds) and not isinstance(value, bool)
    if not fits or not (value > 0 if least is None else value >= least):
        expected = str(SteeringSettings.model_fields[name].description).partition(": ")[2]
        raise UserError(f"{name} is {shown(value)}, expected a {'whole ' if whole else ''}number: {expected}")
    return value


def read_heads(heads: Heads) -> list[Head]:
    """Read heads that are named by their paths.

    Raises:
        UserError: If there are none, or one cannot be read.
    """
    several = [heads] if isinstance(heads, Head | str | Path) else list(heads or ())
    if not several:
        raise UserError("`heads` is missing, expected what `rd.fit_head` or `rd.load_head` returned")
    for one in several:
        if not isinstance(one, Head | str | Path):
            raise UserError(
                f"`heads` has {shown(one)}, expected what `rd.fit_head` or `rd.load_head` returned"
            )
    return [one if isinstance(one, Head) else Head.load(Path(home_expanded(one))) for one in several]
