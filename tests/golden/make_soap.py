"""Compute the golden values of SOAP power spectra with DScribe; writes soap.json beside itself.

    python tests/golden/make_soap.py        (DScribe 2.1.2)

DScribe makes one density per element. A density in which every element has a weight is their weighted sum, so
that p_qq' = Σ_AB w_q(A) w_q'(B) p_AB with p_AB the partial power spectrum of elements A and B.
"""

import json
from pathlib import Path

import numpy as np
from ase import Atoms
from crystals import as_json, golden_crystals
from dscribe.descriptors import SOAP

SETTINGS = {"cutoff": 5.0, "n_radial": 4, "l_max": 4, "sigma": 0.5}


def golden_values(atoms: Atoms) -> list:
    """Return p_qq'nn'l of every atom, indexed [atom, l, (q, n), (q', n')], for q = 1 and Z over mean Z."""
    n, l_max = SETTINGS["n_radial"], SETTINGS["l_max"]
    soap = SOAP(
        r_cut=SETTINGS["cutoff"],
        n_max=n,
        l_max=l_max,
        sigma=SETTINGS["sigma"],
        rbf="gto",
        weighting={"function": "poly", "r0": SETTINGS["cutoff"], "c": 1, "m": 1},
        species=sorted(set(atoms.numbers)),
        periodic=True,
    )
    features = soap.create(atoms)
    relative = {z: z / atoms.numbers.mean() for z in set(atoms.numbers)}
    total = np.zeros((len(atoms), l_max + 1, 2, n, 2, n))
    for first in set(atoms.numbers):
        for second in set(atoms.numbers):
            low, high = sorted((first, second))
            columns = features[:, soap.get_location((low, high))].reshape(len(atoms), l_max + 1, -1)
            partial = np.zeros((len(atoms), l_max + 1, n, n))
            if low == high:
                rows, cols = np.triu_indices(n)
                partial[..., rows, cols] = columns
                partial[..., cols, rows] = columns
            else:
                partial = columns.reshape(partial.shape)
                partial = partial if first == low else partial.swapaxes(2, 3)
            left, right = np.array([1, relative[first]]), np.array([1, relative[second]])
            total += np.einsum("p,q,alnm->alpnqm", left, right, partial)
    return total.reshape(len(atoms), l_max + 1, 2 * n, 2 * n)


if __name__ == "__main__":
    rows, cols = np.triu_indices(2 * SETTINGS["n_radial"])
    crystals = {
        name: as_json(atoms) | {"first_atom": golden_values(atoms)[0][:, rows, cols].ravel().tolist()}
        for name, atoms in golden_crystals().items()
    }
    golden = {"settings": SETTINGS, "weights": ["one", "relative_number"], "crystals": crystals}
    Path(__file__).with_name("soap.json").write_text(json.dumps(golden, indent=1) + "\n")
