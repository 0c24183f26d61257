import numpy as np
import pytest

from repdiff.crystals.crystal import Crystal
from repdiff.energies.registered import load_force_field


@pytest.fixture(scope="session")
def chgnet():
    """CHGNet, loaded once."""
    pytest.importorskip("chgnet", reason="chgnet is not installed")
    return load_force_field("chgnet")


def _crystal(id, numbers, lattice, frac):
    return Crystal(
        id=id,
        atomic_numbers=np.array(numbers, dtype=np.int64),
        lattice=np.array(lattice, dtype=float),
        frac_coords=np.array(frac, dtype=float),
    )


@pytest.fixture
def rock_salt():
    """NaCl, two atoms."""
    return _crystal("NaCl", [11, 17], 2.82 * (np.ones((3, 3)) - np.eye(3)), [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def perovskite():
    """SrTiO3, five atoms."""
    frac = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    return _crystal("SrTiO3", [38, 22, 8, 8, 8], np.eye(3) * 3.905, frac)


@pytest.fixture
def rattled(perovskite):
    """SrTiO3 with displaced atoms in a strained cell."""
    rng = np.random.default_rng(0)
    return perovskite.replace(
        id="rattled",
        frac_coords=perovskite.frac_coords + rng.normal(0, 0.02, (5, 3)),
        lattice=perovskite.lattice @ (np.eye(3) + rng.normal(0, 0.03, (3, 3))),
    )
