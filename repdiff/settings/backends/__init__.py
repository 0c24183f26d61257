"""The options of each backend, one file a system: found by name without loading what the system computes with."""

import importlib
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from typing import Any

from repdiff.errors import UserError, unknown
from repdiff.settings.base import Options

OWN = ("dpcdvae", "gemsdiff", "mattergen", "retrieval", "structrepdiff")
PLUGINS = "repdiff.backends"  # group of entry points
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


_DECLARED: dict[str, BackendOptions] = {}


def backend_names() -> tuple[str, ...]:
    """List the backends, those of plugins included; no plugin is loaded for it."""
    return (*OWN, *sorted({*_DECLARED, *_plugins()} - set(OWN)))


def declare(name: str, backend: Any) -> None:  # noqa: ANN401 (a class of a layer above)
    """Note the options of a backend that is no part of this package.

    Args:
        name: Name under which it is registered.
        backend: Class with `kind`, `training_options` and `sampling_options`.
    """
    if name not in OWN:
        _DECLARED[name] = BackendOptions(
            kind=backend.kind, training=backend.training_options, sampling=backend.sampling_options
        )


def backend_options(name: str) -> BackendOptions:
    """Look the options of a backend up.

    Raises:
        UserError: If there is no such backend, or its plugin cannot be loaded.
    """
    if name in OWN:
        return importlib.import_module(f"repdiff.settings.backends.{name}").OPTIONS
    if name not in _DECLARED:
        if name not in _plugins():
            raise UserError(unknown("backend", name, backend_names()))
        try:
            declare(name, _plugins()[name].load())
        except Exception as error:
            reason = " ".join(str(error).split())
            raise UserError(f"the plugin of backend {name!r} cannot be loaded: {reason}") from error
    return _DECLARED[name]


def backend_of_kind(kind: str) -> str | None:
    """Return the name of the backend that writes files of a kind; None if there is none."""
    for name in backend_names():
        try:
            if backend_options(name).kind == kind:
                return name
        except UserError:  # a plugin that is broken; the registry warns of it
            continue
    return None


@cache
def _plugins() -> dict[str, metadata.EntryPoint]:
    return {entry.name: entry for entry in metadata.entry_points(group=PLUGINS)}
