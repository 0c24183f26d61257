"""The options of each backend, one file a system: found by name without loading what the system computes with."""

import importlib
from dataclasses import dataclass

from repdiff.errors import UserError, unknown
from repdiff.settings.base import Options

NAMES = ("dpcdvae", "gemsdiff", "mattergen", "structrepdiff")
DEFAULT_BACKEND = "structrepdiff"


@dataclass(frozen=True, kw_only=True)
class BackendOptions:
    """What one backend can be told.

    Attributes:
        kind: File type tag, used to find the backend of a checkpoint.
        training: Options of training.
        sampling: Options of sampling.
        conditions: Properties that samples can be asked for, where the backend takes any.
    """

    kind: str
    training: type[Options]
    sampling: type[Options]
    conditions: type[Options] | None = None


def backend_options(name: str) -> BackendOptions:
    """Look the options of a backend up.

    Raises:
        UserError: If there is no such backend.
    """
    if name not in NAMES:
        raise UserError(unknown("backend", name, NAMES))
    return importlib.import_module(f"repdiff.settings.backends.{name}").OPTIONS


def backend_of_kind(kind: str) -> str | None:
    """Return the name of the backend that writes files of a kind; None if there is none."""
    return next((name for name in NAMES if backend_options(name).kind == kind), None)
