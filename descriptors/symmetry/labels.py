"""Protostructures as text, in the convention of AFLOW: "A2B_tP6_136_f_a:O-Ti".

The parts are the reduced formula with the letters A, B, ... for the elements in alphabetical order of their symbols;
the Pearson symbol; the number of the space group; the Wyckoff letters of each element in the same order, a number
before a letter saying how often it is taken; and the symbols after a colon. As in AFLOW, the Pearson symbol of a
rhombohedral crystal counts the atoms of the primitive cell, that of all others those of the conventional cell; base-
centred lattices are oC and mC, whichever face is centred. Letters are those of the description at hand: write the
canonical one where labels are to be compared.

Source: Mehl et al., Comput. Mater. Sci. 2017, 136, S1 (labels of prototypes); the symbols after a colon as in aviary
(Goodall et al., Sci. Adv. 2022, 8, eabn4117).
"""

import re
from collections import Counter
from collections.abc import Sequence
from math import gcd

from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.settings import prototype
from descriptors.symmetry.space_group import LETTERS, SpaceGroup, space_group
from descriptors.symmetry.symbols import ATOMIC_NUMBERS, SYMBOLS

FAMILIES = {
    "triclinic": "a", "monoclinic": "m", "orthorhombic": "o", "tetragonal": "t",
    "trigonal": "h", "hexagonal": "h", "cubic": "c",
}  # fmt: skip
LABEL = re.compile(r"([A-Za-z0-9]+)_([a-z][A-Z]\d+)_(\d+)((?:_[a-zA-Z0-9]+)+):([A-Za-z-]+)")
TAKEN = re.compile(r"(\d*)([a-zA-Z])")


def write_label(protostructure: Protostructure) -> str:
    """Write a protostructure as text; `parse_label` reads it back exactly.

    >>> write_label(Protostructure.of(136, [(22, "a"), (8, "f")]))
    'A2B_tP6_136_f_a:O-Ti'
    """
    letters = {SYMBOLS[element - 1]: text for element, text in protostructure.letters_by_element().items()}
    symbols = sorted(letters)
    anonymous = _anonymous(protostructure.group, [letters[symbol] for symbol in symbols])
    return f"{anonymous}:{'-'.join(symbols)}"


def prototype_label(protostructure: Protostructure) -> str:
    """Write the prototype, which has no elements; equal for all equivalent settings and all elements.

    >>> prototype_label(Protostructure.of(225, [(11, "b"), (17, "a")]))
    'AB_cF8_225_a_b'
    """
    number, parts = prototype(protostructure)
    return _anonymous(space_group(number), parts)


def parse_label(label: str) -> Protostructure:
    """Read a protostructure from its text.

    >>> parse_label("A2B_tP6_136_f_a:O-Ti").n_free
    1

    Raises:
        ValueError: If the text is no label, or describes what cannot exist, or its formula or Pearson symbol
            contradicts its Wyckoff letters.
    """
    match = LABEL.fullmatch(label.strip())
    if match is None:
        raise ValueError(
            f"{label!r} is no label of a protostructure, expected one like 'A2B_tP6_136_f_a:O-Ti' "
            "(formula, Pearson symbol, space group, Wyckoff letters of each element, elements)"
        )
    number, parts, symbols = int(match[3]), match[4].removeprefix("_").split("_"), match[5].split("-")
    if len(parts) != len(symbols) or len(set(symbols)) != len(symbols):
        raise ValueError(
            f"{label!r} has Wyckoff letters of {len(parts)} elements and the elements {', '.join(symbols)}, "
            "expected as many, each once"
        )
    if unknown := [symbol for symbol in symbols if symbol not in ATOMIC_NUMBERS]:
        raise ValueError(f"{label!r} names {unknown[0]!r}, expected a chemical element")
    orbits: list[Orbit] = []
    for symbol, part in zip(symbols, parts, strict=True):
        if TAKEN.sub("", part):
            raise ValueError(f"{part!r} in {label!r} is no list of Wyckoff letters such as '2ac'")
        for times, letter in TAKEN.findall(part):
            orbits += [Orbit.of(letter, ATOMIC_NUMBERS[symbol])] * int(times or 1)
    try:
        protostructure = Protostructure(number, tuple(orbits))
    except ValueError as error:
        raise ValueError(f"{label!r}: {error}") from error
    expected = _anonymous(
        protostructure.group,
        [protostructure.letters_by_element()[ATOMIC_NUMBERS[symbol]] for symbol in symbols],
    )
    if expected.split("_")[:2] != [match[1], match[2]]:
        raise ValueError(
            f"{label!r} begins with {match[1]}_{match[2]}, but its Wyckoff letters make "
            f"{'_'.join(expected.split('_')[:2])}"
        )
    return protostructure


def _anonymous(group: SpaceGroup, parts: Sequence[str]) -> str:
    """Write formula, Pearson symbol, group and letters of each element, in the order given."""
    counts = [
        sum(group.positions[LETTERS.index(letter)].primitive_multiplicity for letter in part)
        for part in parts
    ]
    divisor = gcd(*counts)
    formula = "".join(
        _name(place) + (str(count // divisor) if count > divisor else "")
        for place, count in enumerate(counts)
    )
    n_atoms = sum(counts) * (1 if group.centring == "R" else len(group.centring_translations))
    centring = group.centring.replace("A", "C")  # base-centred cells share one symbol
    pearson = f"{FAMILIES[group.crystal_system]}{centring}{n_atoms}"
    taken = [
        "".join(f"{n if n > 1 else ''}{letter}" for letter, n in Counter(part).items()) for part in parts
    ]
    return f"{formula}_{pearson}_{group.number}_{'_'.join(taken)}"


def _name(place: int) -> str:
    """Name the elements A to Z, then AA, AB, ..."""
    return (_name(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)
