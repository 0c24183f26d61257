"""Small crystals for the acceptance kits: sound ones, and every kind of unsound one."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from repdiff.crystals.crystal import Crystal

PEROVSKITE_SITES = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]


def crystal(
    id: str,
    numbers: Sequence[int] | Int[np.ndarray, " n_atoms"],
    lattice: object,
    frac: object,
    *,
    split: str | None = None,
) -> Crystal:
    """Make a crystal from lists."""
    return Crystal(
        id=id,
        atomic_numbers=np.array(numbers, dtype=np.int64),
        lattice=np.array(lattice, dtype=float).reshape(3, 3),
        frac_coords=np.array(frac, dtype=float).reshape(-1, 3),
        split=split,
    )


def cubic_perovskite(
    id: str = "SrTiO3", a_site: int = 38, b_site: int = 22, x_site: int = 8, a: float = 3.905
) -> Crystal:
    """Make a cubic perovskite; `a` is its lattice constant, Å."""
    return crystal(id, [a_site, b_site, x_site, x_site, x_site], np.eye(3) * a, PEROVSKITE_SITES)


def rock_salt(id: str = "NaCl", cation: int = 11, anion: int = 17, a: float = 5.64) -> Crystal:
    """Make a rock salt in its primitive cell; `a` is the cubic lattice constant, Å."""
    return crystal(id, [cation, anion], a / 2 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])


def invalid_crystals() -> list[Crystal]:
    """Make one crystal of each kind that no metric may stumble over."""
    cube = np.eye(3) * 4
    return [
        crystal("nan", [11, 17], cube, [[0, 0, np.nan], [0.5, 0.5, 0.5]]),
        crystal("infinite cell", [11, 17], np.full((3, 3), np.inf), [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("flat", [11, 17], [[4, 0, 0], [0, 4, 0], [4, 4, 0]], [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("overlap", [11, 17], cube, [[0, 0, 0], [0.99, 0.05, 0]]),
        crystal("element 0", [0, 17], cube, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("element 119", [119, 17], cube, [[0, 0, 0], [0.5, 0.5, 0.5]]),
        crystal("empty", [], cube, []),
    ]


def family() -> list[Crystal]:
    """Make 24 rock salts and perovskites in three splits, a data set to learn from in seconds."""
    halides = [(z, x) for z in (3, 11, 19, 37) for x in (9, 17, 35, 53)]
    oxides = [(a, b) for a in (20, 38, 56) for b in (22, 40, 72)][:8]
    made = [rock_salt(f"halide-{z}-{x}", z, x, 4.0 + 0.03 * z + 0.03 * x) for z, x in halides]
    made += [cubic_perovskite(f"oxide-{a}-{b}", a, b, 8, 3.6 + 0.008 * (a + b)) for a, b in oxides]
    splits = {0: "val", 1: "test"}
    return [one.replace(split=splits.get(row % 6, "train")) for row, one in enumerate(made)]
