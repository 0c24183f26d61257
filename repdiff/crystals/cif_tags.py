"""Values of a CIF block by tag, in the spellings that dictionaries and programs use."""

import math
from collections.abc import Sequence
from functools import cache

import gemmi
from gemmi.cif import Block

CATEGORIES = (
    "space_group_symop",
    "space_group",
    "symmetry_equiv",
    "symmetry",
    "atom_site",
    "cell",
    "chemical_formula",
)


def text_of(block: Block, names: Sequence[str]) -> str | None:
    """Return the first value that is given under one of the names, without quotes; None if there is none."""
    for name in names:
        for spelling in _spellings(name):
            raw = block.find_value(spelling)
            if raw is not None and (text := gemmi.cif.as_string(raw).strip()) and text not in ("?", "."):
                return text
    return None


def number_of_tag(block: Block, names: Sequence[str]) -> float | None:
    """Return the first number that is given under one of the names, without its uncertainty; None if none is."""
    text = text_of(block, names)
    value = math.nan if text is None else gemmi.cif.as_number(text)
    return None if math.isnan(value) else value


def values_of(block: Block, names: Sequence[str]) -> list[str]:
    """Return the column of a loop, or the one value, under the first of the names that exists."""
    for name in names:
        for spelling in _spellings(name):
            column = block.find_values(spelling)
            if len(column):
                return [gemmi.cif.as_string(raw) for raw in column]
    return []


@cache
def _spellings(name: str) -> tuple[str, ...]:
    """Return a tag as the core dictionary writes it, and with the dot of later dictionaries."""
    category = next((one for one in CATEGORIES if name.startswith(f"_{one}_")), None)
    return (name,) if category is None else (name, f"_{category}.{name[len(category) + 2 :]}")
