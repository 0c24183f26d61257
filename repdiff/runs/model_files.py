"""What is written on the outside of a checkpoint: read without its tensors, and without torch."""

from pathlib import Path
from typing import Any

from repdiff.errors import REMAKE, DamagedError, UserError
from repdiff.runs.checksums import KEY
from repdiff.runs.json_text import load_json

FORMAT_VERSION = 1
SUFFIX = ".safetensors"
MODEL_FILE = f"model{SUFFIX}"
REMEDY = f"{REMAKE}, or name another"


def model_file(path: Path) -> Path:
    """Return the file of weights that a path means: in a run's folder, or the path itself."""
    return path / MODEL_FILE if path.is_dir() else path


def model_name(path: Path) -> str:
    """Return what a model is called: the name of a run's folder, or of the file without its suffix.

    Example:
        >>> model_name(Path("weights/mp_20.safetensors")), model_name(Path("train/mp_20-ead"))
        ('mp_20', 'mp_20-ead')
    """
    return path.name.removesuffix(SUFFIX)


def copy_model(path: Path, target: Path) -> None:
    """Copy the weights that a path means to a file, which appears whole or not at all.

    Raises:
        UserError: If the disk refuses.
    """
    import shutil

    from repdiff.runs.atomic_files import replacing

    source = model_file(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with replacing(target) as partial:
            shutil.copyfile(source, partial)
    except OSError as error:
        raise UserError(f"{target}: cannot write ({error.strerror or error}): choose another path") from error


def read_metadata(file: Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint without its tensors.

    Raises:
        UserError: If the file is missing, not ours, of a later format or, as DamagedError, truncated or changed.
    """
    if not file.is_file():
        raise UserError(f"{file}: no such checkpoint; train a model first, or name another file")
    from safetensors import SafetensorError, safe_open

    from repdiff.runs.headers import check_header

    try:
        check_header(file)
        with safe_open(file, framework="np") as reader:
            text = (reader.metadata() or {}).get("repdiff")
    except UserError:
        raise
    except (OSError, SafetensorError, ValueError) as error:
        raise unreadable(file, error) from error
    if text is None:
        raise UserError(f"{file}: a safetensors file, but not written by repdiff: name another file")
    try:
        metadata = load_json(text)
        strange = not isinstance(metadata["format"], int) or not isinstance(metadata["kind"], str)
    except (ValueError, TypeError, KeyError, RecursionError):
        strange = True
    if strange:
        raise DamagedError(f"{file}: its metadata is damaged", REMEDY)
    if metadata["format"] > FORMAT_VERSION:
        raise UserError(
            f"{file} has format {metadata['format']}, this version reads up to {FORMAT_VERSION}: "
            "upgrade repdiff"
        )
    return {name: value for name, value in metadata.items() if name != KEY}


def unreadable(file: Path, error: Exception) -> DamagedError:
    """Make the error for a file that cannot be read."""
    return DamagedError(f"{file} cannot be read ({error}): it is truncated or no safetensors file", REMEDY)
