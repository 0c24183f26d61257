"""Protostructures as arrays of whole numbers of one width, and back, without loss."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from descriptors.symmetry.protostructure import Orbit, Protostructure

INTEGER = np.int16


def encode_protostructures(
    protostructures: Sequence[Protostructure], *, max_orbits: int
) -> Int[np.ndarray, "n n_columns"]:
    """Write each protostructure as its space group, then atomic number and letter (a is 1) of each orbit, then zeros.

    >>> encode_protostructures([Protostructure.of(136, [(22, "a"), (8, "f")])], max_orbits=3).tolist()
    [[136, 22, 1, 8, 6, 0, 0]]

    Args:
        protostructures: Any number.
        max_orbits: Orbits there is room for.

    Raises:
        ValueError: If one has more orbits.
    """
    encoded = np.zeros((len(protostructures), 1 + 2 * max_orbits), dtype=INTEGER)
    for row, protostructure in zip(encoded, protostructures, strict=True):
        n_orbits = len(protostructure.orbits)
        if n_orbits > max_orbits:
            raise ValueError(f"a protostructure has {n_orbits} orbits, expected at most {max_orbits}")
        row[0] = protostructure.number
        row[1 : 1 + 2 * n_orbits] = [
            number for orbit in protostructure.orbits for number in (orbit.element, orbit.index + 1)
        ]
    return encoded


def decode_protostructures(encoded: Int[np.ndarray, "n n_columns"]) -> list[Protostructure]:
    """Read what `encode_protostructures` wrote.

    Raises:
        ValueError: If a row describes what cannot exist; the row is named.
    """
    decoded = []
    for number, row in enumerate(encoded.tolist()):
        pairs = [
            (element, letter)
            for element, letter in zip(row[1::2], row[2::2], strict=True)
            if element or letter
        ]
        try:
            decoded.append(
                Protostructure(row[0], tuple(Orbit(letter - 1, element) for element, letter in pairs))
            )
        except ValueError as error:
            raise ValueError(f"row {number}: {error}") from error
    return decoded
