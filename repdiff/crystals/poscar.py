"""The head of a POSCAR by VASP's rules, before pymatgen reads the rest.

Source: the description of POSCAR in the manual of VASP: line 2 holds one scale factor or three, one for each
Cartesian component; line 6 the symbols; line 7 as many counts.
"""

import re

HEAD = 7  # lines up to the counts
SYMBOL = re.compile(r"[A-Z][a-z]?(?![a-z])")


def checked_poscar(text: str) -> str:
    """Return a POSCAR that names its elements and has one scale factor.

    Three scale factors are multiplied into the cell and into Cartesian coordinates.

    Raises:
        ValueError: If no line names the elements, the counts do not go with them, or the head is cut off.
    """
    lines = text.splitlines()
    if len(lines) < HEAD + 1:
        raise ValueError(
            f"{len(lines)} lines, expected a comment, scale, cell, symbols, counts and coordinates"
        )
    scales = _numbers(lines[1], "scale factor")
    symbols, counts = lines[5].split(), lines[6].split()
    if symbols and all(_is_count(word) for word in symbols):
        return _without_symbols(text, lines, [int(word) for word in symbols])
    if not counts or not all(_is_count(word) for word in counts):
        raise ValueError(f"line 7 is {lines[6].strip()!r}, expected how many atoms of each element there are")
    if len(symbols) != len(counts):
        raise ValueError(f"{len(counts)} counts for the {len(symbols)} elements {' '.join(symbols)}")
    if sum(map(int, counts)) > len(lines):
        raise ValueError(
            f"line 7 asks for {' + '.join(counts)} atoms, and there are {len(lines)} lines"[:200]
        )
    if len(scales) == 1:
        return text
    if len(scales) != 3:
        raise ValueError(f"{len(scales)} scale factors, expected one or three")
    if min(scales) <= 0:
        raise ValueError("a scale factor of three is not positive")
    return _scaled(lines, scales, sum(map(int, counts)))


def _without_symbols(text: str, lines: list[str], counts: list[int]) -> str:
    """Let a file of VASP 4 pass if every coordinate line ends in a symbol.

    Raises:
        ValueError: If the elements are not named.
    """
    if sum(counts) > len(lines):
        raise ValueError(f"line 6 asks for more atoms than there are lines ({len(lines)})")
    start = 7 + (lines[6].strip()[:1] in "sS" if lines[6].strip() else 0)
    coordinates = lines[start : start + sum(counts)]
    words = [line.split()[-1] for line in coordinates if line.split()]
    if len(words) == sum(counts) and all(SYMBOL.match(word) and len(word) <= 2 for word in words):
        return text
    raise ValueError(
        "no line of element symbols: which elements are meant? Write them above the line of counts, "
        f"one for each of {' '.join(map(str, counts))}"
    )


def _scaled(lines: list[str], scales: list[float], n_atoms: int) -> str:
    start = HEAD + (lines[HEAD].strip()[:1] in "sS")
    is_cartesian = start < len(lines) and lines[start].strip()[:1] in "cCkK"
    rows = list(range(2, 5)) + (list(range(start + 1, start + 1 + n_atoms)) if is_cartesian else [])
    scaled = list(lines)
    scaled[1] = "1.0"
    for row in rows:
        words = scaled[row].split()
        vector = _numbers(" ".join(words[:3]), "coordinate")
        scaled[row] = " ".join(
            [*(repr(value * scale) for value, scale in zip(vector, scales, strict=True)), *words[3:]]
        )
    return "\n".join(scaled) + "\n"


def _numbers(line: str, what: str) -> list[float]:
    try:
        return [float(word) for word in line.split()]
    except ValueError as error:
        raise ValueError(f"{what} {line.strip()!r} is no number") from error


def _is_count(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) < 10
