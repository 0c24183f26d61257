"""The acceptance kit catches bugs planted in a small descriptor, each by the check made for it."""

import itertools
from dataclasses import replace

import pytest
import torch

from descriptors.base import ALL_INVARIANCES, Descriptor
from descriptors.lattice import plane_heights
from descriptors.neighbors import Neighborhood
from descriptors.radial import cosine_cutoff
from descriptors.testing import CHECKS, MOVES, check_descriptor, example_crystals

CENTERS = torch.tensor([1.5, 2.5, 3.5, 4.5], dtype=torch.float64)


class Toy(Descriptor):
    """Mean over atoms of squared, element-weighted numbers of neighbours in soft shells; bugs on demand."""

    def __init__(self, bug: str | None = None) -> None:
        super().__init__()
        self.bug, self.cutoff, self.n_features = bug, 4.0, len(CENTERS)
        self.near: dict[int, torch.Tensor] = {}
        self.stages = (slice(0, 2), slice(2, 3 if bug == "stages leave some out" else 4))

    @classmethod
    def from_preset(cls, preset: str) -> Descriptor:
        return cls()

    def settings(self) -> dict[str, object]:
        return {"centers": (1, 2) if self.bug == "tuple in settings" else [1, 2]}

    def feature_names(self) -> list[str]:
        return [f"shell {k if self.bug != 'names repeat' else 0}" for k in range(4)]

    def forward(self, batch):
        search = {"nearest images only", "range from edge lengths", "not wrapped", "transposed lattice"}
        if self.bug not in search:
            return super().forward(batch)
        table = by_loops(batch, self.bug, self.cutoff)
        lattice = batch.lattice.mT if self.bug == "transposed lattice" else batch.lattice
        return self.evaluate(table, table.vectors(batch.frac_coords, lattice))

    def evaluate(self, neighborhood, vectors, *, n_stages=None):
        bug, all_systems = self.bug, neighborhood.system_idx
        systems = all_systems if bug == "every atom a centre" else neighborhood.system_of_centre
        if bug == "detached":
            vectors = vectors.detach()
        if bug == "detached by lattice":
            vectors = vectors.detach() + (vectors - vectors.detach()) * 0.5
        distances = torch.where(neighborhood.present, vectors.norm(dim=2), 2 * self.cutoff)
        envelope = cosine_cutoff(distances, cutoff=self.cutoff)
        if bug == "hard cutoff":
            envelope = (distances <= self.cutoff).to(distances)
        if bug == "kink at the cutoff":
            envelope = (1 - distances / self.cutoff).clamp(min=0)
        if bug == "whole table counts":
            envelope = torch.where(neighborhood.present, envelope + 0.01, 0)
        if bug == "divides by distance":
            envelope = envelope / distances
        if bug == "remembers who was near":
            near = self.near.setdefault(id(neighborhood), distances <= self.cutoff)
            envelope = torch.where(near, envelope, 0)
        weights = neighborhood.atomic_numbers.to(distances.dtype) / 50
        if bug == "blind to elements":
            weights = torch.ones_like(weights)
        if bug == "depends on order":
            weights = weights * (1 + torch.arange(len(weights)) % 2)
        shells = torch.exp(-((distances[..., None] - CENTERS.to(distances)) ** 2))
        shells = shells * (envelope * weights[neighborhood.neighbor_idx])[..., None]
        features = shells.sum(1) ** 2
        if bug == "chiral":
            features = features + torch.linalg.det((shells.mT @ vectors)[:, :3])[:, None]
        if bug == "sees axes":
            features = features + ((shells.mT @ vectors)[..., 2]) ** 2
        if bug == "single precision inside":
            features = features.float().to(features.dtype) if features.dtype == torch.float64 else features
        if bug == "double precision outside":
            features = features.double()
        if neighborhood.share is not None and bug != "orbits weigh alike":
            features = features * (neighborhood.share * neighborhood.n_atoms_per_system[systems])[:, None]
        pooled = features.new_zeros(neighborhood.n_systems, 4).index_add(0, systems, features)
        if bug != "not divided by number of atoms":
            pooled = pooled / torch.bincount(systems if bug == "orbits weigh alike" else all_systems)[:, None]
        if bug == "normalised over the batch":
            pooled = pooled / (1 + pooled.mean(0))
        if bug == "zero gradient leak":
            pooled = pooled + (pooled.sum() - pooled.sum().detach())
        if bug == "stages ignored":
            n_stages = None
        return pooled[:, : self.stages[n_stages - 1].stop if n_stages else 4]


def by_loops(batch, bug: str, cutoff: float) -> Neighborhood:
    """Search neighbours as a beginner would, with the bug."""
    wrapped = batch.frac_coords if bug == "not wrapped" else batch.wrapped().frac_coords
    rows: list[list[tuple[int, list[float]]]] = []
    for i in range(batch.n_atoms):
        lattice = batch.lattice[batch.system_idx[i]]
        reach = torch.ceil(cutoff / plane_heights(lattice[None])[0]).int()
        if bug == "range from edge lengths":
            reach = torch.ceil(cutoff / lattice.norm(dim=1)).int()
        if bug == "nearest images only":
            reach = torch.ones(3, dtype=torch.int)
        lattice = lattice.T if bug == "transposed lattice" else lattice
        row = []
        for j in (batch.system_idx == batch.system_idx[i]).nonzero().flatten().tolist():
            for shift in itertools.product(*(range(-n, n + 1) for n in reach.tolist())):
                step = torch.tensor(shift, dtype=batch.dtype)
                distance = float(((wrapped[j] + step - wrapped[i]) @ lattice).norm())
                if 1e-8 < distance <= cutoff:
                    own = wrapped[j] - batch.frac_coords[j] - wrapped[i] + batch.frac_coords[i]
                    row.append((j, (step + own).tolist()))
        rows.append(row)
    n_slots = max(1, *(len(row) for row in rows))
    filled = [row + [(i, [1.0, 0.0, 0.0])] * (n_slots - len(row)) for i, row in enumerate(rows)]
    return Neighborhood(
        neighbor_idx=torch.tensor([[j for j, _ in row] for row in filled]),
        shifts=torch.tensor([[shift for _, shift in row] for row in filled], dtype=batch.dtype),
        present=torch.tensor([[k < len(row) for k in range(n_slots)] for row in rows]),
        atomic_numbers=batch.atomic_numbers,
        system_idx=batch.system_idx,
        n_atoms_per_system=batch.n_atoms_per_system,
    )


CAUGHT_BY = {
    "not wrapped": "invariances",
    "nearest images only": "invariances",
    "range from edge lengths": "invariances",
    "transposed lattice": "invariances",
    "not divided by number of atoms": "invariances",
    "depends on order": "invariances",
    "chiral": "invariances",
    "sees axes": "invariances",
    "hard cutoff": "smooth at the cutoff",
    "kink at the cutoff": "smooth at the cutoff",
    "detached": "gradients",
    "detached by lattice": "gradients",
    "normalised over the batch": "batch equals loop",
    "zero gradient leak": "gradient confined",
    "whole table counts": "skin",
    "remembers who was near": "skin",
    "divides by distance": "finite",
    "blind to elements": "dependences",
    "single precision inside": "gradients",
    "double precision outside": "layout and type",
    "tuple in settings": "declarations",
    "names repeat": "declarations",
    "stages leave some out": "stages",
    "stages ignored": "stages",
    "every atom a centre": "centres",
    "orbits weigh alike": "centres",
}


def test_a_descriptor_without_a_bug_passes():
    check_descriptor(Toy())


@pytest.mark.parametrize("bug", CAUGHT_BY)
def test_the_check_made_for_a_bug_catches_it(bug):
    with pytest.raises(AssertionError):
        CHECKS[CAUGHT_BY[bug]](Toy(bug), example_crystals())


@pytest.mark.parametrize("name", ["cutoff", "n_features", "stages"])
def test_a_declaration_that_is_missing_is_named(name):
    descriptor = Toy()
    delattr(descriptor, name)
    with pytest.raises(AssertionError, match=f"Toy does not set {name};"):
        check_descriptor(descriptor)


def test_there_is_a_move_for_every_invariance():
    assert set(MOVES) == ALL_INVARIANCES


@pytest.mark.parametrize("move", sorted(MOVES))
def test_a_move_changes_the_numbers_but_not_the_crystal(move):
    from pymatgen.analysis.structure_matcher import StructureMatcher

    from descriptors.batch import to_structures

    batch = example_crystals()
    moved = MOVES[move](batch)
    assert moved.n_atoms != batch.n_atoms or not (
        torch.equal(moved.frac_coords, batch.frac_coords) and torch.equal(moved.lattice, batch.lattice)
    )
    matcher = StructureMatcher(ltol=1e-4, stol=1e-4, angle_tol=1e-2)
    for before, after in zip(to_structures(batch), to_structures(moved), strict=True):
        assert matcher.fit(before, after)


def test_an_undeclared_dependence_is_reported():
    class Stoic(Toy):
        depends_on = frozenset({"lattice", "atomic_numbers"})

    with pytest.raises(AssertionError, match="changes with frac_coords"):
        CHECKS["dependences"](Stoic(), example_crystals())


def test_an_undeclared_invariance_is_not_asked_for():
    class Honest(Toy):
        invariant_to = ALL_INVARIANCES - {"supercell"}

    CHECKS["invariances"](Honest("not divided by number of atoms"), replace(example_crystals()))
