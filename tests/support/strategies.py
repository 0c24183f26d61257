"""Random crystals for property tests."""

import numpy as np
import torch
from hypothesis import strategies as st

from descriptors.batch import CrystalBatch

SITES = [(i / 2, j / 2, k / 2) for i in range(2) for j in range(2) for k in range(2)]


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_subnormal=False)


@st.composite
def crystals(draw, max_systems: int = 3, max_atoms: int = 5, min_height: float = 1.5) -> CrystalBatch:
    """Draw a batch of triclinic crystals of either handedness, float64, 12 to 40 Å³ an atom.

    Atoms sit near distinct points of a 2 × 2 × 2 grid, so that no two overlap, and in any image; opposite
    faces of a cell are at least `min_height` Å apart, and the cell is enlarged where they are not.
    """
    parts = [draw(one_crystal(max_atoms, min_height)) for _ in range(draw(st.integers(1, max_systems)))]
    sizes = torch.tensor([len(elements) for _, _, elements in parts])
    return CrystalBatch(
        frac_coords=torch.tensor(np.concatenate([frac_coords for _, frac_coords, _ in parts])),
        lattice=torch.tensor(np.stack([lattice for lattice, _, _ in parts])),
        atomic_numbers=torch.tensor([number for _, _, elements in parts for number in elements]),
        system_idx=torch.repeat_interleave(torch.arange(len(parts)), sizes),
    )


@st.composite
def one_crystal(draw, max_atoms: int, min_height: float) -> tuple[np.ndarray, np.ndarray, list[int]]:
    skew = np.array(draw(st.lists(numbers(-0.45, 0.45), min_size=9, max_size=9))).reshape(3, 3)
    lengths = [draw(numbers(0.6, 1.8)) for _ in range(3)]
    lattice = np.diag(lengths) @ (np.eye(3) + skew * (1 - np.eye(3)))
    sites = draw(st.lists(st.sampled_from(SITES), min_size=1, max_size=max_atoms, unique=True))
    volume = len(sites) * draw(numbers(12, 40))
    lattice *= (volume / abs(np.linalg.det(lattice))) ** (1 / 3)
    lattice *= max(1.0, min_height * np.linalg.norm(np.linalg.inv(lattice), axis=0).max())
    if draw(st.booleans()):
        lattice = lattice[[1, 0, 2]]
    offset = st.lists(numbers(-0.12, 0.12), min_size=3, max_size=3)
    image = st.lists(st.integers(-2, 2), min_size=3, max_size=3)
    frac_coords = np.array([np.array(site) + draw(offset) + draw(image) for site in sites])
    elements = draw(st.lists(st.integers(1, 94), min_size=len(sites), max_size=len(sites)))
    return lattice, frac_coords, elements
