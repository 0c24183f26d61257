"""Checkpoints: safetensors files whose header also carries JSON; nothing is ever unpickled."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing, sync_folder
from repdiff.runs.checksums import BLANK, KEY, check_safetensors, seal_safetensors
from repdiff.runs.model_files import FORMAT_VERSION, model_file, read_metadata, unreadable
from repdiff.runs.packed_weights import unpack


def save_checkpoint(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, Any], *, kind: str
) -> Path:
    """Write tensors and JSON metadata to one file, which appears complete or not at all.

    Args:
        path: File ending in `.safetensors`; replaced if it exists, its folder is made if it does not.
        tensors: Any names.
        metadata: Plain JSON values; numbers must be finite.
        kind: What the file is, checked by `load_checkpoint`.

    Returns:
        The path.

    Raises:
        UserError: If the disk refuses; the old file is untouched then.
    """
    text = header_text(metadata, kind=kind)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        independent = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
        with replacing(path) as partial:
            save_file(independent, partial, metadata={"repdiff": text})  # one entry: their order is random
            seal_safetensors(partial)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: cannot write ({error}): is the disk full or read-only?") from error
    return path


def header_text(metadata: Mapping[str, Any], *, kind: str) -> str:
    """Write the JSON of the header of a checkpoint, with room for its checksum."""
    header = {"format": FORMAT_VERSION, "kind": kind, **metadata, KEY: BLANK.decode()}
    return json.dumps(header, allow_nan=False)


def load_checkpoint(path: Path, *, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a checkpoint that `save_checkpoint` wrote.

    Args:
        path: The file, or a folder that holds `model.safetensors`.
        kind: What it must be.

    Returns:
        The tensors, on the CPU, and the metadata, with `format` and `kind`. Packed weights are unpacked.

    Raises:
        UserError: If it is missing, not ours, of another kind, of a later format or, as DamagedError, damaged.
    """
    file = model_file(path)
    metadata = read_metadata(file)
    check_safetensors(file)
    if metadata["kind"] != kind:
        raise UserError(f"{file} is a {metadata['kind']!r} file, expected {kind!r}: name another file")
    try:
        with safe_open(file, framework="pt") as reader:
            return unpack({name: reader.get_tensor(name) for name in reader.keys()}), metadata  # noqa: SIM118
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise unreadable(file, error) from error


def tensor_shape(path: Path, name: str) -> tuple[int, ...]:
    """Return the shape of one tensor of a checkpoint, without reading it.

    Raises:
        UserError: If the file is missing, truncated or damaged, or has no such tensor.
    """
    try:
        with safe_open(path, framework="pt") as reader:
            return tuple(reader.get_slice(name).get_shape())
    except (OSError, SafetensorError) as error:
        raise unreadable(path, error) from error


def tensors_under(prefix: str, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Split tensors into those whose name starts with the prefix, which is cut off, and the others."""
    inside = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return inside, {name: value for name, value in tensors.items() if not name.startswith(prefix)}


def check_shapes(tensors: Mapping[str, Tensor], expected: Mapping[str, tuple[int | None, ...]]) -> None:
    """Refuse tensors of other shapes; None stands for any length.

    Raises:
        KeyError: If one is missing.
        ValueError: If a shape differs; the message names the first that does.
    """
    for name, shape in expected.items():
        found = tuple(tensors[name].shape)
        fits = len(found) == len(shape) and all(
            wanted in (None, length) for length, wanted in zip(found, shape, strict=True)
        )
        if not fits:
            told = ", ".join("any" if length is None else str(length) for length in shape)
            raise ValueError(f"`{name}` has shape {found}, expected ({told})")


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Return an optimiser's state as named tensors, and its parameter groups as JSON values."""
    state = optimizer.state_dict()
    tensors = {
        f"{index}.{name}": torch.as_tensor(value)
        for index, entries in state["state"].items()
        for name, value in entries.items()
    }
    return tensors, json.loads(json.dumps(state["param_groups"]))


def restore_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], param_groups: list[dict[str, Any]]
) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        index, name = full_name.split(".", 1)
        state.setdefault(int(index), {})[name] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": param_groups})


def numbered(folder: Path) -> list[Path]:
    """List the complete numbered checkpoints of a folder, oldest first."""
    return sorted(path for path in folder.glob("step-*") if path.is_dir())


def publish_folder(temporary: Path, final: Path, *, keep: int) -> None:
    """Give a finished checkpoint folder its name, then remove all but the `keep` newest of its siblings."""
    if final.exists():
        shutil.rmtree(final)
    sync_folder(temporary)
    temporary.rename(final)
    sync_folder(final.parent)
    for old in numbered(final.parent)[:-keep]:
        shutil.rmtree(old)
