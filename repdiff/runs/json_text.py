"""JSON that may come from anywhere: every fault of it is a `ValueError` of one line."""

import gc
import json
from typing import Any

from repdiff.settings.limits import MAX_JSON_DEPTH

TOO_DEEP = f"lists and mappings are nested deeper than {MAX_JSON_DEPTH}, expected a few levels: flatten them"


def load_json(text: str) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Parse JSON.

    Raises:
        ValueError: If it is none, is nested too deep, or has an integer of more digits than Python reads.

    Example:
        >>> load_json('{"a": [1]}')
        {'a': [1]}
        >>> load_json("[" * 201 + "]" * 201)
        Traceback (most recent call last):
        ValueError: lists and mappings are nested deeper than 200, expected a few levels: flatten them
    """
    try:
        document = _quick(text)
    except RecursionError as error:
        raise ValueError(TOO_DEEP) from error
    except json.JSONDecodeError:
        raise
    except ValueError as error:  # of the conversion of digits
        raise ValueError(
            "an integer has more than 4300 digits, expected a number: write it as a text"
        ) from error
    if text.count("[") + text.count("{") > MAX_JSON_DEPTH and _is_deep(document, text):
        raise ValueError(TOO_DEEP)
    return document


def _quick(text: str) -> object:
    """Parse without the search for circles, of which JSON has none and which takes most of the time of large texts."""
    searching = gc.isenabled()
    gc.disable()
    try:
        return json.loads(text)
    finally:
        if searching:
            gc.enable()


def _is_deep(document: object, text: str) -> bool:
    """Measure the depth; exactly only where the brackets, those inside of texts included, suggest it."""
    import numpy as np

    steps = np.zeros(256, dtype=np.int8)
    steps[list(b"[{")], steps[list(b"]}")] = 1, -1
    depths = np.cumsum(steps[np.frombuffer(text.encode("utf-8", "replace"), dtype=np.uint8)], dtype=np.int32)
    if depths.max(initial=0) <= MAX_JSON_DEPTH:
        return False
    level = [document]
    for _ in range(MAX_JSON_DEPTH):
        level = [
            inner
            for one in level
            if isinstance(one, dict | list)
            for inner in (one.values() if isinstance(one, dict) else one)
            if isinstance(inner, dict | list)
        ]
    return bool(level)
