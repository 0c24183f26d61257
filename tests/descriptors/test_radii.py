import numpy as np
from ase.data import covalent_radii as of_ase

from descriptors.radii import COVALENT, covalent_radii


def test_radii_are_those_that_ase_tabulates():
    found = covalent_radii().numpy()
    np.testing.assert_allclose(found[1 : len(COVALENT) + 1], of_ase[1 : len(COVALENT) + 1], atol=1e-6)
    assert found[0] == 0
    assert (found[len(COVALENT) :] == found[len(COVALENT)]).all()
    assert len(found) == 119
