"""Random symmetric starting positions for a given cell and formula.

Most real crystals are symmetric, and atoms on the general and special positions of a space group that the cell allows
have far fewer free coordinates than atoms anywhere: a random start is nearer to the crystal sought.

Source: the idea is that of random structure searching, AIRSS (Pickard and Needs, J. Phys.: Condens. Matter 2011, 23,
053201) and USPEX (Lyakhov et al., Comput. Phys. Commun. 2013, 184, 1172); the construction is
ours.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from reconstruction.space_groups import SpaceGroups, point_group, point_subgroups, space_groups

TOLERANCE = 0.03  # of lengths and, as a cosine, of angles: generated cells are only nearly symmetric
NEAREST = 0.5  # of the cube root of the volume per atom: atoms keep at least this distance
FARTHEST = 0.9  # of the same: atoms are not asked to keep more
FALL_OFF = 2.0  # a subgroup of index i in the point group of the lattice is drawn with odds i^-FALL_OFF
N_SITES = 128  # candidate orbits of each space group
N_DRAWS = 4  # groups looked at for each one asked for
N_FILLS = 8  # attempts to place the atoms in a group before it is given up
N_ROUNDS = 6  # attempts to fill the groups chosen before random positions take their place


@dataclass(frozen=True, eq=False, kw_only=True)
class Sites:
    """Candidate orbits of a space group in a cell, on general and special positions.

    Attributes:
        multiplicity: Number of atoms of each orbit.
        orbits: Their fractional coordinates, the first `multiplicity` of each row.
        compatible: Whether two orbits can be occupied together; no orbit can be occupied twice.
    """

    multiplicity: Int[np.ndarray, " n_sites"]
    orbits: Float[np.ndarray, "n_sites n_images 3"]
    compatible: Bool[np.ndarray, "n_sites n_sites"]

    @classmethod
    def sample(
        cls,
        lattice: Float[np.ndarray, "3 3"],
        groups: SpaceGroups,
        which: int,
        *,
        largest: int,
        closest: float,
        random: np.random.Generator,
    ) -> "Sites":
        """Project random points onto what random subgroups leave fixed.

        Args:
            lattice: Rows are the cell vectors, Å.
            groups: Space groups of one point group.
            which: Number of the one to use.
            largest: Orbits of more atoms are left out.
            closest: Å; orbits whose atoms are nearer to each other are left out, and two orbits are compatible if
                their atoms are not. Distances are taken in the nearest image by fractional coordinates.
            random: Source of randomness.
        """
        members = np.repeat(groups.subgroups, -(-N_SITES // len(groups.subgroups)), axis=0)
        points = random.random((len(members), 3))
        images = groups.images(points, which)
        images += np.rint(points[:, None] - images)
        points = np.einsum("sn,snj->sj", members, images) / members.sum(1)[:, None]
        images = groups.images(points, which)
        steps = images - points[:, None]
        steps -= np.rint(steps)
        fixed = (np.abs(steps) < 1e-9).all(2)
        apart = (_squared(steps, lattice) > closest**2) | fixed
        multiplicity = len(groups.rotations) // fixed.sum(1)
        kept = (fixed >= members).all(1) & apart.all(1) & (multiplicity <= largest)
        fixed, images, multiplicity = fixed[kept], images[kept], multiplicity[kept]
        coset = np.where(fixed[:, :, None], groups.table[None], fixed.shape[1]).min(1)
        first = coset != np.arange(fixed.shape[1])
        order = np.argsort(first, axis=1, kind="stable")[:, : multiplicity.max(initial=1)]
        orbits = np.take_along_axis(images, order[:, :, None], 1)
        present = np.arange(orbits.shape[1]) < multiplicity[:, None]
        steps = (orbits[present][:, None] - orbits[None, :, 0]).astype(np.float32)
        near = _squared(steps - np.rint(steps), lattice.astype(np.float32)) <= closest**2
        owners = np.nonzero(present)[0]
        compatible = np.ones((len(orbits), len(orbits)), dtype=bool)
        np.logical_and.at(compatible, owners, ~near)
        return cls(multiplicity=multiplicity, orbits=orbits, compatible=compatible & compatible.T)

    def fill(
        self, counts: Int[np.ndarray, " n_elements"], n_starts: int, random: np.random.Generator
    ) -> Float[np.ndarray, "n_filled n_atoms 3"]:
        """Put atoms on random compatible orbits, rarest element first; starts that ran out of room are left out.

        The size of each orbit is drawn first, evenly from those that leave a number of atoms that other sizes add up
        to; then the orbit.
        """
        offsets = np.cumsum(counts) - counts
        positions = np.zeros((n_starts, int(counts.sum()), 3))
        if len(self.multiplicity) == 0:
            return positions[:0]
        free = np.ones((n_starts, len(self.multiplicity)), dtype=bool)
        sizes, kind = np.unique(self.multiplicity, return_inverse=True)
        sums = _sums(sizes, int(counts.max()))
        for element in np.lexsort((random.random(len(counts)), counts)):
            missing = np.full(len(free), counts[element])
            while missing.any():
                useful = np.take(sums, missing[:, None] - sizes) & (sizes <= missing[:, None])
                useful &= np.stack([free[:, kind == k].any(1) for k in range(len(sizes))], 1)
                able = useful.any(1) | (missing == 0)
                free, missing, positions, useful = free[able], missing[able], positions[able], useful[able]
                rows = np.nonzero(missing)[0]
                size = np.where(useful[rows], random.random((len(rows), len(sizes))), -1).argmax(1)
                eligible = free[rows] & (kind == size[:, None])
                site = np.where(eligible, random.random(eligible.shape, dtype=np.float32), -1).argmax(1)
                first = offsets[element] + counts[element] - missing[rows]
                for image in range(int(sizes[size].max(initial=0))):
                    more = image < sizes[size]
                    positions[rows[more], first[more] + image] = self.orbits[site[more], image]
                free[rows] &= self.compatible[site]
                missing[rows] -= sizes[size]
        return positions


def _squared(steps: Float[np.ndarray, "*n 3"], lattice: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*n"]:
    """Return squared lengths of fractional steps, Å²."""
    return ((steps @ lattice) ** 2).sum(-1)


def _sums(sizes: Int[np.ndarray, " n_sizes"], most: int) -> Bool[np.ndarray, " _"]:
    """Tell which of the numbers from 0 to `most` are sums of the sizes, each used any number of times."""
    sums = np.zeros(most + 1, dtype=bool)
    sums[0] = True
    for total in range(1, most + 1):
        sums[total] = sums[total - sizes[sizes <= total]].any()
    return sums


@dataclass(frozen=True, eq=False, kw_only=True)
class SymmetricStarts:
    """Source of symmetric starting positions for crystals of one size.

    Attributes:
        counts: Atoms of each element of each crystal, in the order of the atoms.
        sites: Candidate orbits of several space groups for each crystal, in which its formula fits.
        odds: How often each of these is drawn.
    """

    counts: list[Int[np.ndarray, " n_elements"]]
    sites: list[list[Sites]]
    odds: list[Float[np.ndarray, " _"]]

    @classmethod
    def prepare(
        cls,
        lattice: Float[Tensor, "n_systems 3 3"],
        atomic_numbers: Int[Tensor, "n_systems n_atoms"],
        shortest: Float[Tensor, " n_systems"],
        *,
        n_groups: int,
        generator: torch.Generator,
    ) -> "SymmetricStarts":
        """Choose space groups for every crystal.

        Args:
            lattice: Reduced cells, rows are the cell vectors, Å.
            atomic_numbers: Z of every atom, equal ones side by side.
            shortest: Distance that atoms of a start should keep, Å; brought to 0.5 to 0.9 times the cube root of the
                volume per atom, so that there is room for them.
            n_groups: Largest number of space groups to choose for each crystal.
            generator: Source of randomness.
        """
        random = _numpy_generator(generator)
        counts, sites, odds = [], [], []
        cells = lattice.double().cpu().numpy()
        for cell, numbers, distance in zip(
            cells, atomic_numbers.cpu().numpy(), shortest.tolist(), strict=True
        ):
            edges = np.nonzero(np.diff(numbers, prepend=numbers[0] - 1, append=numbers[-1] + 1))[0]
            counts.append(np.diff(edges))
            size = (abs(np.linalg.det(cell)) / len(numbers)) ** (1 / 3)
            closest = min(max(distance, NEAREST * size), FARTHEST * size)
            fitting, weights = _fitting_groups(cell, counts[-1], closest, n_groups, random)
            sites.append(fitting)
            odds.append(weights)
        return cls(counts=counts, sites=sites, odds=odds)

    def draw(
        self,
        systems: Int[Tensor, " n_named"],
        n_starts: int,
        *,
        dtype: torch.dtype,
        generator: torch.Generator,
    ) -> Float[Tensor, "n_named n_starts n_atoms 3"]:
        """Draw fractional coordinates of several starts for each of the named crystals.

        Each start is of a random one of the space groups prepared; where none had room, it is random altogether.
        """
        random = _numpy_generator(generator)
        starts = np.stack([self._draw(system, n_starts, random) for system in systems.tolist()])
        return torch.as_tensor(starts, dtype=dtype, device=generator.device)

    def _draw(
        self, system: int, n_starts: int, random: np.random.Generator
    ) -> Float[np.ndarray, "n_starts n_atoms 3"]:
        """Fill random groups of one crystal until there are enough starts, asking for more each time."""
        counts, sites = self.counts[system], self.sites[system]
        starts = random.random((0, int(counts.sum()), 3))
        for attempt in range(N_ROUNDS * bool(sites)):
            n_missing = n_starts - len(starts)
            chosen = random.choice(len(sites), size=n_missing * 2**attempt, p=self.odds[system])
            filled = [
                sites[which].fill(counts, int(n), random) for which, n in enumerate(np.bincount(chosen)) if n
            ]
            starts = np.concatenate([starts, random.permutation(np.concatenate(filled))[:n_missing]])
            if len(starts) == n_starts:
                break
        return np.concatenate([starts, random.random((n_starts - len(starts), *starts.shape[1:]))])


def _numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """Start a generator of numpy from a number drawn from one of torch."""
    seed = torch.randint(2**62, (1,), device=generator.device, generator=generator)
    return np.random.default_rng(int(seed))


def _fitting_groups(
    lattice: Float[np.ndarray, "3 3"],
    counts: Int[np.ndarray, " n_elements"],
    closest: float,
    n_groups: int,
    random: np.random.Generator,
) -> tuple[list[Sites], Float[np.ndarray, " _"]]:
    """Draw space groups of the lattice until the formula fits into enough of them; return their odds as well."""
    rotations = point_group(lattice, tolerance=TOLERANCE).astype(np.int64).tobytes()
    orders = point_subgroups(rotations).orders
    odds = (orders / orders.max()) ** FALL_OFF / np.bincount(orders)[orders]
    fitting: list[Sites] = []
    weights: list[float] = []
    seen = set()
    for _ in range(N_DRAWS * n_groups):
        subgroup = int(random.choice(len(orders), p=odds / odds.sum()))
        groups = space_groups(rotations, subgroup)
        which = int(random.integers(len(groups.translations)))
        if (subgroup, which) in seen:
            continue
        seen.add((subgroup, which))
        sites = Sites.sample(
            lattice, groups, which, largest=int(counts.max()), closest=closest, random=random
        )
        if len(sites.fill(counts, N_FILLS, random)):
            fitting.append(sites)
            weights.append(odds[subgroup] / len(groups.translations))
            if len(fitting) == n_groups:
                break
    return fitting, np.array(weights) / sum(weights)
