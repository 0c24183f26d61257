"""What a user asks of protostructures, in words, and the masks that it means."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from descriptors.symmetry.space_group import LAST_OF_SYSTEM, N_SPACE_GROUPS
from descriptors.symmetry.symbols import ATOMIC_NUMBERS
from repdiff.crystals.formula import Composition
from repdiff.errors import UserError, unknown
from repdiff.networks.protostructure import ProtostructureRequest
from repdiff.settings.backends.structrepdiff import StructRepDiffSampling

WISHES = (
    "space_group",
    "crystal_system",
    "chemical_system",
    "elements_allowed",
    "elements_excluded",
    "n_atoms",
)
LARGEST = 1000  # number in a range


def read_wishes(
    options: StructRepDiffSampling,
    conditions: Mapping[str, Any] | None,
    compositions: Sequence[Composition] | None,
    elements: Sequence[int],
) -> list[ProtostructureRequest] | None:
    """Return what is asked of each sample, or of all if there are no compositions; None for nothing.

    Args:
        options: Sampling options, which may hold wishes.
        conditions: The same wishes by name; they go before the options.
        compositions: One for each sample.
        elements: Atomic numbers that the model knows.

    Raises:
        UserError: If a wish is unknown, cannot be read, or two contradict each other.
    """
    texts = {name: getattr(options, name) for name in WISHES}
    for name, value in (conditions or {}).items():
        if name not in WISHES:
            raise UserError(
                f"the backend structrepdiff takes no properties: {unknown('condition', name, WISHES)}"
            )
        texts[name] = "-".join(value) if isinstance(value, list | tuple) else str(value)
    shared = _shared(texts, elements)
    if compositions is None:
        if options.formula_units is not None:
            raise UserError(
                f"`formula_units` is {options.formula_units}, expected it beside a composition only"
            )
        return None if shared.is_empty else [shared]
    units = sorted(_range("formula_units", options.formula_units or "1"))
    return [
        replace(shared, formulas=ProtostructureRequest.of_formula(counts, formula_units=units).formulas)
        for counts in compositions
    ]


def _shared(texts: Mapping[str, str | None], elements: Sequence[int]) -> ProtostructureRequest:
    """Return what is asked of all samples alike."""
    groups = _groups(texts["space_group"], texts["crystal_system"])
    allowed: frozenset[int] | None = None
    required: frozenset[int] = frozenset()
    if (system := texts["chemical_system"]) is not None:
        allowed = required = _elements("chemical_system", system)
    if (names := texts["elements_allowed"]) is not None:
        may = _elements("elements_allowed", names)
        allowed = may if allowed is None else allowed & may
    if (names := texts["elements_excluded"]) is not None:
        excluded = _elements("elements_excluded", names)
        allowed = (frozenset(elements) if allowed is None else allowed) - excluded
    if allowed is not None and not allowed:
        raise UserError("no element is left that samples may have: allow more, or exclude fewer")
    n_atoms = None if texts["n_atoms"] is None else _range("n_atoms", texts["n_atoms"])
    return ProtostructureRequest(groups=groups, n_atoms=n_atoms, allowed=allowed, required=required)


def _groups(numbers: str | None, systems: str | None) -> frozenset[int] | None:
    found: frozenset[int] | None = None
    if numbers is not None:
        words = numbers.replace(" ", "").split(",")
        if not all(word.isdigit() and 1 <= int(word) <= N_SPACE_GROUPS for word in words):
            raise UserError(
                f"`space_group` is {numbers!r}, expected numbers from 1 to {N_SPACE_GROUPS}, such as 225 or 221,225"
            )
        found = frozenset(map(int, words))
    if systems is not None:
        names, lasts = list(LAST_OF_SYSTEM), [0, *LAST_OF_SYSTEM.values()]
        chosen: set[int] = set()
        for word in systems.replace(" ", "").lower().split(","):
            if word not in names:
                raise UserError(unknown("crystal system", word, names))
            place = names.index(word)
            chosen |= set(range(lasts[place] + 1, lasts[place + 1] + 1))
        both = frozenset(chosen) if found is None else found & chosen
        if not both:
            raise UserError(f"no space group of {numbers} is {systems}: leave one of the two out")
        found = both
    return found


def _elements(name: str, text: str) -> frozenset[int]:
    """Read element symbols that are joined by - or commas."""
    words = text.replace(",", "-").replace(" ", "").split("-")
    for word in words:
        if word not in ATOMIC_NUMBERS:
            raise UserError(
                f"`{name}` is {text!r}, expected element symbols such as Li-Fe-O: {word!r} is none"
            )
    return frozenset(ATOMIC_NUMBERS[word] for word in words)


def _range(name: str, text: str) -> frozenset[int]:
    """Read a number, or a first and a last one."""
    first, dash, last = text.replace(" ", "").partition("-")
    if not first.isdigit() or (dash and not last.isdigit()):
        raise UserError(f"`{name}` is {text!r}, expected a number or a range such as 2-8")
    low, high = int(first), int(last or first)
    if not 1 <= low <= high <= LARGEST:
        raise UserError(f"`{name}` is {text!r}, expected 1 to {LARGEST}, the smaller number first")
    return frozenset(range(low, high + 1))
