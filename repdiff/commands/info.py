"""Describe any artefact in words: a workspace, a run's folder, or a single file of one."""

import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json
from repdiff.runs.headers import check_header
from repdiff.runs.json_text import load_json
from repdiff.runs.locks import current_manifest
from repdiff.runs.manifest import Manifest
from repdiff.runs.unpacking import open_bytes
from repdiff.runs.workspace import Workspace
from repdiff.settings import SECTIONS

MAX_TEXT = 160  # characters shown of one value
MAX_FILES = 30


def describe(path: Path) -> str:
    """Say what lies at a path, over several lines.

    Raises:
        UserError: If there is nothing, nothing of this tool, or a damaged file.
    """
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    if path.is_file():
        return "\n".join([f"{path}: {_size(path.stat().st_size)}", *_describe_file(path)])
    if (path / "manifest.json").exists():
        return "\n".join([*_describe_run(path, current_manifest(path)), *_list_files(path)])
    if any((path / verb).is_dir() for verb in SECTIONS):
        return "\n".join(_describe_workspace(Workspace(root=path)))
    raise UserError(f"{path}: neither a workspace nor the folder of a run (no manifest.json in it)")


def _describe_workspace(workspace: Workspace) -> Iterator[str]:
    yield f"{workspace.root}: workspace"
    for verb in SECTIONS:
        runs = workspace.runs(verb)
        yield f"{verb}: {len(runs)} run{'s' if len(runs) != 1 else ''}" + (
            ", newest last" if len(runs) > 1 else ""
        )
        for path, manifest in runs.items():
            facts = ", ".join(f"{key} {_short(value)}" for key, value in list(manifest.summary.items())[:4])
            yield f"  {path.name}: {manifest.status} {manifest.finished or manifest.created}" + (
                f", {facts}" if facts else ""
            )


def _describe_run(path: Path, manifest: Manifest) -> Iterator[str]:
    yield f"{path}: output of `repdiff {manifest.verb}`"
    yield f"status: {manifest.status}" + (f" ({manifest.reason})" if manifest.reason else "")
    yield f"created: {manifest.created}; finished: {manifest.finished or 'not yet'}"
    memory = f"; peak memory {manifest.peak_memory_gib:.2f} GiB" if manifest.peak_memory_gib else ""
    yield f"worked: {manifest.seconds:.1f} s in {manifest.n_sessions} session(s){memory}"
    yield from _block("results", manifest.summary)
    yield from _block(
        "inputs", {key: f"{at.path} (sha256 {at.sha256[:12]})" for key, at in manifest.inputs.items()}
    )
    yield from _block("settings", manifest.config)
    yield from _block("machine", manifest.hardware)
    yield f"versions: {', '.join(f'{name} {version}' for name, version in manifest.versions.items())}"


def _list_files(path: Path) -> Iterator[str]:
    files = sorted(
        file
        for file in path.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(path).parts)
    )
    yield "files:"
    for file in files[:MAX_FILES]:
        yield f"  {file.relative_to(path)}: {_size(file.stat().st_size)}"
        if file.suffix in (".safetensors", ".parquet", ".extxyz", ".jsonl"):
            yield from (f"    {line}" for line in _describe_file(file))
    if len(files) > MAX_FILES:
        yield f"  and {len(files) - MAX_FILES} more"


def _block(title: str, values: dict[str, Any]) -> Iterator[str]:
    if values:
        yield f"{title}:"
    for key, value in values.items():
        if isinstance(value, dict):
            yield from (f"  {line}" for line in _block(str(key), value))
        else:
            yield f"  {key}: {_short(value)}"


def _describe_file(path: Path) -> list[str]:
    suffix = ".json.gz" if path.name.endswith(".json.gz") else path.suffix
    if suffix not in READERS:
        raise UserError(
            f"{path}: unknown kind of file, expected one of {', '.join(sorted(READERS))}, or a folder"
        )
    return list(READERS[suffix](path))


def _safetensors(path: Path) -> Iterator[str]:
    from safetensors import SafetensorError, safe_open

    try:
        check_header(path)
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            shapes = {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{path}: damaged or cut short, expected safetensors: {error}") from error
    yield from _block("metadata", {key: _parsed(value) for key, value in metadata.items()})
    n_values = sum(_product(shape) for shape in shapes.values())
    yield f"{len(shapes)} tensors, {n_values} values"
    if len(shapes) <= 8:
        yield from (f"  {name}: {' x '.join(map(str, shape)) or 'scalar'}" for name, shape in shapes.items())


def _parquet(path: Path) -> Iterator[str]:
    import pyarrow
    import pyarrow.parquet

    try:
        with path.open("rb") as stream:
            file = pyarrow.parquet.ParquetFile(stream)
            n_rows, names = file.metadata.num_rows, file.schema_arrow.names
    except (pyarrow.ArrowException, OSError) as error:
        raise UserError(f"{path}: damaged or cut short, expected parquet: {error}") from error
    yield f"{n_rows} rows; columns {_short(', '.join(names))}"


def _extxyz(path: Path) -> Iterator[str]:
    n_crystals = 0
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            if not line.strip().isdigit():
                raise UserError(
                    f"{path}: crystal {n_crystals} starts with {line[:20]!r}, expected a number of atoms"
                )
            for _ in range(int(line) + 1):
                if not next(lines, ""):
                    raise UserError(f"{path}: cut short in crystal {n_crystals}")
            n_crystals += 1
    yield f"{n_crystals} crystals"


def _zip(path: Path) -> Iterator[str]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield f"{len(archive.namelist())} files"
    except Exception as error:  # a damaged list of files makes errors of many kinds
        raise UserError(f"{path}: damaged or cut short, expected a zip archive") from error


def _json(path: Path) -> Iterator[str]:
    data = read_json(path)
    yield from _block("content", data) if isinstance(data, dict) else [f"{len(data)} entries"]


def _json_gz(path: Path) -> Iterator[str]:
    try:
        with open_bytes(path) as stream:
            data = load_json(stream.read().decode())
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: damaged or cut short, expected compressed JSON: {error}") from error
    yield f"{len(data)} entries"


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as stream:
        lines = [line for line in stream if line.strip()]
    yield f"{len(lines)} lines" + (f", the last {_short(lines[-1].strip())}" if lines else "")


def _text(path: Path) -> Iterator[str]:
    yield path.read_text(encoding="utf-8").rstrip()


READERS: dict[str, Callable[[Path], Iterator[str]]] = {
    ".safetensors": _safetensors,
    ".parquet": _parquet,
    ".extxyz": _extxyz,
    ".zip": _zip,
    ".json": _json,
    ".json.gz": _json_gz,
    ".jsonl": _lines,
    ".yaml": _text,
    ".md": _text,
}


def _parsed(text: str) -> Any:  # noqa: ANN401 (JSON holds anything)
    """Read metadata that is JSON, as safetensors can only keep text."""
    try:
        return load_json(text)
    except ValueError:
        return text


def _short(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}… ({len(text)} characters)"


def _product(shape: list[int]) -> int:
    total = 1
    for size in shape:
        total *= size
    return total


def _size(n_bytes: int) -> str:
    return f"{n_bytes} bytes" if n_bytes < 1e4 else f"{n_bytes / 1e6:.2f} MB"
