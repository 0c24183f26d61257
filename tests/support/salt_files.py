"""Rock salt for files of every dialect, and how such a file is read."""

from pathlib import Path

import numpy as np
from pymatgen.core import Lattice, Structure

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.load import Dataset, load_dataset

SALT = Structure(Lattice.cubic(4), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CIF = SALT.to(fmt="cif")


def load(path: Path) -> Dataset:
    return load_dataset(str(path), data_dir=None, progress=False)


def only(path: Path) -> Crystal:
    (crystal,) = load(path).crystals
    assert sorted(crystal.atomic_numbers.tolist()) == [11, 17]
    np.testing.assert_allclose(np.diag(crystal.lattice), 4, atol=1e-9)
    np.testing.assert_allclose(abs(crystal.frac_coords[0] - crystal.frac_coords[1]), 0.5, atol=1e-9)
    return crystal
