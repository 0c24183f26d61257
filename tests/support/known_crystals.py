"""Well-known crystals by their textbook cells, and a data set made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pymatgen.core import Structure

FCC = np.array([[0, 1, 1], [1, 0, 1], [1, 1, 0]]) / 2
CUBIC = np.eye(3) * 4
BODY_CENTRED = np.array([[-1, 1, 1], [1, -1, 1], [1, 1, -1]]) * 2.0
FACE_CENTRED = FCC * 5
HEXAGONAL = np.array([[1, 0, 0], [-0.5, 3**0.5 / 2, 0], [0, 0, 1.6]]) * 3
ORTHORHOMBIC = np.diag([3.0, 4.0, 5.0])
TRICLINIC = np.array([[4.0, 0, 0], [0.7, 5.0, 0], [1.1, 0.4, 6.0]])
LATTICES = [CUBIC, BODY_CENTRED, FACE_CENTRED, HEXAGONAL, ORTHORHOMBIC, TRICLINIC]
SHANNON_RADII = {
    "Li": 0.76, "Na": 1.02, "K": 1.38, "Rb": 1.52, "Cs": 1.67, "F": 1.33, "Cl": 1.81, "Br": 1.96, "I": 2.20,
    "Ca": 1.34, "Sr": 1.44, "Ba": 1.61, "Ti": 0.605, "Zr": 0.72, "Hf": 0.71, "O": 1.40,
}  # fmt: skip


def rocksalt(cation: str = "Na", anion: str = "Cl") -> Structure:
    a = 2 * (SHANNON_RADII[cation] + SHANNON_RADII[anion])
    return Structure(a * FCC, [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def caesium_chloride(cation: str = "Cs", anion: str = "Cl") -> Structure:
    a = 2 / 3**0.5 * (SHANNON_RADII[cation] + SHANNON_RADII[anion])
    return Structure(a * np.eye(3), [cation, anion], [[0, 0, 0], [0.5, 0.5, 0.5]])


def perovskite(a_site: str = "Sr", b_site: str = "Ti") -> Structure:
    a = 2 * (SHANNON_RADII[b_site] + SHANNON_RADII["O"])
    sites = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return Structure(a * np.eye(3), [a_site, b_site, "O", "O", "O"], sites)


def diamond() -> Structure:
    return Structure(3.567 * FCC, ["C", "C"], [[0, 0, 0], [0.25, 0.25, 0.25]])


def family() -> list[Structure]:
    """Return 41 rocksalts, caesium chlorides and perovskites, all different."""
    halides = [(cation, anion) for cation in ("Na", "K", "Rb", "Cs") for anion in ("F", "Cl", "Br", "I")]
    return (
        [rocksalt(*pair) for pair in halides]
        + [caesium_chloride(*pair) for pair in halides]
        + [perovskite(a, b) for a in ("Ca", "Sr", "Ba") for b in ("Ti", "Zr", "Hf")]
    )


def write_extxyz(path: Path, structures: Sequence[Structure]) -> Path:
    """Write structures as frames named c00, c01, ..."""
    from ase import Atoms
    from ase.io import write

    frames = [
        Atoms(
            numbers=[site.specie.Z for site in structure],
            scaled_positions=structure.frac_coords,
            cell=structure.lattice.matrix,
            pbc=True,
            info={"id": f"c{number:02d}"},
        )
        for number, structure in enumerate(structures)
    ]
    write(path, frames, format="extxyz")
    return path
