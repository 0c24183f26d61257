"""Labelled crystals → a head that predicts a property from representations."""

from pathlib import Path

from pydantic import ValidationError

from repdiff.api.checks import checked
from repdiff.api.folders import ENCODED, decisive, train_in
from repdiff.backends.options import explain
from repdiff.backends.property_head import Head, fit_property_head
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.settings.paths import home_expanded
from repdiff.settings.property_head import HeadSettings


@checked
def fit_head(
    encoded: EncodedSet,
    *,
    property: str,
    max_minutes: float | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    **options: object,
) -> Head:
    """Fit a small ensemble that predicts a label from representations, for `Model.sample(steer=...)` and `optimize`.

    It learns from the split "train", stops by "val", whose crystals also correct its stated uncertainty, and is
    measured on "test"; `Head.report` tells the result.

    Args:
        encoded: Labelled crystals, encoded with the descriptor of the model that is to be steered.
        property: Name of a numeric label.
        max_minutes: Minutes of training at most.
        seed: Seed of weights, data order and dropout.
        folder: Where weights, metrics and checkpoints go; a training interrupted there resumes when it is called again.
            Without it they last as long as the head.
        device: Where to train: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.
        options: Further settings of `repdiff head fit`, such as max_steps=500, width=64, n_members=3.

    Raises:
        UserError: If no crystal has such a label, all have the same, or an option does not fit.
        KeyboardInterrupt: If the training was interrupted; with a folder its last step is saved there.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = rd.CrystalSet.of([bulk(name, "rocksalt", a=5.5) for name in ("NaCl", "KCl", "NaBr")])
        >>> labelled = [
        ...     salt.replace(labels={"gap": float(place)}, split="train") for place, salt in enumerate(salts)
        ... ]
        >>> encoded = rd.encode(rd.CrystalSet(crystals=labelled), device="cpu", progress=False)
        >>> head = rd.fit_head(encoded, property="gap", max_steps=2, device="cpu", progress=False)
        >>> head.label, head.range
        ('gap', (0.0, 2.0))
    """
    choose_device(device)
    given = {"property": property, "seed": seed, "device": device, "max_minutes": max_minutes}
    try:
        settings = HeadSettings.model_validate({**given, **options})
    except ValidationError as error:
        raise UserError(explain(error, HeadSettings, "option")) from error
    what = {ENCODED: encoded.content_hash(), **decisive(settings)}
    return train_in(folder, what, lambda place: _fitted(encoded, settings, place, progress))


@checked
def load_head(path: str | Path) -> Head:
    """Read a head: a file or a run's folder of `repdiff head fit`, or a `folder` of `fit_head`.

    Raises:
        UserError: If there is none, or it is damaged.

    Example:
        >>> import repdiff as rd
        >>> rd.load_head("nowhere")
        Traceback (most recent call last):
        repdiff.errors.UserError: nowhere: no such checkpoint; train a model first, or name another file
    """
    return Head.load(Path(home_expanded(path)))


def _fitted(encoded: EncodedSet, settings: HeadSettings, folder: Path, progress: bool) -> Head:
    with bars(progress):
        result = fit_property_head(encoded, settings, folder, summary={}, resume=True, progress=progress)
    if result.stopped_by == "signal":
        raise KeyboardInterrupt
    return Head.load(folder)
