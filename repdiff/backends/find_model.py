"""Trained models of a workspace, found by what a user says of them."""

from pathlib import Path

from descriptors.registry import unknown
from repdiff.backends import BACKENDS, backend_of
from repdiff.errors import UserError
from repdiff.runs.workspace import Workspace


def find_model(
    given: Path | None, workspace: Workspace, *, newest: str = "train", backend: str | None = None
) -> Path:
    """Return the model a user means: a path, the name of a run of train or finetune, or (None) a newest one.

    Args:
        given: What the user said.
        workspace: Where runs are kept.
        newest: Verb whose newest run is taken if nothing was said.
        backend: What it has to be a model of; without it any.

    Raises:
        UserError: If there is no such backend or model, or the model is one of another backend.
    """
    if backend is not None and backend not in BACKENDS:
        raise UserError(unknown("backend", backend, BACKENDS))
    if given is None:
        return workspace.newest(newest, summary={} if backend is None else {"backend": backend})
    tuned = not given.exists() and (workspace.root / "finetune" / given).exists()
    path = workspace.find("finetune" if tuned else "train", given)
    if backend is not None and (found := backend_of(path)) != backend:
        raise UserError(f"{path} is a model of {found}, expected one of `repdiff train --backend {backend}`")
    return path
