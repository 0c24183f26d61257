"""Pairs of atoms within a cutoff, through all periodic images; no other module loops over images.

The search is exact for any cell: one atom, thin, long, skewed, left-handed, or a cutoff of many cells. For a
pair of atoms with fractional difference Δ, a sphere of radius r touches only image shifts s with |Δ + s| ≤ r
/ h along each axis, h being the distance between opposite faces of the cell. These boxes of shifts are
enumerated as one ragged list for all pairs of all crystals, in chunks of bounded memory, and filtered by true
distance. The list itself carries no gradient; distances computed from it do, by positions and by lattice.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import compiled_loops
from descriptors import lattice as cells
from descriptors.batch import CrystalBatch

CANDIDATES_PER_CHUNK = 4_000_000
ROOM = 1.3  # slots of a table over the neighbours expected from the density; more are made where it is not enough


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Directed pairs sorted by centre: atom `pair_idx[0]` sees atom `pair_idx[1]` of the cell at `shifts`.

    The displacement is cart[neighbour] + shifts @ lattice - cart[centre], for the coordinates of the batch as
    they are, wrapped or not.
    """

    pair_idx: Int[Tensor, "2 n_pairs"]
    shifts: Float[Tensor, "n_pairs 3"]

    def displacements(self, batch: CrystalBatch) -> Float[Tensor, "n_pairs 3"]:
        """Return the vectors from centre to neighbour, Å, differentiable by positions and lattice."""
        centre, neighbor = self.pair_idx
        frac = batch.frac_coords[neighbor] - batch.frac_coords[centre] + self.shifts
        return cells.frac_to_cart(frac, batch.lattice, batch.system_idx[centre])


@dataclass(frozen=True, kw_only=True)
class Centres:
    """Atoms that stand for all atoms of their crystals: one of each orbit.

    Attributes:
        atoms: Which atoms, ascending.
        multiplicity: Number of atoms that each stands for, itself included; they add up to the atoms of the crystal.
    """

    atoms: Int[Tensor, " n_centres"]
    multiplicity: Int[Tensor, " n_centres"]


def find_pairs(
    batch: CrystalBatch, cutoff: float, *, centres: Int[Tensor, " n_centres"] | None = None
) -> Pairs:
    """Find all directed pairs within `cutoff`, Å, images of an atom itself included, the atom itself not.

    Args:
        batch: Crystals.
        cutoff: Largest distance, Å.
        centres: Pairs of these centres alone, ascending; None for all atoms.

    Raises:
        ValueError: If the cutoff is not positive.
    """
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff} Å, expected a positive length")
    with torch.no_grad():
        centre, neighbor = _all_pairs(batch, centres)
        reach = cutoff / cells.plane_heights(batch.lattice) * (1 + 1e-6)
        difference = batch.frac_coords[neighbor] - batch.frac_coords[centre]
        reach = reach[batch.system_idx[centre]]
        lowest = torch.ceil(-reach - difference)
        n_shifts = (torch.floor(reach - difference) - lowest + 1).clamp(min=0).long()
        n_boxes = n_shifts.prod(1)
        found = []
        for part in _chunks(n_boxes):
            pair, shifts = _enumerate(n_shifts[part], n_boxes[part], lowest[part])
            frac = difference[part][pair] + shifts
            vectors = cells.frac_to_cart(frac, batch.lattice, batch.system_idx[centre[part][pair]])
            squared = (vectors**2).sum(1)
            itself = (centre[part][pair] == neighbor[part][pair]) & (shifts == 0).all(1)
            keep = (squared <= cutoff**2) & ~itself
            found.append((pair[keep] + part.start, shifts[keep]))
        if not found:
            nothing = torch.zeros(0, dtype=torch.long, device=batch.device)
            return Pairs(pair_idx=torch.stack([nothing, nothing]), shifts=batch.lattice.new_zeros(0, 3))
        pair = torch.cat([index for index, _ in found])
        return Pairs(
            pair_idx=torch.stack([centre[pair], neighbor[pair]]), shifts=torch.cat([s for _, s in found])
        )


def _all_pairs(
    batch: CrystalBatch, centres: Int[Tensor, " n_centres"] | None
) -> tuple[Int[Tensor, " n_all"], Int[Tensor, " n_all"]]:
    """Pair every centre with every atom of its crystal, itself included, sorted by centre."""
    atoms = torch.arange(batch.n_atoms, device=batch.device) if centres is None else centres
    counts = batch.n_atoms_per_system
    first = counts.cumsum(0) - counts
    per_centre = counts[batch.system_idx[atoms]]
    row = torch.repeat_interleave(torch.arange(len(atoms), device=batch.device), per_centre)
    offset = torch.arange(len(row), device=batch.device) - (per_centre.cumsum(0) - per_centre)[row]
    return atoms[row], first[batch.system_idx[atoms[row]]] + offset


def _chunks(sizes: Int[Tensor, " n_all"]) -> list[slice]:
    """Cut the list where the running sum of sizes passes a multiple of the chunk size."""
    if len(sizes) == 0:
        return []
    chunk = torch.div(sizes.cumsum(0) - 1, CANDIDATES_PER_CHUNK, rounding_mode="floor")
    edges = [0, *(torch.nonzero(chunk.diff()).flatten() + 1).tolist(), len(sizes)]
    return [slice(low, high) for low, high in pairwise(edges)]


def _enumerate(
    n_shifts: Int[Tensor, "n_all 3"], n_boxes: Int[Tensor, " n_all"], lowest: Float[Tensor, "n_all 3"]
) -> tuple[Int[Tensor, " n_candidates"], Float[Tensor, "n_candidates 3"]]:
    """List every shift of every pair's box: the index of the pair, and the shift."""
    pair = torch.repeat_interleave(torch.arange(len(n_boxes), device=n_boxes.device), n_boxes)
    number = torch.arange(len(pair), device=n_boxes.device) - (n_boxes.cumsum(0) - n_boxes)[pair]
    n_b, n_c = n_shifts[pair, 1], n_shifts[pair, 2]
    rest = torch.div(number, n_c, rounding_mode="floor")
    along = torch.stack([torch.div(rest, n_b, rounding_mode="floor"), rest % n_b, number % n_c], 1)
    return pair, lowest[pair] + along


@dataclass(frozen=True, kw_only=True)
class Neighborhood:
    """The neighbours of every centre in a padded table: a sum over neighbours becomes a matrix product.

    Centres are all atoms, or one atom of each orbit. Row i lists the neighbours of centre i and is filled up with
    absent entries, which `present` marks False. The table knows which atoms and images are near, not where they are:
    `vectors` computes that for moved atoms, so that a table made with a margin ("skin") beyond the cutoff stays valid
    while no atom has moved by half of it. Elements and crystals are those of all atoms.
    """

    neighbor_idx: Int[Tensor, "n_centres n_slots"]
    shifts: Float[Tensor, "n_centres n_slots 3"]
    present: Bool[Tensor, "n_centres n_slots"]
    atomic_numbers: Int[Tensor, " n_atoms"]
    system_idx: Int[Tensor, " n_atoms"]
    n_atoms_per_system: Int[Tensor, " n_systems"]
    centres: Centres | None = None

    @property
    def n_systems(self) -> int:
        """Number of crystals."""
        return len(self.n_atoms_per_system)

    @cached_property
    def system_of_centre(self) -> Int[Tensor, " n_centres"]:
        """Crystal of each centre."""
        return self.system_idx if self.centres is None else self.system_idx[self.centres.atoms]

    @cached_property
    def share(self) -> Float[Tensor, " n_centres"] | None:
        """Share of the atoms of its crystal that each centre stands for; None if every atom is a centre."""
        if self.centres is None:
            return None
        return self.centres.multiplicity.to(self.shifts) / self.n_atoms_per_system[self.system_of_centre]

    @cached_property
    def size(self) -> int | None:
        """Number of centres of every crystal, each an atom; None if they differ, or there is no crystal."""
        sizes = self.n_atoms_per_system
        if self.centres is not None or not self.n_systems or len(self.system_idx) % self.n_systems:
            return None
        size = len(self.system_idx) // self.n_systems
        return size if bool((sizes == size).all()) else None

    @cached_property
    def weights(self) -> dict[tuple[str, torch.dtype], Float[Tensor, " n_atoms"]]:
        """Element weights that have been computed for these atoms, by kind and type; they do not move."""
        return {}

    def vectors(
        self, frac_coords: Float[Tensor, "n_atoms 3"], lattice: Float[Tensor, "n_systems 3 3"]
    ) -> Float[Tensor, "n_centres n_slots 3"]:
        """Return the vectors to the neighbours, Å; absent entries give finite values that mean nothing."""
        here = frac_coords if self.centres is None else frac_coords[self.centres.atoms]
        frac = frac_coords[self.neighbor_idx] + self.shifts - here[:, None]
        return frac @ lattice[self.system_of_centre]


def find_neighborhood(batch: CrystalBatch, cutoff: float, *, centres: Centres | None = None) -> Neighborhood:
    """Find the neighbours within `cutoff`, Å, as a padded table.

    Absent entries point at the atom itself, one cell along a: a vector that is never zero, so that distances
    and their gradients stay finite. On a CPU the search is compiled; the table is the same.

    Args:
        batch: Crystals.
        cutoff: Largest distance, Å.
        centres: Atoms that stand for all; None makes every atom a centre.

    Raises:
        ValueError: If the cutoff is not positive.
    """
    if batch.device.type == "cpu":
        return _find_compiled(batch, cutoff, centres)
    itself = torch.arange(batch.n_atoms, device=batch.device) if centres is None else centres.atoms
    pairs = find_pairs(batch, cutoff, centres=itself)
    centre, neighbor = torch.searchsorted(itself, pairs.pair_idx[0]), pairs.pair_idx[1]
    counts = torch.bincount(centre, minlength=len(itself))
    n_slots = max(int(counts.max()), 1) if len(itself) else 1
    slot = torch.arange(len(centre), device=batch.device) - (counts.cumsum(0) - counts)[centre]
    neighbor_idx = itself[:, None].repeat(1, n_slots)
    neighbor_idx[centre, slot] = neighbor
    shifts = batch.lattice.new_zeros(len(itself), n_slots, 3)
    shifts[..., 0] = 1
    shifts[centre, slot] = pairs.shifts
    present = torch.zeros(len(itself), n_slots, dtype=torch.bool, device=batch.device)
    present[centre, slot] = True
    return Neighborhood(
        neighbor_idx=neighbor_idx,
        shifts=shifts,
        present=present,
        atomic_numbers=batch.atomic_numbers,
        system_idx=batch.system_idx,
        n_atoms_per_system=batch.n_atoms_per_system,
        centres=centres,
    )


def _find_compiled(batch: CrystalBatch, cutoff: float, centres: Centres | None) -> Neighborhood:
    """Do the same on a CPU, several times faster: no list of candidates is written to memory."""
    if not cutoff > 0:
        raise ValueError(f"cutoff is {cutoff} Å, expected a positive length")
    lattice = batch.lattice.detach().double()
    frac = batch.frac_coords.detach().double().numpy()
    sizes = batch.n_atoms_per_system
    first_atom = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)]).numpy()
    density = float((sizes / cells.volume(lattice)).max()) if batch.n_systems else 0.0
    n_slots = int(ROOM * density * 4 / 3 * math.pi * cutoff**3) + 16
    reach = (cutoff / cells.plane_heights(lattice) * (1 + 1e-6)).numpy()
    atoms = torch.arange(batch.n_atoms) if centres is None else centres.atoms
    places = (atoms.numpy(), batch.system_idx[atoms].numpy(), first_atom)
    counts = torch.empty(len(atoms), dtype=torch.long)
    while True:
        neighbor_idx = torch.empty(len(atoms), n_slots, dtype=torch.long)
        shifts = batch.lattice.new_empty(len(atoms), n_slots, 3)
        arrays = (counts.numpy(), neighbor_idx.numpy(), shifts.numpy())
        compiled_loops.find(frac, lattice.numpy(), reach, *places, float(cutoff), *arrays)
        most = max(int(counts.max()), 1) if len(atoms) else 1
        if most <= n_slots:
            break
        n_slots = most
    return Neighborhood(
        neighbor_idx=neighbor_idx[:, :most].contiguous(),
        shifts=shifts[:, :most].contiguous(),
        present=torch.arange(most) < counts[:, None],
        atomic_numbers=batch.atomic_numbers,
        system_idx=batch.system_idx,
        n_atoms_per_system=sizes,
        centres=centres,
    )
