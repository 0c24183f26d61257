"""The crystals of the golden values, as ASE atoms."""

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal


def golden_crystals() -> dict[str, Atoms]:
    perovskite = crystal(
        ["Sr", "Ti", "O"],
        [(0.5, 0.5, 0.5), (0, 0, 0), (0.5, 0, 0)],
        spacegroup=221,
        cellpar=[3.905] * 3 + [90] * 3,
    )
    triclinic = Atoms(
        "KClO",
        cell=np.array([[4.1, 0.2, -0.3], [1.3, 4.6, 0.5], [-0.7, 1.1, 5.2]]),
        scaled_positions=[[0.11, -0.23, 0.34], [0.62, 0.55, 1.71], [0.25, 0.83, 0.95]],
        pbc=True,
    )
    return {
        "SrTiO3": Atoms(perovskite),
        "diamond": bulk("C", "diamond", a=3.567),
        "NaCl": bulk("NaCl", "rocksalt", a=5.64),
        "triclinic": triclinic,
    }


def as_json(atoms: Atoms) -> dict[str, list]:
    return {
        "lattice": atoms.cell.array.tolist(),
        "frac_coords": atoms.get_scaled_positions(wrap=False).tolist(),
        "atomic_numbers": atoms.numbers.tolist(),
    }
