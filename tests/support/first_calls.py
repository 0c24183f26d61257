"""Check the types and shapes of what functions are given and give back, in the first calls of every test.

A check by jaxtyping and beartype costs more than many of the functions do: all of them are a fifth of the time of the
tests. The first `CALLS` of a test reach every function that is not deep in a long loop.
"""

from collections.abc import Callable
from typing import Any

import jaxtyping
from beartype import beartype

CALLS = 1000  # of one test, before and after a function
_left = CALLS


def begin_test() -> None:
    """Start to check anew."""
    global _left
    _left = CALLS
    jaxtyping.config.update("jaxtyping_disable", False)


def first_calls(function: Callable[..., Any]) -> Callable[..., Any]:
    """Make what jaxtyping calls before and after a function: beartype, as long as the test has calls left."""
    checked = None

    def check(*args: Any, **kwargs: Any) -> None:
        global _left
        nonlocal checked
        checked = checked or beartype(function)  # not at import: many functions are never called
        checked(*args, **kwargs)
        _left -= 1
        if _left < 0:
            jaxtyping.config.update("jaxtyping_disable", True)

    return check
