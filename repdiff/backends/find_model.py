"""Trained models of a workspace, found by what a user says of them, without loading what they compute with."""

from pathlib import Path

from repdiff.errors import UserError
from repdiff.runs.model_files import model_file, read_metadata
from repdiff.runs.shipped_models import shipped_models
from repdiff.runs.workspace import Workspace
from repdiff.settings.backends import backend_names, backend_of_kind, backend_options


def find_model(
    given: Path | None, workspace: Workspace, *, newest: str = "train", backend: str | None = None
) -> Path:
    """Return the model a user means: a path, the name of a run, that of a shipped model, or (None) a newest one.

    Names are those of runs of train and finetune. A run goes before a shipped model of its name.

    Args:
        given: What the user said.
        workspace: Where runs are kept.
        newest: Verb whose newest run is taken if nothing was said.
        backend: What it has to be a model of; without it any.

    Raises:
        UserError: If there is no such backend or model, or the model is one of another backend.
    """
    if backend is not None:
        backend_options(backend)
    if given is None:
        try:
            return workspace.newest(newest, summary={} if backend is None else {"backend": backend})
        except UserError as error:
            if backend is not None or workspace.runs(newest):
                raise
            raise UserError(
                f"{error}, or name a model of the package by `model`: {', '.join(shipped_models())}"
            ) from error
    path = _path_of(given, workspace)
    if backend is not None and (found := backend_of(path)) != backend:
        raise UserError(f"{path} is a model of {found}, expected one of `repdiff train --backend {backend}`")
    return path


def _path_of(given: Path, workspace: Workspace) -> Path:
    tuned = not given.exists() and (workspace.root / "finetune" / given).exists()
    verb = "finetune" if tuned else "train"
    if given.exists() or (workspace.root / verb / given).exists():
        return workspace.find(verb, given)
    shipped = shipped_models()
    if str(given) in shipped:
        return shipped[str(given)].path
    return workspace.find(verb, given, others=("models of the package", [*shipped]))


def newest_verb(asks_for_learnt: bool, workspace: Workspace) -> str:
    """Say whose newest output is the model where none is named: that of fine-tuning if properties are asked for.

    Args:
        asks_for_learnt: Whether anything is asked for that models are taught.
        workspace: Where runs are kept; without a fine-tuned model in it, it is that of training.
    """
    return "finetune" if asks_for_learnt and workspace.runs("finetune") else "train"


def backend_of(path: Path) -> str:
    """Return the name of the backend that wrote a trained model, a run's folder or a file.

    Raises:
        UserError: If there is no such file, or it is no model of a backend that this version has.
    """
    file = model_file(path)
    kind = str(read_metadata(file)["kind"])
    if (name := backend_of_kind(kind)) is None:
        raise UserError(
            f"{file} is a {kind!r} file, expected a trained model of {', '.join(backend_names())}"
        )
    return name
