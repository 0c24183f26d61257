"""`repdiff train`: an encoded data set → a trained generator, of any backend."""

from pathlib import Path

from descriptors.registry import unknown
from repdiff.backends import BACKENDS
from repdiff.backends.fit import fit, read_training_set
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import TrainSettings
from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.training import TrainingSettings


def run_train(settings: TrainSettings, workspace: Workspace) -> Path:
    """Let a backend prepare its model and data, and train it.

    Returns:
        The run's folder, with `model.safetensors`, `best.safetensors`, `metrics.jsonl` and `checkpoints/`.

    Raises:
        UserError: If there is no encoded set or such device, it has no training crystals, or settings do not fit.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    if settings.backend not in BACKENDS:
        raise UserError(unknown("backend", settings.backend, BACKENDS))
    choose_device(settings.device)
    path = workspace.find("encode", settings.encoded)
    name = plain_name(f"{path.name}-{_label(settings)}")
    settings = settings.model_copy(update={"encoded": path})
    with workspace.run(settings, name, inputs={"encoded": path}, resume=settings.resume) as run:
        if run.state != "finished":
            encoded = read_training_set(path)
            run.summary["backend"] = settings.backend
            backend = BACKENDS[settings.backend]
            options = settings.part(backend.training_options)
            job = backend.prepare(encoded, options=options, seed=settings.seed, folder=run.path)
            if job.n_labelled:
                run.summary["n_labelled"] = dict(job.n_labelled)
            fit(job, encoded, settings.part(TrainingSettings), run, resume=settings.resume)
    return run.path


def _label(settings: TrainSettings) -> str:
    """Name what was trained, the network where the backend has a choice of several, and the labels that it learns."""
    network = str(getattr(settings, "denoiser", "mlp"))
    return "-".join(
        [
            network if settings.backend == DEFAULT_BACKEND else settings.backend,
            *getattr(settings, "condition_on", ()),
        ]
    )
