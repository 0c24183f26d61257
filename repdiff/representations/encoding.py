"""Crystals to representation vectors, in chunks of bounded memory."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.representation import Representation, chunks_by_cost
from reconstruction.out_of_memory import in_halves
from repdiff.crystals.crystal import Crystal, to_batch
from repdiff.crystals.niggli import niggli_reduced
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.readers.rows import Rejection
from repdiff.errors import UserError
from repdiff.execution.jobs import run_jobs, workers_to_use
from repdiff.execution.progress import progress_bar
from repdiff.hardware import n_cores
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.layout import RepresentationSpec
from repdiff.symmetry import SymmetryTable, read_protostructures, with_protostructures


def encode_crystals(
    crystals: Sequence[Crystal],
    representation: Representation,
    *,
    device: torch.device,
    progress: bool = True,
) -> Float[Tensor, "n_crystals n_features"]:
    """Encode crystals in chunks of bounded memory; float32, in their order, on the CPU."""
    batch = to_batch(crystals, dtype=torch.float32)
    return encode_batch(batch, representation, device=device, progress=progress)


def encode_batch(
    batch: CrystalBatch,
    representation: Representation,
    *,
    device: torch.device,
    progress: bool = True,
) -> Float[Tensor, "n_crystals n_features"]:
    """Encode a batch of any size in chunks of bounded memory; in its order, on the CPU."""
    result = torch.empty(batch.n_systems, representation.n_features, dtype=batch.dtype)
    representation.descriptor.to(device)
    chunks = _Chunks(batch, list(chunks_by_cost(batch, representation.descriptor)))
    encoded = run_jobs(partial(_encode_chunk, representation, device), chunks, n_workers=workers_to_use(1, 1))
    bar = progress_bar(total=batch.n_systems, desc="encoding", unit="crystal", disable=not progress)
    with closing(encoded), bar:
        for (rows, _), vectors in encoded:
            result[rows] = vectors
            bar.update(len(rows))
    return result


Chunk = tuple[Tensor, CrystalBatch]


class _Chunks(Sequence[Chunk]):
    """Parts of a batch with their rows, made when they are asked for."""

    def __init__(self, batch: CrystalBatch, rows: Sequence[Sequence[int]]) -> None:
        self.batch, self.rows = batch, rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> Chunk:  # ty: ignore[incompatible-method-override] (slices are not needed)
        rows = torch.tensor(self.rows[place])
        return rows, self.batch.select(rows)


def _encode_chunk(representation: Representation, device: torch.device, chunk: Chunk) -> Tensor:
    batch = chunk[1]

    def encode(rows: slice) -> Tensor:
        part = (
            batch.select(torch.arange(rows.start, rows.stop))
            if rows.stop - rows.start < len(chunk[0])
            else batch
        )
        with torch.no_grad():
            return representation.encode(part.to(device)).cpu()

    return torch.cat([found for _, found in in_halves(len(chunk[0]), len(chunk[0]), encode)])


def encode_dataset(
    dataset: Dataset,
    descriptor: str,
    *,
    niggli: bool,
    device: torch.device,
    symprec: float | None = None,
    progress: bool = True,
) -> EncodedSet:
    """Encode a data set; what was rejected in reading and here goes along with its reasons.

    Args:
        dataset: The crystals, and what was rejected already.
        descriptor: NAME or NAME:PRESET.
        niggli: Whether to reduce every cell to its Niggli cell first.
        device: Where to compute the vectors.
        symprec: Tolerance within which protostructures are read off the crystals, Å; None leaves them out.
        progress: Whether to show bars.

    Raises:
        UserError: If there is no such descriptor, or no crystal could be reduced to its Niggli cell.
    """
    found, failed = encode_part(
        dataset.crystals,
        descriptor,
        name=dataset.name,
        note=dataset.note,
        niggli=niggli,
        device=device,
        symprec=symprec,
        progress=progress,
    )
    if found is None:
        raise UserError(none_reduced(dataset.name))
    return replace(found, rejected=[*dataset.rejected, *failed])


def none_reduced(name: str) -> str:
    """Say that no crystal of a data set could be reduced."""
    return f"no crystal of {name} could be reduced to its Niggli cell: try `niggli=False`"


def encode_part(
    crystals: Sequence[Crystal],
    descriptor: str,
    *,
    name: str,
    note: str | None = None,
    first: int = 0,
    niggli: bool,
    device: torch.device,
    symprec: float | None,
    progress: bool = True,
) -> tuple[EncodedSet | None, list[Rejection]]:
    """Encode some crystals of a data set; the composition has columns for their own elements alone.

    Args:
        crystals: The crystals.
        descriptor: NAME or NAME:PRESET.
        name: Name of the data set.
        note: What results on it must say.
        first: Number of the first crystal in the data set.
        niggli: Whether to reduce every cell to its Niggli cell first.
        device: Where to compute the vectors.
        symprec: Tolerance within which protostructures are read off the crystals, Å; None leaves them out.
        progress: Whether to show bars.

    Returns:
        What was encoded, None if no crystal could be reduced; and those that could not, with the reasons.

    Raises:
        UserError: If there is no such descriptor.
    """
    crystals, failed = _reduce(crystals, first, progress) if niggli else (list(crystals), [])
    if not crystals:
        return None, failed
    symmetry = None
    if symprec is not None:
        readings = read_protostructures(
            crystals,
            symprec=symprec,
            canonical=True,
            n_workers=workers_to_use(None, n_cores()),
            progress=progress,
        )
        crystals = with_protostructures(crystals, readings)
        symmetry = SymmetryTable.of_readings(readings)
    elements = sorted({int(z) for crystal in crystals for z in crystal.atomic_numbers})
    layout = RepresentationSpec.of(descriptor, elements, niggli=niggli, dataset=name, note=note)
    vectors = encode_crystals(crystals, layout.representation(), device=device, progress=progress)
    return EncodedSet(
        crystals=crystals, representations=vectors, layout=layout, rejected=failed, symmetry=symmetry
    ), failed


def _reduce(crystals: Sequence[Crystal], first: int, progress: bool) -> tuple[list[Crystal], list[Rejection]]:
    reduced, failed = [], []
    bar = progress_bar(crystals, desc="reducing cells", unit="crystal", disable=not progress)
    for row, crystal in enumerate(bar, first):
        try:
            reduced.append(niggli_reduced(crystal))
        except ValueError as error:
            failed.append(Rejection(source="niggli", row=row, id=crystal.id, reason=str(error)))
    return reduced, failed
