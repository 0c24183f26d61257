"""Which crystals are the same one, whatever their cell, orientation, origin, order and small noise?"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce
from math import gcd

import numpy as np
import torch
from jaxtyping import Float, Int
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from descriptors.neighbors import find_pairs
from repdiff.crystals.crystal import Crystal, to_batch, to_structure
from repdiff.execution.progress import progress_bar

N_NEIGHBORS = 24  # of each element, nearest first
CUTOFF = 2.5  # in units of the cube root of the volume per atom: 65 neighbours on average
VOLUME_TOLERANCE = 0.05  # relative, of the cube root of the volume per atom
# StructureMatcher joins 139 of 140 sampled pairs of Carbon-24 and MP-20 that are closer than SAME, and at most 4 %
# of those farther apart than SIMILAR; what lies between is shown to it.
SAME = 0.001
SIMILAR = 0.2
N_CANDIDATES = 3  # how many similar crystals StructureMatcher compares with each one
CRYSTALS_PER_BATCH = 500


def group_duplicates(crystals: Sequence[Crystal], *, progress: bool = True) -> Int[np.ndarray, " n_crystals"]:
    """Number the distinct crystals: equal numbers mean duplicates of one another, directly or through others.

    Only crystals of equal reduced formula are compared. Each gets a fingerprint: for every pair of elements,
    the distances to the 24 nearest neighbours, averaged over the atoms of the element, in a cell scaled to
    unit volume per atom. It does not depend on the choice of cell and changes steadily with the positions.
    Equal fingerprints mean the same crystal; where they are close, pymatgen's StructureMatcher decides, for
    the three nearest only, so that 10 000 crystals of one formula stay affordable.

    Source of the fingerprint: Widdowson et al., "Average minimum distances of periodic point sets", MATCH 87
    (2022) 529; unlike there, resolved by element and cut off at 2.5 times the atomic length.
    """
    families: dict[tuple[tuple[int, int], ...], list[int]] = defaultdict(list)
    for number, crystal in enumerate(crystals):
        families[reduced_formula_of(crystal)].append(number)
    families = {formula: members for formula, members in families.items() if len(members) > 1}
    repeated = [number for members in families.values() for number in members]
    prints = dict(
        zip(repeated, distance_fingerprints([crystals[n] for n in repeated], progress=progress), strict=True)
    )
    owner = np.arange(len(crystals))
    doubtful: list[tuple[int, int]] = []
    for members in families.values():
        features = np.array([prints[number] for number in members])
        labels = _join_same(features)
        _, first = np.unique(labels, return_index=True)
        owner[members] = np.array(members)[first[labels]]
        doubtful += [(members[first[i]], members[first[j]]) for i, j in _similar(features[first])]
    return _confirm(crystals, owner, doubtful, progress)


def reduced_formula_of(crystal: Crystal) -> tuple[tuple[int, int], ...]:
    """Return the elements and their numbers of atoms in the smallest whole numbers; only equal ones are compared."""
    numbers, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    divisor = reduce(gcd, counts.tolist())
    return tuple(zip(numbers.tolist(), (counts // divisor).tolist(), strict=True))


def distance_fingerprints(
    crystals: Sequence[Crystal], *, progress: bool = False
) -> list[Float[np.ndarray, " n_features"]]:
    """Compute the fingerprints that `group_duplicates` compares, equally long for equal reduced formulas.

    The first feature is the logarithm of the length scale, the cube root of the volume per atom in Å; the others are
    lengths in units of it.

    Args:
        crystals: Each with atoms and a volume.
        progress: Show a bar on stderr when there are 5000 or more.
    """
    order = sorted(range(len(crystals)), key=lambda number: crystals[number].n_atoms)
    prints: list[np.ndarray] = [np.zeros(0)] * len(crystals)
    with progress_bar(
        total=len(order), desc="find duplicates", unit="", disable=not progress or len(order) < 5000
    ) as bar:
        for start in range(0, len(order), CRYSTALS_PER_BATCH):
            part = order[start : start + CRYSTALS_PER_BATCH]
            for number, features in zip(part, _fingerprint([crystals[n] for n in part]), strict=True):
                prints[number] = features
            bar.update(len(part))
    return prints


def _fingerprint(crystals: Sequence[Crystal]) -> Iterator[Float[np.ndarray, " n_features"]]:
    scales = [(crystal.volume / crystal.n_atoms) ** (1 / 3) for crystal in crystals]
    elements = [np.unique(crystal.atomic_numbers, return_inverse=True)[1] for crystal in crystals]
    batch = to_batch(
        [
            crystal.replace(lattice=crystal.lattice / scale)
            for crystal, scale in zip(crystals, scales, strict=True)
        ]
    )
    element = torch.as_tensor(np.concatenate(elements))
    n_elements = int(element.max()) + 1
    pairs = find_pairs(batch, CUTOFF)
    shell = pairs.pair_idx[0] * n_elements + element[pairs.pair_idx[1]]  # centre and element of the neighbour
    lengths, order = pairs.displacements(batch).norm(dim=1).sort(stable=True)
    shell, by_shell = shell[order].sort(stable=True)
    lengths = lengths[by_shell]
    counts = torch.bincount(shell, minlength=batch.n_atoms * n_elements)
    place = torch.arange(len(shell)) - (counts.cumsum(0) - counts)[shell]
    near = torch.full((batch.n_atoms * n_elements, N_NEIGHBORS), CUTOFF, dtype=batch.dtype)
    near[shell[place < N_NEIGHBORS], place[place < N_NEIGHBORS]] = lengths[place < N_NEIGHBORS]
    ends = np.cumsum([crystal.n_atoms for crystal in crystals])[:-1]
    tables = np.split(near.view(batch.n_atoms, n_elements, N_NEIGHBORS).numpy(), ends)
    for table, own, scale in zip(tables, elements, scales, strict=True):
        kinds = range(int(own.max()) + 1)
        means = [table[own == kind][:, : len(kinds)].mean(0).ravel() for kind in kinds]
        yield np.concatenate([[np.log(scale)], *means])


def _close_pairs(
    features: Float[np.ndarray, "n_members n_features"], tolerance: float
) -> Iterator[tuple[int, Int[np.ndarray, " n_close"], Float[np.ndarray, " n_close"]]]:
    """Go through all pairs within a tolerance of the largest difference; each member with those after it.

    The means of two fingerprints differ by no more than their largest difference, so that in the order of the
    means only a window needs to be looked at.
    """
    means = features[:, 1:].mean(1)
    order = np.argsort(means, kind="stable")
    ends = np.searchsorted(means[order], means[order] + tolerance, side="right")
    for place, (member, end) in enumerate(zip(order.tolist(), ends.tolist(), strict=True)):
        others = order[place + 1 : end]
        difference = np.abs(features[others] - features[member])
        distance = difference[:, 1:].max(1)
        close = (distance <= tolerance) & (difference[:, 0] <= VOLUME_TOLERANCE)
        yield member, others[close], distance[close]


def _join_same(features: Float[np.ndarray, "n_members n_features"]) -> Int[np.ndarray, " n_members"]:
    links = [(member, others) for member, others, _ in _close_pairs(features, SAME)]
    rows = np.concatenate([np.full(len(others), member) for member, others in links])
    columns = np.concatenate([others for _, others in links])
    graph = coo_array((np.ones(len(rows), np.int8), (rows, columns)), shape=(len(features),) * 2)
    return connected_components(graph, directed=False)[1]


def _similar(features: Float[np.ndarray, "n_members n_features"]) -> list[tuple[int, int]]:
    """List the pairs that StructureMatcher shall look at, nearest first."""
    found = []
    for member, others, distances in _close_pairs(features, SIMILAR):
        nearest = np.argsort(distances, kind="stable")[:N_CANDIDATES]
        found += [(float(distances[k]), member, int(others[k])) for k in nearest]
    return [(i, j) for _, i, j in sorted(found)]


def _confirm(
    crystals: Sequence[Crystal],
    owner: Int[np.ndarray, " n_crystals"],
    doubtful: Sequence[tuple[int, int]],
    progress: bool,
) -> Int[np.ndarray, " n_crystals"]:
    """Join the crystals of those pairs that StructureMatcher calls the same."""
    from pymatgen.analysis.structure_matcher import StructureMatcher

    matcher = StructureMatcher()
    parent = owner.copy()

    def root(number: int) -> int:
        while parent[number] != number:
            number = int(parent[number])
        return number

    for i, j in progress_bar(
        doubtful, desc="compare similar crystals", unit="", disable=not progress or len(doubtful) < 200
    ):
        first, second = sorted((root(i), root(j)))
        if first != second and matcher.fit(to_structure(crystals[i]), to_structure(crystals[j])):
            parent[second] = first
    return np.array([root(number) for number in range(len(crystals))], dtype=np.int64)
