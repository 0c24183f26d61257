"""Two sets of twelve ordinary crystals each, slightly strained, for the metrics that compare sets."""

import numpy as np
from ase.build import bulk
from sample_crystals import crystal, cubic_perovskite

REFERENCE = [
    ("NaCl", "rocksalt", 5.64), ("MgO", "rocksalt", 4.21), ("ZnS", "zincblende", 5.41),
    ("CsCl", "cesiumchloride", 4.12), ("CaF2", "fluorite", 5.46), ("ZnO", "wurtzite", 3.25),
    ("Cu", "fcc", 3.61), ("Fe", "bcc", 2.87), ("Mg", "hcp", 3.21), ("Si", "diamond", 5.43),
]  # fmt: skip
GENERATED = [
    ("KBr", "rocksalt", 6.6), ("CoO", "rocksalt", 4.26), ("GaAs", "zincblende", 5.65),
    ("AlNi", "cesiumchloride", 2.88), ("SrF2", "fluorite", 5.8), ("GaN", "wurtzite", 3.19),
    ("Ag", "fcc", 4.09), ("W", "bcc", 3.17), ("Zn", "hcp", 2.66), ("Ge", "diamond", 5.66),
]  # fmt: skip


def ordinary(kind, seed):
    """Build one of the two sets; every cell is strained by about 1 %, every atom moved by about 0.03 Å."""
    rng = np.random.default_rng(seed)
    found = [bulk(name, structure, a=a) for name, structure, a in kind]
    cells = [(f"{a.symbols}", a.numbers, a.cell.array, a.get_scaled_positions()) for a in found]
    for one in (cubic_perovskite(), cubic_perovskite("KMgF3", 19, 12, 9, a=3.99)):
        cells.append((one.id, one.atomic_numbers, one.lattice, one.frac_coords))
    made = []
    for name, numbers, lattice, frac in cells:
        strained = lattice @ (np.eye(3) + 0.01 * rng.normal(size=(3, 3)))
        moved = frac + 0.03 * rng.normal(size=frac.shape) @ np.linalg.inv(strained)
        made.append(crystal(f"{name}-{seed}", numbers, strained, moved))
    return made
