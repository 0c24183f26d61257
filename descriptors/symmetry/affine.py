"""Exact affine maps of fractional coordinates, in integers and twenty-fourths.

Maps act on rows, v → v @ linear + shift / 24, as everywhere in the project; their text is that of the International
Tables, "-x,y+1/2,z", where the three entries are the coordinates of the image.
"""

import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float, Int

DENOMINATOR = 24
AXES = "xyz"
TERM = re.compile(r"([+-]?)(\d*)\*?([xyz])|([+-]?)(\d+)(?:/(\d+))?")


@dataclass(frozen=True, eq=False)
class Affine:
    """One exact affine map.

    Attributes:
        linear: Rows are the images of the three axes.
        shift: Translation, in twenty-fourths.
    """

    linear: Int[np.ndarray, "3 3"]
    shift: Int[np.ndarray, "3"]

    def __call__(self, points: Float[np.ndarray, "*n 3"]) -> Float[np.ndarray, "*n 3"]:
        """Apply the map to fractional coordinates."""
        return points @ self.linear + self.shift / DENOMINATOR

    def after(self, first: "Affine") -> "Affine":
        """Return the map that applies `first`, then this one; the shift is taken modulo 1."""
        shift = (first.shift @ self.linear + self.shift) % DENOMINATOR
        return Affine(first.linear @ self.linear, shift)


def parse_affine(text: str) -> Affine:
    """Read a map from the text of the International Tables.

    >>> parse_affine("-y,x+1/2,z").linear.tolist()
    [[0, 1, 0], [-1, 0, 0], [0, 0, 1]]

    Raises:
        ValueError: If there are not three entries, an entry is no sum of axes and fractions, or a fraction is no
            multiple of 1/24.
    """
    entries = text.replace(" ", "").split(",")
    if len(entries) != 3:
        raise ValueError(f"{text!r} has {len(entries)} entries, expected three")
    linear, shift = np.zeros((3, 3), dtype=np.int64), np.zeros(3, dtype=np.int64)
    for column, entry in enumerate(entries):
        if TERM.sub("", entry):
            raise ValueError(f"{entry!r} in {text!r} is no sum of x, y, z and fractions")
        for sign, factor, axis, sign_constant, numerator, denominator in TERM.findall(entry):
            if axis:
                linear[AXES.index(axis), column] += int(f"{sign}{factor or 1}")
            else:
                amount = Fraction(int(numerator), int(denominator or 1)) * DENOMINATOR
                if amount.denominator != 1:
                    raise ValueError(f"{entry!r} in {text!r} is no multiple of 1/{DENOMINATOR}")
                shift[column] += int(amount) * (-1 if sign_constant == "-" else 1)
    return Affine(linear, shift)


def write_affine(affine: Affine) -> str:
    """Write a map as the text that `parse_affine` reads."""
    entries = []
    for column in range(3):
        parts = []
        for axis, factor in zip(AXES, affine.linear[:, column].tolist(), strict=True):
            if factor:
                size = "" if abs(factor) == 1 else str(abs(factor))
                parts.append(f"{'-' if factor < 0 else '+'}{size}{axis}")
        if amount := Fraction(int(affine.shift[column]), DENOMINATOR):
            parts.append(f"{'-' if amount < 0 else '+'}{abs(amount)}")
        entries.append("".join(parts).removeprefix("+") or "0")
    return ",".join(entries)
