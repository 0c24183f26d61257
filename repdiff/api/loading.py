"""Trained models, read from files."""

from pathlib import Path
from typing import Literal

from repdiff.api.checks import checked
from repdiff.api.model import Model
from repdiff.backends import BACKENDS, backend_of
from repdiff.backends.find_model import find_model
from repdiff.hardware import choose_device
from repdiff.runs.workspace import Workspace
from repdiff.settings.base import DEFAULT_ROOT
from repdiff.settings.paths import home_expanded


@checked
def load_model(
    model: str | Path, *, workspace: str | Path = DEFAULT_ROOT, device: str | Literal["auto"] = "auto"
) -> Model:
    """Read a trained model.

    Args:
        model: Path of a file or a run's folder, the name of a run in the workspace, or that of a model of the package
            (see `shipped_models`).
        workspace: Folder of the command line's outputs.
        device: Where it will sample: auto, cpu, cuda or cuda:N.

    Raises:
        UserError: If there is none, it is damaged, or it is of another version of this package.

    Example:
        >>> import tempfile
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = rd.train(encoded, backend="retrieval", folder=folder, device="cpu", progress=False)
        ...     rd.load_model(folder).backend_name
        'retrieval'
    """
    path = find_model(home_expanded(model), Workspace(root=home_expanded(workspace)))
    name = backend_of(path)
    return Model(path, name, BACKENDS[name].load(path, device=choose_device(device)))
