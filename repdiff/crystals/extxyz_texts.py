"""Texts that the comment line of extended XYZ does not keep, carried beside it by a key of our own.

A reader takes "1.0" for a number, "T" for a truth value, and a backslash or a line break for something else; an empty
text has no place at all. Such texts stand in a form that others can read, and exactly under `repdiff_texts`.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote, unquote

EXACT_TEXTS = "repdiff_texts"
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\\\"]")


def written_texts(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return facts for a comment line: texts that it keeps, others made harmless and exactly under `EXACT_TEXTS`.

    Example:
        >>> written_texts({"id": "mp-1", "n": 2})
        {'id': 'mp-1', 'n': 2}
        >>> written_texts({"id": "1.0"})
        {'id': '1.0', 'repdiff_texts': 'id:1.0'}
    """
    lost = {key: value for key, value in facts.items() if isinstance(value, str) and not _is_kept(key, value)}
    if not lost:
        return dict(facts)
    exact = ";".join(f"{quote(key, safe='')}:{quote(value, safe='')}" for key, value in lost.items())
    harmless = {key: CONTROL.sub("_", value) for key, value in lost.items()}
    shown = {key: value for key, value in {**facts, **harmless}.items() if value != ""}
    return {**shown, EXACT_TEXTS: exact}


def exact_texts(written: object) -> dict[str, str]:
    """Return the texts that stand under `EXACT_TEXTS`, by their keys; none for what is no such list."""
    if not isinstance(written, str):
        return {}
    pairs = [pair.partition(":") for pair in written.split(";")]
    return {unquote(key): unquote(value) for key, mark, value in pairs if mark and key}


def _is_kept(key: str, text: str) -> bool:
    from ase.io.extxyz import key_val_dict_to_str, key_val_str_to_dict

    if not text or CONTROL.search(text):
        return False
    found = key_val_str_to_dict(key_val_dict_to_str({key: text})).get(key)
    return isinstance(found, str) and found == text
