#!/usr/bin/env python
"""Write descriptors/symmetry/space_groups.json: operations, Wyckoff positions and equivalent settings of all groups.

    pip install --no-deps pyxtal && scripts/make_wyckoff_table.py

Operations and symbols come from moyopy, in the standard settings; the representatives of the Wyckoff positions from
the list of pyxtal, which is that of the International Tables. The equivalent settings are computed here: for each
permutation of Wyckoff letters that some map of the affine normaliser causes, the simplest such map. For all groups but
the triclinic and monoclinic ones, whose cells can be sheared, that is the Euclidean normaliser of the most special
cell; none of it depends on the metric of a crystal. pyxtal is needed by this script only, never by the package.
"""

import argparse
import ast
import csv
import importlib.util
import json
from collections.abc import Iterator
from fractions import Fraction
from importlib.metadata import version
from itertools import product
from pathlib import Path

import numpy as np

from descriptors.symmetry import space_group as tables
from descriptors.symmetry.affine import DENOMINATOR, Affine, write_affine
from descriptors.symmetry.locate import locate
from descriptors.symmetry.space_group import LETTERS, SpaceGroup

GENERIC = np.array([0.1379, 0.2713, 0.4127])  # free coordinates on no special position
TRICLINIC, MONOCLINIC = 2, 15
GRID = np.array(list(product(range(DENOMINATOR), repeat=3)))


def main() -> None:
    """Write the table."""
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    positions = read_positions()
    groups = [{**describe(number), "positions": positions[number]} for number in range(1, 231)]
    write(groups)
    for number, record in enumerate(groups, start=1):
        record["settings"] = find_settings(tables.space_group(number))
        print(number, record["symbol"], len(record["settings"]))
    write(groups)


def write(groups: list[dict[str, object]]) -> None:
    """Write what is known so far; later steps read it."""
    sources = {
        "operations and symbols": f"moyopy {version('moyopy')}, Setting.standard()",
        "positions": f"pyxtal {version('pyxtal')} (MIT), database/wyckoff_list.csv",
        "settings": "scripts/make_wyckoff_table.py: letters after the map that follows, simplest of each permutation",
    }
    lines = ",\n".join(json.dumps(group, separators=(",", ":")) for group in groups)
    text = f'{{"sources":{json.dumps(sources)},\n"groups":[\n{lines}\n]}}\n'
    tables.TABLE.write_text(text, encoding="utf-8")


def read_positions() -> dict[int, list[str]]:
    """Read one representative of each position of each group, a first."""
    spec = importlib.util.find_spec("pyxtal")
    if spec is None or spec.origin is None:
        raise SystemExit("pyxtal is not installed: pip install --no-deps pyxtal")
    path = Path(spec.origin).parent / "database" / "wyckoff_list.csv"
    with path.open(encoding="utf-8") as file:
        rows = [row for row in csv.reader(file) if row and row[0].isdigit() and row[0] != "0"]
    return {
        int(row[0]): [coset[0].replace(" ", "") for coset in reversed(ast.literal_eval(row[1]))]
        for row in rows
    }


def describe(number: int) -> dict[str, object]:
    """Take symbol and operations, one for each rotation, from moyopy."""
    import moyopy

    operations = moyopy.operations_from_number(number, setting=moyopy.Setting.standard())
    texts: dict[bytes, str] = {}
    for rotation, translation in zip(operations.rotations, operations.translations, strict=True):
        linear = np.array(rotation).T
        shift = np.array([int(Fraction(t).limit_denominator(24) * DENOMINATOR) for t in translation])
        texts.setdefault(linear.tobytes(), write_affine(Affine(linear, shift % DENOMINATOR)))
    symbol = moyopy.SpaceGroupType(number).hm_short.replace(" ", "")
    return {"symbol": symbol, "operations": list(texts.values())}


def find_settings(group: SpaceGroup) -> dict[str, str]:
    """Find the permutations of letters that maps of the normaliser cause, and the simplest map of each.

    The n-th letter of a key is that of the position which the n-th position becomes.
    """
    identity = Affine(np.eye(3, dtype=np.int64), np.zeros(3, dtype=np.int64))
    letters = str(LETTERS[: len(group.positions)])
    if len(letters) == 1:
        return {letters: write_affine(identity)}
    found: dict[str, Affine] = {letters: identity}
    shifts = translations(group, identity.linear)
    generators: dict[str, Affine] = {}
    for shift in shifts:
        move = Affine(identity.linear, shift)
        generators.setdefault(permutation(group, move), move)
    for linear in linear_parts(group):
        solutions = translations(group, linear)
        if len(solutions):
            move = Affine(linear, solutions[0])
            generators.setdefault(permutation(group, move), move)
    found |= generators
    queue = list(found)
    for word in queue:
        for letters_after, move in generators.items():
            longer = "".join(letters_after[LETTERS.index(letter)] for letter in word)
            if longer not in found:
                found[longer] = move.after(found[word])
                queue.append(longer)
    return {key: write_affine(found[key]) for key in [letters, *sorted(found.keys() - {letters})]}


def linear_parts(group: SpaceGroup) -> Iterator[np.ndarray]:
    """Iterate over integer matrices that keep the lattice and the point group, simplest first."""
    rotations = {rotation.tobytes() for rotation in group.rotations}
    seen = set()
    to_primitive, vectors = group.to_primitive, group.primitive_vectors
    modulus = 2 if group.number <= TRICLINIC else 4  # positions at halves, or at halves and quarters
    for linear in candidates(group.number):
        if (linear % modulus).tobytes() in seen:
            continue
        inverse = np.linalg.inv(linear)
        conjugates = np.rint(inverse @ group.rotations @ linear).astype(np.int64)
        in_primitive = vectors @ linear @ to_primitive
        if np.abs(in_primitive - np.rint(in_primitive)).max() < 1e-9 and all(
            rotation.tobytes() in rotations for rotation in conjugates
        ):
            seen.add((linear % modulus).tobytes())
            yield linear


def candidates(number: int) -> list[np.ndarray]:
    """Return unimodular integer matrices, simplest first; for sheared cells entries up to 1, or 2 within a plane."""
    if TRICLINIC < number <= MONOCLINIC:
        blocks = np.array(list(product(range(-2, 3), repeat=4)))
        matrices = np.zeros((len(blocks), 3, 3), dtype=np.int64)
        matrices[:, 0, 0], matrices[:, 0, 2], matrices[:, 2, 0], matrices[:, 2, 2] = blocks.T
        matrices[:, 1, 1] = 1
    else:
        matrices = np.array(list(product((-1, 0, 1), repeat=9))).reshape(-1, 3, 3)
    determinants = np.rint(np.linalg.det(matrices))
    matrices = matrices[np.abs(determinants) == 1]
    simplicity = 10 * np.abs(matrices).sum((1, 2)) + np.abs(matrices - np.eye(3, dtype=int)).sum((1, 2))
    return list(matrices[np.argsort(simplicity, kind="stable")])


def translations(group: SpaceGroup, linear: np.ndarray) -> np.ndarray:
    """Return the translations, simplest first, with which a linear part maps the group onto itself."""
    inverse = np.rint(np.linalg.inv(linear)).astype(np.int64)
    shifts = {
        rotation.tobytes(): shift for rotation, shift in zip(group.rotations, group.translations, strict=True)
    }
    kept = GRID
    for rotation, shift in zip(group.rotations, group.translations, strict=True):
        conjugate = inverse @ rotation @ linear
        gap = shift @ linear - shifts[conjugate.tobytes()]
        moved = (kept @ (np.eye(3, dtype=np.int64) - conjugate) + gap) @ group.to_primitive
        kept = kept[(moved % DENOMINATOR == 0).all(1)]
    return kept[np.lexsort((kept.sum(1), (kept != 0).sum(1)))]


def permutation(group: SpaceGroup, move: Affine) -> str:
    """Return the letter that each position becomes under a map."""
    letters = []
    for position in group.positions:
        point = position.origin / DENOMINATOR + GENERIC[: position.n_free] @ position.directions
        letters.append(locate(group, move(point)).letter)
    return "".join(letters)


if __name__ == "__main__":
    main()
