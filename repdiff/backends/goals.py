"""Goals of properties as a user writes them: a value, a value with a tolerance, as much or as little as possible."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from repdiff.conditions.grammar import AROUND
from repdiff.errors import UserError

EXPECTED = "a number such as 1.5, 1.5±0.1 or 1.5+-0.1, or max or min"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What is wanted of a property.

    Attributes:
        name: Name of the property.
        value: The value that it shall have, or "max" or "min".
        tolerance: Standard deviation about the value that is as good; None for a tenth of that of the training labels.
    """

    name: str
    value: float | Literal["max", "min"]
    tolerance: float | None = None

    @property
    def text(self) -> str:
        """The goal as a user writes it."""
        if isinstance(self.value, str):
            return self.value
        return f"{self.value:g}" + ("" if self.tolerance is None else f"±{self.tolerance:g}")


def read_goal(name: str, value: object) -> Goal:
    """Read a goal.

    Args:
        name: Name of the property.
        value: The goal, as text or as a number.

    Raises:
        UserError: If it is none.

    Example:
        >>> read_goal("gap", "1.5±0.1")
        Goal(name='gap', value=1.5, tolerance=0.1)
        >>> read_goal("gap", "wide")
        Traceback (most recent call last):
        repdiff.errors.UserError: the goal of gap is 'wide', expected a number such as 1.5, 1.5±0.1 or ...
    """
    text = str(value).replace(" ", "").replace("−", "-")
    if text in ("max", "min"):
        return Goal(name=name, value="max" if text == "max" else "min")
    if found := AROUND.fullmatch(text):
        middle, width = map(float, found.groups())
        if width <= 0:
            raise UserError(f"the goal of {name} is {text}, expected a tolerance above 0")
        return Goal(name=name, value=middle, tolerance=width)
    try:
        number = float("nan") if isinstance(value, bool) or re.search(r"[_a-df-z]", text) else float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UserError(f"the goal of {name} is {value!r}, expected {EXPECTED}")
    return Goal(name=name, value=number)


def read_goals(values: Mapping[str, object]) -> list[Goal]:
    """Read goals by the names of properties.

    Raises:
        UserError: If one is none.
    """
    return [read_goal(name, value) for name, value in values.items()]
