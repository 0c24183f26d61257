"""The systems that make crystals, one a file; importing this registers them all."""

from pathlib import Path

from repdiff.backends import dpcdvae, gemsdiff, mattergen, structrepdiff
from repdiff.backends.base import BACKENDS, Backend, RepresentationBatch, TrainingJob
from repdiff.crystals.formula import Composition
from repdiff.errors import UserError
from repdiff.runs.checkpoint import MODEL_FILE, read_metadata

__all__ = [
    "BACKENDS",
    "Backend",
    "Composition",
    "RepresentationBatch",
    "TrainingJob",
    "backend_of",
    "dpcdvae",
    "gemsdiff",
    "mattergen",
    "structrepdiff",
]


def backend_of(path: Path) -> str:
    """Return the name of the backend that wrote a trained model, a run's folder or a file.

    Raises:
        UserError: If there is no such file, or it is no model of a backend that this version has.
    """
    file = path / MODEL_FILE if path.is_dir() else path
    kind = read_metadata(file)["kind"]
    for name in BACKENDS:
        if BACKENDS[name].kind == kind:
            return name
    raise UserError(f"{file} is a {kind!r} file, expected a trained model of {', '.join(BACKENDS)}")
