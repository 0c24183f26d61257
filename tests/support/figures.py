"""Figures of the documents against the records in benchmarks/ that they were measured in.

A comment before a table or a paragraph names the records; it holds until the next blank line:

    <!-- figures: invert_mp_20.json floors_*.json; given: 83.00 0.0217 -->

Every number of the block is then some number of these records, rounded as it is shown, or one of `given`: published
figures, settings and whatever else was not measured. Numbers in code spans and integers below ten are not looked at.
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

MARK = re.compile(r"^<!-- figures:\s*(?P<files>[^;]*?)\s*(?:;\s*given:\s*(?P<given>.*?))?\s*-->$")
NUMBER = re.compile(r"(?<![\w.-])\d+(?:,\d{3})*(?:\.\d+)?(?:e-?\d+)?(?![\w.]*\d)")
QUANTITY = re.compile(rf"{NUMBER.pattern}(?=\*{{0,2}} ?%)|(?<![\w.-])\d[\d,]*\.\d+(?![\w.]*\d)")
NOT_FIGURES = re.compile(r"`[^`]*`|\]\([^)]*\)|arXiv \S+|<!--.*?-->")
CHOSEN = ("settings", "hardware", "versions")  # parts of a record that nobody measured
SCALES = (1.0, 100.0, 1 / 60, 1e-6, 1e-3)  # plain, percent, minutes, millions, thousands


@dataclass(frozen=True)
class Block:
    """A marked table or paragraph: where it starts, what it holds, and what its comment says."""

    document: Path
    line: int
    text: str
    files: tuple[str, ...]
    given: frozenset[str]


def blocks(document: Path) -> list[Block]:
    """Return the marked blocks of a document."""
    lines = document.read_text(encoding="utf-8").splitlines()
    found = []
    for place, line in enumerate(lines):
        if mark := MARK.match(line.strip()):
            end = next((k for k in range(place + 1, len(lines)) if not lines[k].strip()), len(lines))
            given = frozenset((mark["given"] or "").split())
            text = "\n".join(lines[place + 1 : end])
            found.append(Block(document, place + 1, text, tuple(mark["files"].split()), given))
    return found


def unmarked_tables(document: Path) -> list[str]:
    """Return the header of every table with a decimal number in it that no comment stands before."""
    lines = document.read_text(encoding="utf-8").splitlines()
    found = []
    for place, line in enumerate(lines):
        begins = line.startswith("|") and (place == 0 or not lines[place - 1].startswith("|"))
        if begins and not (place and MARK.match(lines[place - 1].strip())):
            end = next((k for k in range(place, len(lines)) if not lines[k].startswith("|")), len(lines))
            if any("." in number for number in numbers("\n".join(lines[place:end]))):
                found.append(line)
    return found


def unmarked_quantities(document: Path) -> list[str]:
    """Return the decimal numbers and percentages that stand outside marked blocks and code, each with its line.

    Most of them are measured; settings and published figures are among them too.
    """
    found, marked, code = [], False, False
    for place, line in enumerate(document.read_text(encoding="utf-8").splitlines(), start=1):
        if line.startswith("```"):
            code = not code
        marked = bool(line.strip()) and (marked or MARK.match(line.strip()) is not None)
        if not marked and not code:
            text = NOT_FIGURES.sub(" ", line)
            found += [f"{place}: {mark[0]}" for mark in QUANTITY.finditer(text)]
    return found


def numbers(text: str) -> list[str]:
    """Return the numbers of a text as they are written, without code, links and integers below ten."""
    found = NUMBER.findall(NOT_FIGURES.sub(" ", text))
    return [number for number in found if not (number.isdigit() and len(number) == 1)]


def untraced(block: Block, folder: Path) -> list[str]:
    """Return the numbers of a block that are in none of its records, and not given."""
    records = [path for pattern in block.files for path in sorted(folder.glob(pattern))]
    known = [value for path in records for value in leaves(json.loads(path.read_text(encoding="utf-8")))]
    return [
        number for number in numbers(block.text) if number not in block.given and not _is_known(number, known)
    ]


def leaves(document: object) -> list[float]:
    """Return all numbers of a JSON document that were measured."""
    if isinstance(document, bool) or document is None or isinstance(document, str):
        return []
    if isinstance(document, int | float):
        return [float(document)]
    if isinstance(document, dict):
        return [number for key, value in document.items() if key not in CHOSEN for number in leaves(value)]
    if isinstance(document, list):
        return [number for value in document for number in leaves(value)]
    raise TypeError(f"a JSON document holds a {type(document).__name__}")


def _is_known(number: str, known: list[float]) -> bool:
    plain = number.replace(",", "")
    mantissa, _, exponent = plain.partition("e")
    unit = 10.0 ** (int(exponent or 0) - len(mantissa.partition(".")[2]))
    shown = float(plain)
    return any(
        abs(abs(value) * scale - shown) <= 0.5 * unit * (1 + 1e-6) for value in known for scale in SCALES
    )
