"""In which way a system honours a condition."""

from collections.abc import Iterable, Mapping
from enum import StrEnum

from repdiff.crystals.plain_properties import PLAIN_PROPERTIES
from repdiff.settings.conditions import CELL


class How(StrEnum):
    """How far a sample can be trusted to be as asked.

    What is honoured exactly or by selection holds for every crystal that is made: one that does not obey counts as not
    made, and is named with its reason. What is honoured softly holds as well as it was learnt, and what is held in
    the vector as well as the crystal that is made of it agrees. All else is refused.
    """

    EXACTLY = "exactly"  # by construction: nothing else is drawn
    SELECTED = "by selection"  # drawn freely, and checked once the crystal is there
    SOFTLY = "softly"  # learnt, and steered by guidance
    HELD = "held"  # part of the vector, which is drawn around it


SELECTED_BY_ALL = (*(f"lattice_{name}" for name in CELL), *PLAIN_PROPERTIES)
"""Conditions that are read off finished crystals, which every system makes: all honour them, at least by selection."""


def honoured(declared: Mapping[str, How] | Iterable[str]) -> dict[str, How]:
    """Return how a system honours each condition that it honours, those included that all do.

    Args:
        declared: What it declares; names alone mean exactly.

    Example:
        >>> honoured({"hhi_reserve": How.EXACTLY})["hhi_reserve"].value, honoured({})["density"].value
        ('exactly', 'by selection')
    """
    own = dict(declared) if isinstance(declared, Mapping) else dict.fromkeys(declared, How.EXACTLY)
    return dict.fromkeys(SELECTED_BY_ALL, How.SELECTED) | own
