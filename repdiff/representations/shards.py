"""Generated vectors, with their layout, in shards of a fixed size in one folder."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from repdiff.crystals.resumable_parts import SHARDS, kept
from repdiff.errors import DamagedError, UserError
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.atomic_files import as_written, read_json, replacing
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint, tensor_shape
from repdiff.symmetry import SymmetryTable

NAMES = "names.json"
KIND = "generated"
AGAIN = "generate again with `overwrite`"


def shard_path(folder: Path, number: int) -> Path:
    """Return the file of one shard."""
    return folder / SHARDS / f"{number:05d}.safetensors"


def write_shard(folder: Path, number: int, batch: RepresentationBatch) -> None:
    """Write one shard of vectors in physical units, whole or not at all."""
    symmetry = {} if batch.symmetry is None else batch.symmetry.tensors()
    save_checkpoint(
        shard_path(folder, number),
        {"vectors": batch.vectors, **symmetry},
        {
            "layout": batch.layout.model_dump(mode="json"),
            "templates": batch.templates,
            "parents": batch.parents,
            "columns": dict(batch.columns),
        },
        kind=KIND,
    )


def read_shard(path: Path) -> RepresentationBatch:
    """Read one shard.

    Raises:
        UserError: If the file is no shard or, as DamagedError, damaged.
    """
    tensors, metadata = load_checkpoint(path, kind=KIND)
    layout = RepresentationSpec.of_file(path, metadata)
    try:
        return RepresentationBatch(
            vectors=tensors["vectors"],
            layout=layout,
            symmetry=SymmetryTable.of_file(path, tensors, remedy=AGAIN),
            templates=None if metadata.get("templates") is None else tuple(metadata["templates"]),
            parents=None if metadata.get("parents") is None else tuple(metadata["parents"]),
            columns={name: tuple(values) for name, values in (metadata.get("columns") or {}).items()},
        )
    except DamagedError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DamagedError(f"{path}: damaged ({error})", AGAIN) from error


def held_shard(folder: Path, number: int) -> list[RepresentationBatch]:
    """Return the shard that an earlier session wrote, in a list; an empty one if there is none, or it is damaged."""
    batch = kept(shard_path(folder, number), read_shard)
    return [] if batch is None else [batch]


def write_names(folder: Path, names: Iterable[str]) -> None:
    """Write the names of all vectors, in their order, as `write_json` does, one after the other."""
    with replacing(folder / NAMES) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        between = "[\n  "
        for name in names:
            file.write(between + json.dumps(as_written(name), ensure_ascii=False))
            between = ",\n  "
        file.write("\n]\n" if between.startswith(",") else "[]\n")


def read_names(folder: Path, n: int) -> list[str]:
    """Read the names of the first `n` vectors.

    Raises:
        UserError: If the file is absent or damaged, or has too few.
    """
    names = read_json(folder / NAMES)
    if not isinstance(names, list) or len(names) < n:
        raise UserError(f"{folder / NAMES}: fewer names than the {n} vectors: {AGAIN}")
    return names[:n]


def read_generated(folder: Path) -> RepresentationBatch:
    """Read all shards of a folder, in order.

    Raises:
        UserError: If there is none, or one is damaged.
    """
    return read_shards(_shards(folder))


def split_generated(folder: Path, n: int | None, *, largest: int) -> list[tuple[list[Path], range]]:
    """Part the shards of a folder, in order, so that no part holds more vectors than memory should.

    Args:
        folder: Folder of a run.
        n: Vectors that are wanted, the first; None for all. Shards that hold none of them are left out.
        largest: Vectors of a part at most; a shard that holds more is a part of its own.

    Returns:
        The shards of each part, and the numbers of the vectors that are wanted of it.

    Raises:
        UserError: If there is no shard, or one is damaged.
    """
    parts: list[tuple[list[Path], range]] = []
    first = 0
    for path in _shards(folder):
        if n is not None and first >= n:
            break
        end = first + tensor_shape(path, "vectors")[0]
        begun = parts.pop() if parts and end - parts[-1][1].start <= largest else ([], range(first, first))
        parts.append(([*begun[0], path], range(begun[1].start, end if n is None else min(end, n))))
        first = end
    return parts


def read_shards(paths: Sequence[Path]) -> RepresentationBatch:
    """Read some shards of one folder, in the order given."""
    return RepresentationBatch.joined([read_shard(path) for path in paths])


def _shards(folder: Path) -> list[Path]:
    paths = sorted((folder / SHARDS).glob("*.safetensors"))
    if not paths:
        raise UserError(f"{folder} holds no generated representations, expected files in {folder / SHARDS}")
    return paths
