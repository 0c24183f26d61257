"""Point groups of lattices, and all the space groups that a lattice allows.

Symmetry operations act on rows of fractional coordinates, x → x W + t, with W integer and t modulo 1. The point group
of a lattice is found from its metric; a space group is a subgroup of it with translations, multiples of 1/12, that
close modulo the lattice: integer linear equations for the translations of the generators, solved modulo 4 and modulo 3.
Groups with pure translations shorter than the cell vectors do not occur: the cell is taken to be primitive.
"""

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from jaxtyping import Bool, Float, Int

TWELFTHS = 12
STEPS = np.array(list(product((-1, 0, 1), repeat=3)))


def point_group(lattice: Float[np.ndarray, "3 3"], *, tolerance: float) -> Int[np.ndarray, "n_rotations 3 3"]:
    """Find the integer matrices W, entries -1, 0 and 1, for which W L has the metric of L; the unit matrix first.

    For a reduced cell no other entries occur. Where the matrices within the tolerance do not form a group, those that
    fit worst are left out until they do.

    Args:
        lattice: Rows are the cell vectors, Å.
        tolerance: Relative change of lengths, and change of the cosines of angles, that is forgiven.
    """
    metric = lattice @ lattice.T
    lengths = np.sqrt(np.diag(metric))
    forgiven = 2 * tolerance * np.outer(lengths, lengths)
    squared = np.einsum("ni,ij,nj->n", STEPS, metric, STEPS)
    images = [STEPS[np.abs(squared - metric[i, i]) <= forgiven[i, i]] for i in range(3)]
    choices = np.stack(np.meshgrid(*[np.arange(len(image)) for image in images], indexing="ij"), -1).reshape(
        -1, 3
    )
    rotations = np.stack([images[i][choices[:, i]] for i in range(3)], 1)
    rotations = rotations[np.abs(np.rint(np.linalg.det(rotations))) == 1]
    misfit = (np.abs(rotations @ metric @ rotations.transpose(0, 2, 1) - metric) / forgiven).max((1, 2))
    misfit[(rotations == np.eye(3, dtype=int)).all((1, 2))] = -1
    order = np.argsort(np.round(misfit, 6), kind="stable")
    rotations, misfit = rotations[order], np.round(misfit[order], 6)
    n_kept = int((misfit <= 1).sum())
    while (_multiplication(rotations[:n_kept]) < 0).any():
        n_kept = int((misfit < misfit[n_kept - 1]).sum())
    return rotations[:n_kept]


def _codes(rotations: Int[np.ndarray, "*n 3 3"]) -> Int[np.ndarray, "*n"]:
    """Number integer matrices; entries beyond ±1 give numbers that no smaller matrix has."""
    flat = rotations.reshape(*rotations.shape[:-2], 9) + 13
    return flat @ 27 ** np.arange(9, dtype=np.int64)


def _multiplication(rotations: Int[np.ndarray, "n 3 3"]) -> Int[np.ndarray, "n n"]:
    """Return which rotation the product of each two is, -1 where it is none of them."""
    codes = _codes(rotations)
    order = np.argsort(codes)
    products = _codes(rotations[:, None] @ rotations[None])
    found = order[np.searchsorted(codes, products, sorter=order).clip(max=len(codes) - 1)]
    return np.where(codes[found] == products, found, -1)


@dataclass(frozen=True, eq=False, kw_only=True)
class PointGroup:
    """Rotations of a lattice or a subgroup of them, and the subgroups of these.

    Attributes:
        rotations: Integer matrices, the unit matrix first.
        table: Which rotation the product of two is.
        subgroups: Rotations that belong to each subgroup; the trivial one first, ascending order.
        generators: Rotations that generate each subgroup, -1 for none; the inversion comes last.
    """

    rotations: Int[np.ndarray, "n 3 3"]
    table: Int[np.ndarray, "n n"]
    subgroups: Bool[np.ndarray, "n_subgroups n"]
    generators: Int[np.ndarray, "n_subgroups 3"]

    @property
    def orders(self) -> Int[np.ndarray, " n_subgroups"]:
        """Number of rotations of each subgroup."""
        return self.subgroups.sum(1)


@lru_cache(maxsize=512)
def point_subgroups(rotations: bytes) -> PointGroup:
    """Find all subgroups of a group of rotations; remembered, for few differ.

    Every crystallographic one has at most two generators besides the inversion.

    Args:
        rotations: Bytes of the int64 matrices that `point_group` returned.
    """
    matrices = np.frombuffer(rotations, dtype=np.int64).reshape(-1, 3, 3)
    table = _multiplication(matrices)
    inverted = np.nonzero((matrices == -np.eye(3, dtype=int)).all((1, 2)))[0]
    n = len(matrices)
    found: dict[bytes, tuple[np.ndarray, tuple[int, int, int]]] = {}
    for one in range(n):
        for other in range(one, n):
            for inversion in (-1, *inverted.tolist()):
                mask = _closure(table, [k for k in (one, other, inversion) if k >= 0])
                key = np.packbits(mask).tobytes()
                if key not in found or (inversion >= 0 and found[key][1][2] < 0):
                    found[key] = (mask, (one, other, inversion))
    ranked = sorted(found.values(), key=lambda entry: (int(entry[0].sum()), entry[1]))
    return PointGroup(
        rotations=matrices,
        table=table,
        subgroups=np.array([mask for mask, _ in ranked]),
        generators=np.array([generators for _, generators in ranked]),
    )


def _closure(table: Int[np.ndarray, "n n"], generators: list[int]) -> Bool[np.ndarray, " n"]:
    """Return the members of the group that some rotations generate."""
    mask = np.zeros(len(table), dtype=bool)
    mask[0] = True
    newest = [0]
    while newest:
        reached = {int(table[member, generator]) for member in newest for generator in generators}
        newest = [member for member in reached if not mask[member]]
        mask[newest] = True
    return mask


@dataclass(frozen=True, eq=False, kw_only=True)
class SpaceGroups:
    """All space groups of one point group, up to a shift of the origin by twelfths.

    Attributes:
        rotations: Integer matrices, the unit matrix first.
        table: Which rotation the product of two is.
        translations: Translations of each space group, in cell vectors.
        subgroups: Rotations of each subgroup, candidates for the symmetry of a site.
    """

    rotations: Int[np.ndarray, "n 3 3"]
    table: Int[np.ndarray, "n n"]
    translations: Float[np.ndarray, "n_groups n 3"]
    subgroups: Bool[np.ndarray, "n_subgroups n"]

    def images(self, points: Float[np.ndarray, "m 3"], which: int) -> Float[np.ndarray, "m n 3"]:
        """Apply every operation of one of the space groups to every point."""
        return np.einsum("mi,nij->mnj", points, self.rotations) + self.translations[which]


@lru_cache(maxsize=8192)
def space_groups(rotations: bytes, subgroup: int) -> SpaceGroups:
    """Solve for the translations of the generators that close modulo the lattice; the inversion sits at the origin.

    Args:
        rotations: Bytes of the int64 rotation matrices that `point_group` returned.
        subgroup: Index of the subgroup in the result of `point_subgroups`.
    """
    lattice_group = point_subgroups(rotations)
    members = np.nonzero(lattice_group.subgroups[subgroup])[0]
    position = {int(member): row for row, member in enumerate(members)}
    table = np.vectorize(position.__getitem__)(lattice_group.table[np.ix_(members, members)])
    matrices = lattice_group.rotations[members]
    generators = [position.get(int(k), -1) for k in lattice_group.generators[subgroup]]
    words, conditions = _words(matrices, table, generators)
    shifts = np.concatenate([matrices[k] - np.eye(3, dtype=int) for k in generators[:2]], 1)
    centric = generators[2] >= 0
    quarters = _solutions(conditions, shifts * (2 if centric else 1), modulus=4)
    thirds = _solutions(conditions, shifts * (0 if centric else 1), modulus=3)
    chosen = (9 * quarters[:, None] + 4 * thirds[None]).reshape(-1, 6) % TWELFTHS
    translations = np.einsum("gi,nij->gnj", chosen, words) % TWELFTHS
    inside = lattice_group.subgroups[~(lattice_group.subgroups & ~lattice_group.subgroups[subgroup]).any(1)]
    return SpaceGroups(
        rotations=matrices,
        table=table,
        translations=translations / TWELFTHS,
        subgroups=inside[:, members],
    )


def _words(
    matrices: Int[np.ndarray, "n 3 3"], table: Int[np.ndarray, "n n"], generators: list[int]
) -> tuple[Int[np.ndarray, "n 6 3"], Int[np.ndarray, "6 n_conditions"]]:
    """Write the translation of every rotation as a linear function of those of the first two generators.

    Returns:
        The functions, and what must vanish modulo 1 for the translations to be those of a group.
    """
    own = np.zeros((3, 6, 3), dtype=int)
    own[0, :3] = own[1, 3:] = np.eye(3, dtype=int)
    words: dict[int, np.ndarray] = {0: np.zeros((6, 3), dtype=int)}
    conditions = []
    queue = [0]
    for member in queue:
        for generator, translation in zip(generators, own, strict=True):
            if generator < 0:
                continue
            product_, word = int(table[member, generator]), words[member] @ matrices[generator] + translation
            if product_ in words:
                conditions.append(word - words[product_])
            else:
                words[product_] = word
                queue.append(product_)
    return np.stack([words[k] for k in range(len(matrices))]), np.concatenate(conditions, 1)


def _solutions(
    conditions: Int[np.ndarray, "6 n_conditions"], shifts: Int[np.ndarray, "3 6"], *, modulus: int
) -> Int[np.ndarray, "n_solutions 6"]:
    """Return all v with v @ conditions = 0 modulo `modulus`, one of those that differ by a multiple of `shifts`."""
    candidates = np.array(list(product(range(modulus), repeat=6)))
    for column in np.unique(conditions % modulus, axis=1).T:
        candidates = candidates[candidates @ column % modulus == 0]
    moved = np.unique(np.array(list(product(range(modulus), repeat=3))) @ shifts % modulus, axis=0)
    powers = modulus ** np.arange(6)
    codes = ((candidates[:, None] + moved[None]) % modulus @ powers).min(1)
    return candidates[np.unique(codes, return_index=True)[1]]
