"""Which vectors are searched together: batches of one size and kind, bounded in atoms and in memory."""

import math
from collections.abc import Collection

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor
from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from reconstruction.decode import Decoded
from reconstruction.minimize import SKIN
from reconstruction.presets import Search

CPU_ATOMS, GPU_ATOMS = 1200, 30_000  # atoms of all trials in one batch: more of them are no faster
CPU_BYTES, GPU_BYTES = 4e8, 4e9  # of one evaluation with its gradient; a GPU that has less halves its batches
SLOT_BYTES = (
    120  # of a slot of the neighbour table outside the descriptor: indices, shifts, vectors, gradients
)
TRANSIENT = 1.5  # most memory that the descriptor takes over what it keeps for its gradient
SLACK = 1.2  # widest row of a neighbour table over the mean one
FEWEST_SLOTS = 16


def plan(
    decoded: Decoded,
    descriptor: Descriptor,
    settings: Search,
    *,
    device: torch.device,
    leave_out: Collection[int] = (),
) -> list[list[int]]:
    """Group the rows that were not refused; each group is one call of the search.

    A group holds crystals of one size, and of one kind: those of one element and compounds are steered differently.
    Within that, crystals of similar density are together, since the densest decides how wide the neighbour table of
    all is. The groups depend on the vectors, the descriptor, the search and the type of the device alone.

    Args:
        decoded: The vectors.
        descriptor: Descriptor to match; the memory that its gradient needs is measured on a small crystal.
        settings: Settings of the search.
        device: Where it will run; on a CPU the numbers of `CPU_ATOMS` and `CPU_BYTES` hold.
        leave_out: Rows that are searched in another way.
    """
    others = set(leave_out)
    rows = [row for row, reason in enumerate(decoded.reasons) if reason is None and row not in others]
    if not rows:
        return []
    on_cpu = device.type == "cpu"
    most_atoms, most_bytes = (CPU_ATOMS, CPU_BYTES) if on_cpu else (GPU_ATOMS, GPU_BYTES)
    slot_bytes = SLOT_BYTES + TRANSIENT * gradient_bytes(descriptor.to(device), device)
    sizes = {row: len(decoded.atomic_numbers[row]) for row in rows}
    kinds = {row: (sizes[row], bool((z := decoded.atomic_numbers[row]).ne(z[0]).any())) for row in rows}
    slots = {row: _n_slots(decoded.lattice[row], sizes[row], descriptor.cutoff) for row in rows}
    rows.sort(key=lambda row: (kinds[row], slots[row], row))
    groups: list[list[int]] = []
    for row in rows:
        n_atoms = sizes[row] * settings.n_proposals
        group = groups[-1] if groups else []
        fits = (
            group
            and kinds[group[0]] == kinds[row]
            and n_atoms * (len(group) + 1) <= most_atoms
            and n_atoms * (len(group) + 1) * slots[row] * slot_bytes <= most_bytes
        )
        if fits:
            group.append(row)
        else:
            groups.append([row])
    return groups


def _n_slots(lattice: Float[Tensor, "3 3"], n_atoms: int, cutoff: float) -> float:
    """Return about how wide the neighbour table of a crystal is while its atoms are anywhere."""
    volume = float(cells.volume(lattice[None])[0])
    return max(SLACK * 4 / 3 * math.pi * (cutoff + SKIN) ** 3 * n_atoms / volume, FEWEST_SLOTS)


def gradient_bytes(descriptor: Descriptor, device: torch.device) -> float:
    """Measure how much memory a descriptor keeps for its gradient, bytes for each slot of the neighbour table.

    It is the slope between two crystals of one atom, the smaller with more neighbours.
    """
    edges = torch.tensor([1 / 2, 1 / 3]) * descriptor.cutoff
    points = []
    for edge in edges:
        batch = CrystalBatch(
            frac_coords=torch.zeros(1, 3),
            lattice=edge * torch.eye(3)[None],
            atomic_numbers=torch.tensor([29]),
            system_idx=torch.zeros(1, dtype=torch.long),
        ).to(device)
        points.append(_kept(descriptor, batch))
    (few, low), (many, high) = points
    return (high - low) / (many - few)


def _kept(descriptor: Descriptor, batch: CrystalBatch) -> tuple[int, int]:
    """Return the slots of the neighbour table and the bytes kept for the gradient."""
    neighborhood = find_neighborhood(batch, descriptor.cutoff)
    vectors = neighborhood.vectors(batch.frac_coords, batch.lattice).requires_grad_()
    kept = 0

    def weigh(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.element_size() * tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(weigh, lambda tensor: tensor):
        descriptor.evaluate(neighborhood, vectors)
    return neighborhood.present.numel(), kept
