"""Protostructures and crystals of every space group for tests."""

import numpy as np
import torch
from hypothesis import strategies as st

from descriptors.symmetry import unit_cell
from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Orbit, Protostructure
from descriptors.symmetry.space_group import space_group

GENERIC = np.array([[0.1379, 0.2713, 0.4127], [0.0531, 0.3347, 0.1873]])  # of two orbits on general positions
CELL = torch.tensor([[6.1, 7.3, 8.7, 81.0, 97.0, 104.0]], dtype=torch.float64)


def generic_cell(number: int) -> torch.Tensor:
    """Free parameters of a cell that has no more symmetry than the group demands."""
    names = unit_cell.parameter_names(number)
    free = torch.zeros(1, 6, dtype=torch.float64)
    for column, name in enumerate(names):
        free[0, column] = CELL[0, unit_cell.PARAMETERS["triclinic"].index(name)]
    return free


def on_position(number: int, index: int, free: np.ndarray) -> tuple[Protostructure, torch.Tensor]:
    """One orbit on a position, and two on general positions, which keep the group from being raised."""
    group = space_group(number)
    last = len(group.positions) - 1
    protostructure = Protostructure(number, (Orbit(index, 8), Orbit(last, 22), Orbit(last, 38)))
    coordinates = np.concatenate([free[: group.positions[index].n_free], *GENERIC])
    return protostructure, torch.from_numpy(coordinates)


def shortest_distance(frac: np.ndarray, lattice: np.ndarray) -> float:
    steps = frac[:, None] - frac
    steps -= np.rint(steps)
    distances = np.linalg.norm(steps @ lattice, axis=-1)
    return float(distances[~np.eye(len(frac), dtype=bool)].min(initial=np.inf))


def choices(max_orbits: int = 6) -> st.SearchStrategy:
    """Raw choices that `protostructure_of` makes a protostructure of; no checked function runs while they are drawn."""
    orbit = st.tuples(st.integers(0, 26), st.sampled_from([3, 8, 22, 38, 92]))
    return st.tuples(st.integers(1, 230), st.lists(orbit, min_size=1, max_size=max_orbits))


def protostructure_of(choice) -> Protostructure:
    """Any group, any positions that can be taken together."""
    number, drawn = choice
    positions = space_group(number).positions
    orbits: list[Orbit] = []
    for place, element in drawn:
        index = place % len(positions)
        if positions[index].n_free or index not in [orbit.index for orbit in orbits]:
            orbits.append(Orbit(index, element))
    return Protostructure(number, tuple(orbits))


def with_random_coordinates(protostructure: Protostructure, seed: int, *, primitive: bool = True):
    """The crystal at random free coordinates, and these."""
    random = np.random.default_rng(seed)
    free = torch.from_numpy(random.random(protostructure.n_free))
    maps = orbit_maps([protostructure], primitive=primitive)
    return maps.crystals(free, generic_cell(protostructure.number)), free
