"""Compute embedded atom densities straight from the formula; writes ead.json beside itself.

    python tests/golden/make_ead.py

Needs ASE and NumPy alone; no code of this project takes part. For each atom i

    ρ_i(l, η, R_s) = Σ_{lx+ly+lz=l} l!/(lx! ly! lz!) (Σ_j w_j x^lx y^ly z^lz exp(-η (r - R_s)²) f_c(r))²
"""

import itertools
import json
import math
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.neighborlist import neighbor_list
from crystals import as_json, golden_crystals

PAPER = {
    "cutoff": 20.0,
    "etas": [1.0, 20.0, 90.0],
    "centers": [0.0, 2.0, 2.8, 4.5, 9.9, 16.3, 19.9],
    "orders": [0],
}
SMALL = {"cutoff": 5.0, "etas": [0.5, 3.0], "centers": [1.0, 2.5, 4.0], "orders": [0, 1, 2, 3]}


def density(
    vectors: np.ndarray, weights: np.ndarray, order: int, eta: float, center: float, cutoff: float, unit: bool
) -> float:
    distances = np.sqrt((vectors**2).sum(1))
    envelope = np.exp(-eta * (distances - center) ** 2) * (np.cos(np.pi * distances / cutoff) + 1) / 2
    steps = vectors / distances[:, None] if unit else vectors
    total = 0.0
    for powers in itertools.product(range(order + 1), repeat=3):
        if sum(powers) == order:
            factor = math.factorial(order) / math.prod(math.factorial(power) for power in powers)
            orbital = steps[:, 0] ** powers[0] * steps[:, 1] ** powers[1] * steps[:, 2] ** powers[2]
            total += factor * (weights * orbital * envelope).sum() ** 2
    return total


def per_atom(atoms: Atoms, settings: dict, weights: np.ndarray, unit: bool) -> np.ndarray:
    """Return densities with one row an atom, columns ordered by l, then η, then R_s."""
    centre, neighbor, vectors = neighbor_list("ijD", atoms, settings["cutoff"])
    return np.array(
        [
            [
                density(
                    vectors[centre == i],
                    weights[neighbor[centre == i]],
                    order,
                    eta,
                    center,
                    settings["cutoff"],
                    unit,
                )
                for order in settings["orders"]
                for eta in settings["etas"]
                for center in settings["centers"]
            ]
            for i in range(len(atoms))
        ]
    )


def golden_values(atoms: Atoms) -> dict[str, list]:
    number = atoms.numbers.astype(float)
    relative = number / number.mean()
    paper = per_atom(atoms, PAPER, number, unit=False)
    small = per_atom(atoms, SMALL, relative, unit=True)
    return {
        "paper": np.concatenate([paper.max(0), paper.min(0)]).tolist(),
        "small_logarithm": np.concatenate(
            [np.log(1 + small).mean(0), (np.log(1 + small) * relative[:, None]).mean(0)]
        ).tolist(),
        "small_lengths": per_atom(atoms, SMALL, relative, unit=False).max(0).tolist(),
    }


if __name__ == "__main__":
    crystals = {
        name: as_json(atoms) | {"values": golden_values(atoms)} for name, atoms in golden_crystals().items()
    }
    golden = {"paper": PAPER, "small": SMALL, "crystals": crystals}
    Path(__file__).with_name("ead.json").write_text(json.dumps(golden, indent=1) + "\n")
