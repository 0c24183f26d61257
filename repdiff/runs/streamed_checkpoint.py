"""Checkpoints whose tensors are too large for memory: written row by row, the same bytes as by `save_checkpoint`."""

import json
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing
from repdiff.runs.checkpoint import header_text
from repdiff.runs.checksums import HEADER, seal_safetensors

DTYPES = {  # in the order of the library, which puts the last of them first into a file
    torch.int16: "I16",
    torch.int32: "I32",
    torch.float32: "F32",
    torch.float64: "F64",
    torch.int64: "I64",
}
ALIGNMENT = 8  # bytes of which the header is a multiple
Shapes = Mapping[str, tuple[torch.dtype, tuple[int, ...]]]


@contextmanager
def checkpoint_writer(
    path: Path, shapes: Shapes, metadata: Mapping[str, Any], *, kind: str
) -> Generator[Callable[[str, int, Tensor], None], None, None]:
    """Write a checkpoint in parts; it appears complete or not at all.

    Args:
        path: File to write or replace.
        shapes: Type and shape of each tensor, by name.
        metadata: Plain JSON values, see `repdiff.runs.checkpoint.save_checkpoint`.
        kind: What the file is.

    Yields:
        A function that writes rows of a tensor, given its name, the number of the first and the rows. All rows of all
        tensors must be written.

    Raises:
        UserError: If the disk refuses; the old file is untouched then.
    """
    header, starts = _header(shapes, header_text(metadata, kind=kind))
    try:
        with replacing(path) as partial:
            with partial.open("wb") as file:
                file.write(header)

                def write(name: str, first: int, rows: Tensor) -> None:
                    dtype, shape = shapes[name]
                    assert rows.dtype == dtype
                    assert tuple(rows.shape[1:]) == shape[1:]
                    file.seek(starts[name] + first * prod(shape[1:]) * dtype.itemsize)
                    file.write(rows.contiguous().numpy().tobytes())

                yield write
            seal_safetensors(partial)
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error}): is the disk full or read-only?") from error


def _header(shapes: Shapes, text: str) -> tuple[bytes, dict[str, int]]:
    """Return the header of a safetensors file, and where each tensor begins."""
    order = list(DTYPES)
    names = sorted(shapes, key=lambda name: (-order.index(shapes[name][0]), name))
    content: dict[str, Any] = {"__metadata__": {"repdiff": text}}
    starts: dict[str, int] = {}
    end = 0
    for name in names:
        dtype, shape = shapes[name]
        starts[name], end = end, end + prod(shape) * dtype.itemsize
        content[name] = {"dtype": DTYPES[dtype], "shape": list(shape), "data_offsets": [starts[name], end]}
    written = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    written += b" " * (-len(written) % ALIGNMENT)
    begin = HEADER + len(written)
    return len(written).to_bytes(HEADER, "little") + written, {
        name: begin + start for name, start in starts.items()
    }
