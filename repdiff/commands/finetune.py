"""`repdiff finetune`: a trained model and labelled crystals → the model with adapters for their properties."""

from dataclasses import replace
from pathlib import Path

from repdiff.backends import BACKENDS
from repdiff.backends.find_model import backend_of, find_model
from repdiff.backends.fit import fit, read_training_set
from repdiff.datasets.label_tables import read_label_table, with_labels
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.runs.model_files import model_name
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import FinetuneSettings
from repdiff.settings.training import TrainingSettings


def run_finetune(settings: FinetuneSettings, workspace: Workspace) -> Path:
    """Add adapters for properties to a model, and train it on crystals with labels.

    Crystals without a label are used unconditionally, and counted.

    Returns:
        The run's folder, with the files of `repdiff train`.

    Raises:
        UserError: If there is no model, encoded set or such device, the model takes no adapters, or labels do not
            serve.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    if not settings.property or len(set(settings.property)) < len(settings.property):
        raise UserError(
            f"`property` is {','.join(settings.property) or 'missing'}, expected one or more names, each once"
        )
    choose_device(settings.device)
    encoded_path = workspace.find("encode", settings.encoded)
    base = find_model(settings.from_run, workspace)
    backend = backend_of(base)
    name = plain_name(f"{model_name(base)}-{'-'.join(settings.property)}")
    settings = settings.model_copy(update={"encoded": encoded_path, "from_run": base})
    inputs = {"encoded": encoded_path, "from_run": base}
    table = None
    if settings.labels is not None:
        table = read_label_table(settings.labels, settings.property)
        inputs["labels"] = settings.labels
    with workspace.run(settings, name, inputs=inputs, resume=settings.resume) as run:
        if run.state != "finished":
            encoded = read_training_set(encoded_path)
            if table is not None:
                crystals = with_labels(encoded.crystals, table, source=str(settings.labels))
                encoded = replace(encoded, crystals=crystals)
            job = BACKENDS[backend].prepare_finetuning(
                encoded,
                base,
                names=settings.property,
                weights=settings.weights,
                condition_dropout=settings.condition_dropout,
                seed=settings.seed,
            )
            run.summary.update(
                backend=backend,
                properties=list(settings.property),
                n_labelled=dict(job.n_labelled),
                n_training=len(job.training),
            )
            fit(job, encoded, settings.part(TrainingSettings), run, resume=settings.resume)
    return run.path
