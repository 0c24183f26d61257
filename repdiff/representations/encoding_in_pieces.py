"""A data set of any size to vectors, piece by piece, and the pieces to the files of an encoded set."""

import logging
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.crystals.crystal import (
    SPLITS,
    LabelKinds,
    crystal_writer,
    label_kinds,
    read_crystals,
)
from repdiff.crystals.packed_labels import with_packed_labels, with_unpacked_labels
from repdiff.crystals.resumable_parts import kept, part_name
from repdiff.datasets.in_pieces import DatasetInPieces
from repdiff.errors import UserError
from repdiff.representations.encoded_set import CRYSTALS, KIND, REPRESENTATIONS
from repdiff.representations.encoding import encode_part, none_reduced
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.runs.failures import REJECTED, read_records, write_records
from repdiff.runs.parquet_files import read_own_table
from repdiff.runs.streamed_checkpoint import checkpoint_writer

DONE = "done.json"
KINDS = {kind.__name__: kind for kind in (bool, int, float, str)}
FILLED = {"protostructures": 0, "free": torch.nan}  # what a row has beyond its own columns
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class EncodedFolder:
    """What an encoded set in a folder holds.

    Attributes:
        n_crystals: Number of crystals, each of which has a vector.
        n_rejected: Number of rows that were refused.
        n_features: Length of a vector.
        splits: Number of crystals by split.
    """

    n_crystals: int
    n_rejected: int
    n_features: int
    splits: dict[str, int]


def encode_in_pieces(
    dataset: DatasetInPieces,
    folder: Path,
    pieces: Path,
    descriptor: str,
    *,
    niggli: bool,
    device: torch.device,
    symprec: float | None,
    progress: bool = True,
) -> EncodedFolder:
    """Encode a data set, and write what `EncodedSet.write` would, with one piece at a time in memory.

    An interrupted call goes on with the piece at which it was.

    Args:
        dataset: What `read_in_pieces` returned.
        folder: Where the files of the encoded set go.
        pieces: Holds what is done until the caller removes it; removed here if no crystal can be reduced.
        descriptor: NAME or NAME:PRESET.
        niggli: Whether to reduce every cell to its Niggli cell first.
        device: Where to compute the vectors.
        symprec: Tolerance within which protostructures are read off the crystals, Å; None leaves them out.
        progress: Whether to show bars.

    Raises:
        UserError: If there is no such descriptor, or no crystal could be reduced to its Niggli cell.
    """
    places = [
        pieces / f"encoded-{part_name(number, place.name)}" for number, place in enumerate(dataset.places)
    ]
    for number, place in enumerate(places):
        if len(places) > 1:
            log.info("piece %d of %d", number + 1, len(places))
        if not _is_done(place):
            found, failed = encode_part(
                dataset.crystals(number),
                descriptor,
                name=dataset.name,
                first=dataset.first_of(number),
                niggli=niggli,
                device=device,
                symprec=symprec,
                progress=progress,
            )
            place.mkdir(exist_ok=True)
            if found is None:
                write_records(place / REJECTED, map(asdict, failed), ascii_only=False)
                write_json(place / DONE, {"n": 0})
            else:
                packed = [with_packed_labels(crystal) for crystal in found.crystals]
                replace(found, crystals=packed).write(place)
                write_json(place / DONE, _facts(found.crystals))
    return _joined(dataset, places, folder, pieces, descriptor, niggli=niggli)


def _facts(crystals: Sequence[Any]) -> dict[str, Any]:
    """Return what must be known of a piece before all are joined."""
    kinds = {name: sorted(kind.__name__ for kind in kinds) for name, kinds in label_kinds(crystals).items()}
    splits = Counter(crystal.split for crystal in crystals)
    return {"n": len(crystals), "kinds": kinds, "splits": {split: splits[split] for split in SPLITS}}


def _is_done(place: Path) -> bool:
    """Say whether an earlier session has encoded all of a piece, and all of it is intact."""
    facts = kept(place / DONE, read_json)
    if facts is None or kept(place / REJECTED, read_records) is None:
        return False
    return not facts["n"] or all(
        kept(place / name, read) is not None
        for name, read in ((CRYSTALS, read_own_table), (REPRESENTATIONS, _load))
    )


def _load(path: Path) -> tuple[dict[str, Tensor], RepresentationSpec]:
    tensors, metadata = load_checkpoint(path, kind=KIND)
    return tensors, RepresentationSpec.of_file(path, metadata)


def _joined(
    dataset: DatasetInPieces,
    places: Sequence[Path],
    folder: Path,
    pieces: Path,
    descriptor: str,
    *,
    niggli: bool,
) -> EncodedFolder:
    """Put the pieces together."""
    facts = [read_json(place / DONE) for place in places]
    filled = [place for place, one in zip(places, facts, strict=True) if one["n"]]
    if not filled:
        shutil.rmtree(pieces)
        raise UserError(none_reduced(dataset.name))
    n_rejected = _write_rejected(dataset, places, folder / REJECTED)
    _write_crystals(filled, folder / CRYSTALS, _kinds(facts))
    layout = _layout(filled, descriptor, niggli=niggli, dataset=dataset)
    _write_vectors(filled, folder / REPRESENTATIONS, layout)
    return EncodedFolder(
        n_crystals=sum(one["n"] for one in facts),
        n_rejected=n_rejected,
        n_features=layout.representation().n_features,
        splits={split: sum(one["splits"][split] for one in facts if one["n"]) for split in SPLITS},
    )


def _write_rejected(dataset: DatasetInPieces, places: Sequence[Path], path: Path) -> int:
    """Write the rows that were refused in reading, and after them the crystals that could not be reduced."""
    n_rejected = 0

    def counted() -> Iterator[dict[str, Any]]:
        nonlocal n_rejected
        failed = chain.from_iterable(read_records(place / REJECTED) for place in places)
        for record in chain(map(asdict, dataset.rejected()), failed):
            n_rejected += 1
            yield record

    write_records(path, counted(), ascii_only=False)
    return n_rejected


def _kinds(facts: Sequence[dict[str, Any]]) -> LabelKinds:
    found: LabelKinds = {}
    for one in facts:
        for name, kinds in one.get("kinds", {}).items():
            found.setdefault(name, set()).update(KINDS[kind] for kind in kinds)
    return found


def _write_crystals(places: Sequence[Path], path: Path, kinds: LabelKinds) -> None:
    with crystal_writer(path, kinds) as add:
        for place in places:
            for crystal in read_crystals(place / CRYSTALS):
                add(with_unpacked_labels(crystal))


def _layout(
    places: Sequence[Path], descriptor: str, *, niggli: bool, dataset: DatasetInPieces
) -> RepresentationSpec:
    """Lay out columns for the elements of all pieces."""
    elements = {number for place in places for number in _load(place / REPRESENTATIONS)[1].elements}
    return RepresentationSpec.of(
        descriptor, sorted(elements), niggli=niggli, dataset=dataset.name, note=dataset.note
    )


def _write_vectors(places: Sequence[Path], path: Path, layout: RepresentationSpec) -> None:
    """Write the vectors of all pieces, and their symmetry, to one file."""
    rows: Counter[str] = Counter()
    widths: dict[str, int] = {"representations": layout.representation().n_features}
    dtypes: dict[str, torch.dtype] = {}
    for place in places:
        for name, tensor in _load(place / REPRESENTATIONS)[0].items():
            rows[name] += len(tensor)
            widths[name] = max(widths.get(name, 0), tensor.shape[1])
            dtypes[name] = tensor.dtype
    shapes = {name: (dtypes[name], (rows[name], widths[name])) for name in rows}
    metadata = {"layout": layout.model_dump(mode="json")}
    first = 0
    with checkpoint_writer(path, shapes, metadata, kind=KIND) as write:
        for place in places:
            tensors, own = _load(place / REPRESENTATIONS)
            tensors["representations"] = with_columns_of(tensors["representations"], own, layout)
            for name, tensor in tensors.items():
                more = widths[name] - tensor.shape[1]
                write(name, first, torch.nn.functional.pad(tensor, (0, more), value=FILLED.get(name, 0)))
            first += len(tensors["representations"])


def with_columns_of(
    vectors: Float[Tensor, "n n_own"], own: RepresentationSpec, wanted: RepresentationSpec
) -> Float[Tensor, "n n_wanted"]:
    """Return vectors with columns for more elements, which are zero.

    Args:
        vectors: Vectors of the layout `own`.
        own: Their layout.
        wanted: A layout of the same descriptor with all of its elements, and more.
    """
    source, target = own.representation(), wanted.representation()
    wide = vectors.new_zeros(len(vectors), target.n_features)
    for name, block in source.blocks.items():
        if name != "composition":
            wide[:, target.blocks[name]] = vectors[:, block]
    start = target.blocks["composition"].start
    columns = [start + target.elements.index(number) for number in own.elements]
    wide[:, columns] = vectors[:, source.blocks["composition"]]
    return wide
