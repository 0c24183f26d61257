"""Which formulas a chemical system has, in which order they are worth trying, and how many candidates each gets."""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, combinations, groupby, permutations, product
from pathlib import Path
from typing import Literal

import numpy as np

from descriptors.symmetry.symbols import ATOMIC_NUMBERS, SYMBOLS
from repdiff.crystals.formula import Composition, Formula, parse_formula, reduced_formula
from repdiff.crystals.pettifor import likeness, pettifor_number
from repdiff.errors import UserError
from repdiff.phase_search.charges import Balance, balance_of, electronegativity
from repdiff.settings.paths import home_expanded

Scope = Literal["system", "compounds", "all"]
SCOPES: dict[Scope, str] = {
    "system": "formulas with all elements of the system",
    "compounds": "compounds of its sub-systems too",
    "all": "the elements themselves as well",
}
MAX_ELEMENTS = 6
MAX_FORMULAS = 100_000
LEAST = 4  # candidates of a formula; with fewer than so many, fewer formulas are tried
LEAST_ALIKE = 1e-12
ELEMENT, GROUP = re.compile(r"([A-Z][a-z]?)(\d*)"), re.compile(r"\(([^()]+)\)(\d*)")


@dataclass(frozen=True, kw_only=True)
class RankedFormula:
    """A reduced formula, and why it stands where it does.

    Attributes:
        formula: Counts by atomic number, without a common divisor.
        balance: How its charges balance.
        n_alike: Known compounds like it, see `count_alike`.
    """

    formula: Formula
    balance: Balance
    n_alike: float

    @property
    def name(self) -> str:
        """Write it, such as "LiFeO2"."""
        return name_of(dict(self.formula))

    @property
    def weight(self) -> float:
        """How many candidates it deserves, relative to others."""
        return math.sqrt(max(self.n_alike, LEAST_ALIKE))


def read_system(text: str) -> tuple[int, ...]:
    """Read a chemical system, such as Li-Fe-O, in the order in which it is written.

    Returns:
        Atomic numbers, each once.

    Raises:
        UserError: If it is empty, names what is no element, or holds too many.

    Example:
        >>> read_system("Li-Fe-O")
        (3, 26, 8)
    """
    words = [word for word in re.split(r"[-,\s]+", text) if word]
    if not words:
        raise UserError("`system` is empty, expected elements that are joined by -, such as Li-Fe-O")
    for word in words:
        if word not in ATOMIC_NUMBERS:
            raise UserError(
                f"`system` is {text!r}, expected elements such as Li-Fe-O: {word!r} is none.{_meant(word)}"
            )
    numbers = tuple(dict.fromkeys(ATOMIC_NUMBERS[word] for word in words))
    if len(numbers) > MAX_ELEMENTS:
        raise UserError(f"`system` has {len(numbers)} elements, expected at most {MAX_ELEMENTS}")
    return numbers


def system_name(elements: Iterable[int]) -> str:
    """Join the symbols of elements in the order given: "Li-Fe-O"."""
    return "-".join(SYMBOLS[number - 1] for number in elements)


def name_of(counts: Composition) -> str:
    """Write a formula, the most electropositive element first, without a common divisor.

    Example:
        >>> name_of({8: 8, 26: 2, 3: 10})
        'Li5FeO4'
    """
    symbols = [SYMBOLS[number - 1] for number in sorted(counts, key=electronegativity)]
    pairs = zip(symbols, proportions(counts), strict=True)
    return "".join(f"{symbol}{count if count > 1 else ''}" for symbol, count in pairs)


def read_formulas(text: str) -> list[Formula]:
    """Read formulas that are joined by commas, or stand in a text file one a line; # begins a comment.

    Returns:
        Each reduced, and once.

    Raises:
        UserError: If the file cannot be read, or something is no formula.
    """
    file = home_expanded(text)
    if Path(file).is_file():
        try:
            lines = Path(file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{file} cannot be read, expected a text file with one formula a line") from error
        words = [line.partition("#")[0] for line in lines]
    else:
        words = text.split(",")
    found = [parse_formula(word.strip()) for word in words if word.strip()]
    if not found and Path(file).is_file():
        raise UserError(f"{file} holds no formula, expected one a line, such as LiFeO2")
    if not found:
        raise UserError(f"`formulas` is {text!r}, expected formulas such as LiFeO2,Li5FeO4 or a file of them")
    return list(dict.fromkeys(reduced_formula(counts) for counts in found))


def enumerate_formulas(elements: Sequence[int], *, max_atoms: int, scope: Scope = "system") -> list[Formula]:
    """List the reduced formulas of a system with at most so many atoms.

    Args:
        elements: Atomic numbers.
        max_atoms: Atoms of the formula unit at most.
        scope: "system" for formulas with all elements, "compounds" for those of its sub-systems too, "all" for the
            elements themselves as well. Of one element there is one formula, whatever the scope.

    Raises:
        UserError: If there is none.

    Example:
        >>> enumerate_formulas([22, 8], max_atoms=3)
        [((8, 1), (22, 1)), ((8, 1), (22, 2)), ((8, 2), (22, 1))]
    """
    if (most := math.comb(max_atoms, len(elements))) > MAX_FORMULAS:
        raise UserError(
            f"`max_atoms` is {max_atoms}, which gives {system_name(elements)} some {most} formulas, expected at most "
            f"{MAX_FORMULAS}: take fewer atoms, or name the formulas by `formulas`"
        )
    least = {"system": len(elements), "compounds": min(2, len(elements)), "all": 1}[scope]
    found = [
        tuple(zip(part, counts, strict=True))
        for size in range(least, len(elements) + 1)
        for part in combinations(sorted(elements), size)
        for counts in _counts(size, max_atoms)
        if math.gcd(*counts) == 1
    ]
    if not found:
        raise UserError(
            f"`max_atoms` is {max_atoms}, expected at least {len(elements)}, one atom of each element of "
            f"{system_name(elements)}"
        )
    return found


def rank(formulas: Sequence[Formula], known: Iterable[str]) -> list[RankedFormula]:
    """Order formulas: those with many known compounds like them first, and of equal ones those whose charges balance.

    Args:
        formulas: Reduced formulas.
        known: Reduced formulas of known compounds.
    """
    counts = count_alike(formulas, known)
    ranked = [
        RankedFormula(formula=one, balance=balance_of(dict(one)), n_alike=counts[one]) for one in formulas
    ]
    return sorted(ranked, key=lambda one: (-one.n_alike, one.balance, _size(one.formula), one.formula))


def count_alike(formulas: Iterable[Formula], known: Iterable[str]) -> dict[Formula, float]:
    """Count the known compounds of the same proportions, each as much as its elements are like those of a formula.

    Chemists guess compounds by exchanging elements for their neighbours; this is the likelihood of such a guess,
    summed over all ways to exchange them (after Hautier et al., Inorg. Chem. 50, 656 (2011), with Pettifor's scale
    instead of probabilities of ions).

    Args:
        formulas: Reduced formulas.
        known: Reduced formulas of known compounds.

    Returns:
        Sum of `repdiff.crystals.pettifor.likeness` by formula.

    Example:
        >>> lime, peroxide = ((8, 1), (20, 1)), ((8, 2), (20, 1))
        >>> found = count_alike([lime, peroxide], ["CaO", "SrO", "CO"])
        >>> round(found[lime], 3), found[peroxide]
        (1.513, 0.0)
    """
    wanted = list(formulas)
    sizes = {len(formula) for formula in wanted}
    compounds: dict[tuple[int, ...], list[list[float]]] = {}
    for formula in known:
        if len(counts := count_atoms(formula)) in sizes:
            pairs = sorted((n, pettifor_number(number)) for number, n in counts.items())
            divisor = math.gcd(*counts.values())
            proportion = tuple(n // divisor for n, _ in pairs)
            compounds.setdefault(proportion, []).append([number for _, number in pairs])
    scales = {proportion: np.array(scale) for proportion, scale in compounds.items()}
    return {formula: _n_alike(formula, scales) for formula in wanted}


def _n_alike(formula: Formula, scales: Mapping[tuple[int, ...], np.ndarray]) -> float:
    """Sum over the ways to exchange the elements of compounds, by ascending counts, for those of a formula."""
    pairs = sorted((n, pettifor_number(number)) for number, n in formula)
    proportion = tuple(n for n, _ in pairs)
    if proportion not in scales:
        return 0.0
    alike = [list(group) for _, group in groupby(pairs, key=lambda pair: pair[0])]
    orders = product(*(permutations(number for _, number in group) for group in alike))
    return float(sum(likeness(scales[proportion], np.array([*chain(*order)])).sum() for order in orders))


def proportions(counts: Composition) -> tuple[int, ...]:
    """Return the counts of a formula without a common divisor, the most electropositive element first.

    Example:
        >>> proportions({8: 6, 22: 2, 38: 2})
        (1, 1, 3)
    """
    divisor = math.gcd(*counts.values())
    return tuple(counts[number] // divisor for number in sorted(counts, key=electronegativity))


def allot(n: int, ranked: Sequence[RankedFormula], *, least: int = LEAST) -> dict[Formula, int]:
    """Spread candidates over formulas, in proportion to their weights.

    As many formulas are taken, from the first on, as get at least `least` candidates each.

    Args:
        n: Candidates in all.
        ranked: Formulas, the most promising first.
        least: Candidates of a formula, if there are several.

    Returns:
        Number of candidates by formula, in the order of the formulas; they sum to `n`.

    Example:
        >>> one, other = (RankedFormula(formula=((z, 1),), balance=Balance.COMMON, n_alike=1.0) for z in (26, 29))
        >>> list(allot(9, [one, other]).values()), list(allot(7, [one, other]).values())
        ([5, 4], [7])
    """
    taken = list(ranked[: max(1, n // least)])
    while len(taken) > 1 and n * min(one.weight for one in taken) / sum(one.weight for one in taken) < least:
        taken.pop()
    total = sum(one.weight for one in taken)
    exact = [n * one.weight / total for one in taken]
    shares = [math.floor(share) for share in exact]
    by_rest = sorted(range(len(taken)), key=lambda place: (shares[place] - exact[place], place))
    for place in by_rest[: n - sum(shares)]:
        shares[place] += 1
    return {one.formula: share for one, share in zip(taken, shares, strict=True)}


def evenly(n: int, formulas: Sequence[Formula]) -> dict[Formula, int]:
    """Spread candidates evenly, the rest to the first formulas; each gets at least one.

    Raises:
        UserError: If there are more formulas than candidates.
    """
    if n < len(formulas):
        raise UserError(f"`n` is {n}, expected at least {len(formulas)}, one candidate of each formula")
    return {
        formula: n // len(formulas) + (place < n % len(formulas)) for place, formula in enumerate(formulas)
    }


def _counts(n_elements: int, most: int) -> Iterator[tuple[int, ...]]:
    """Yield all counts of so many elements, each at least 1, whose sum is at most `most`."""
    if n_elements == 1:
        yield from ((count,) for count in range(1, most + 1))
        return
    for first in range(1, most - n_elements + 2):
        yield from ((first, *others) for others in _counts(n_elements - 1, most - first))


def _meant(word: str) -> str:
    """Suggest an element: the one that is only written in other letters, or one alike."""
    return f" Did you mean {word.capitalize()!r}?" if word.capitalize() in ATOMIC_NUMBERS else ""


def count_atoms(formula: str) -> dict[int, int]:
    """Count the atoms of a formula as pymatgen writes it, such as "Li(FeO2)2"; much faster than its own reader."""
    plain = GROUP.sub(lambda found: found[1] * int(found[2] or 1), formula)
    counts: dict[int, int] = {}
    for symbol, count in ELEMENT.findall(plain):
        number = ATOMIC_NUMBERS[symbol]
        counts[number] = counts.get(number, 0) + int(count or 1)
    return counts


def _size(formula: Formula) -> int:
    return sum(count for _, count in formula)
