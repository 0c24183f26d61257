"""An encoded data set → a trained model."""

import shutil
import tempfile
import weakref
from collections.abc import Mapping
from pathlib import Path

from pydantic import ValidationError

from descriptors.registry import unknown
from repdiff.api.checks import checked
from repdiff.api.folders import ENCODED, claim_for_training
from repdiff.api.model import Model
from repdiff.backends import BACKENDS
from repdiff.backends.fit import fit
from repdiff.backends.options import explain
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.workspace import Run
from repdiff.settings import TrainSettings
from repdiff.settings.compose import completed, expanded
from repdiff.settings.leaves import leaves
from repdiff.settings.paths import home_expanded
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
    if folder is not None:
        place = home_expanded(folder)
        claim_for_training(place, {ENCODED: encoded.content_hash(), **_decisive(settings)})
        return _trained(encoded, settings, place, progress)
    path = Path(tempfile.mkdtemp(prefix="repdiff-"))
    try:
        model = _trained(encoded, settings, path, progress)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    weakref.finalize(model, shutil.rmtree, path, ignore_errors=True)
    return model


def _trained(encoded: EncodedSet, settings: TrainSettings, folder: Path, progress: bool) -> Model:
    """Train in a folder, and read what came out of it."""
    kind = BACKENDS[settings.backend]
    with bars(progress):
        options = settings.part(kind.training_options)
        job = kind.prepare(encoded, options=options, seed=settings.seed, folder=folder)
        fit(job, encoded, settings.part(TrainingSettings), Run(path=folder, state="new"))
    return Model(folder, settings.backend, kind.load(folder, device=choose_device(settings.device)))


def _settings(backend: str, values: Mapping[str, object]) -> TrainSettings:
    """Build the settings of a training, and say in one line what does not fit."""
    model = completed(TrainSettings, backend)
    try:
        return model.model_validate({"backend": backend, **expanded(values)})
    except ValidationError as error:
        raise UserError(explain(error, model, "option")) from error


def _decisive(settings: TrainSettings) -> dict[str, object]:
    """Return what shapes the result of a training, by name, as plain JSON."""
    roles = {leaf.path[0]: leaf.extra.get("role", "result") for leaf in leaves(type(settings))}
    return {
        name: value for name, value in settings.model_dump(mode="json").items() if roles[name] == "result"
    }
