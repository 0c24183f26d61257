"""An encoded data set → a trained model."""

from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import ValidationError

from descriptors.registry import unknown
from repdiff.api.checks import checked
from repdiff.api.folders import ENCODED, decisive, train_in
from repdiff.api.model import Model
from repdiff.backends import BACKENDS, TrainingJob
from repdiff.backends.fit import fit
from repdiff.backends.options import explain
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.workspace import Run
from repdiff.settings import TrainSettings
from repdiff.settings.compose import completed, expanded
from repdiff.settings.training import TrainingSettings


@checked
def train(
    encoded: EncodedSet,
    *,
    backend: str = "structrepdiff",
    max_minutes: float | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    **options: object,
) -> Model:
    """Train a model on an encoded data set.

    Args:
        encoded: What `encode` returned, with crystals in the split "train".
        backend: Name of the system; `repdiff backends` lists them.
        max_minutes: Minutes of training at most; without it, and without max_steps or max_epochs among the options,
            1000 passes over the data.
        seed: Seed of weights, data order and noise.
        folder: Where weights, metrics and checkpoints go; a training interrupted there resumes when it is called
            again, with the same crystals, backend and options. Without it they last as long as the model; see
            `Model.save`.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.
        options: Further settings of `repdiff train`, such as max_steps=1000, batch_size=128.

    Raises:
        UserError: If the backend or an option is unknown, a value does not fit, there is nothing to train on, or
            the folder holds anything but the same training.
        KeyboardInterrupt: If the training was interrupted; with a folder its last step is saved there.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = [bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")]
        >>> encoded = rd.encode(salts, device="cpu", progress=False)
        >>> rd.train(encoded, backend="retrieval", device="cpu", progress=False).backend_name
        'retrieval'
    """
    if backend not in BACKENDS:
        raise UserError(unknown("backend", backend, BACKENDS))
    if not encoded.rows("train"):
        raise UserError("encoded has no crystal in split 'train', expected some: encode a set that has")
    choose_device(device)
    settings = _settings(backend, dict(options, max_minutes=max_minutes, seed=seed, device=device))
    kind = BACKENDS[backend]

    def prepare(place: Path) -> TrainingJob:
        chosen = settings.part(kind.training_options)
        return kind.prepare(encoded, options=chosen, seed=settings.seed, folder=place)

    what = {ENCODED: encoded.content_hash(), **decisive(settings)}
    return fitted(prepare, encoded, settings.part(TrainingSettings), backend, what, folder, progress=progress)


def fitted(
    prepare: Callable[[Path], TrainingJob],
    encoded: EncodedSet,
    settings: TrainingSettings,
    backend: str,
    what: Mapping[str, object],
    folder: str | Path | None,
    *,
    progress: bool,
) -> Model:
    """Train what a backend prepares, and read what came out of it.

    Args:
        prepare: Prepares it, given the folder.
        encoded: The data set.
        settings: How long and how to train.
        backend: Name of the backend.
        what: All that decides the result, by name, as plain JSON; a folder that holds another training is refused.
        folder: Where to train; None for a folder that lasts as long as the model.
        progress: Whether to show bars.

    Raises:
        UserError: If the folder holds something else, or what is prepared does not fit.
    """
    return train_in(
        folder, what, lambda place: _trained(prepare, encoded, settings, backend, place, progress)
    )


def _trained(
    prepare: Callable[[Path], TrainingJob],
    encoded: EncodedSet,
    settings: TrainingSettings,
    backend: str,
    folder: Path,
    progress: bool,
) -> Model:
    """Train in a folder, and read what came out of it."""
    with bars(progress):
        fit(prepare(folder), encoded, settings, Run(path=folder, state="new"))
    return Model(folder, backend, BACKENDS[backend].load(folder, device=choose_device(settings.device)))


def _settings(backend: str, values: Mapping[str, object]) -> TrainSettings:
    """Build the settings of a training, and say in one line what does not fit."""
    model = completed(TrainSettings, backend)
    try:
        return model.model_validate({"backend": backend, **expanded(values)})
    except ValidationError as error:
        raise UserError(explain(error, model, "option")) from error
