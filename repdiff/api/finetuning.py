"""A trained model and labels → the same model, which can be asked for them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pydantic import ValidationError

from repdiff.api.checks import checked
from repdiff.api.folders import ENCODED, decisive
from repdiff.api.model import Model
from repdiff.api.training import fitted
from repdiff.backends import TrainingJob
from repdiff.backends.options import explain
from repdiff.crystals.crystal import Label
from repdiff.datasets.label_tables import read_label_table, with_labels
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.atomic_files import sha256
from repdiff.runs.model_files import model_file
from repdiff.settings import FinetuneSettings
from repdiff.settings.training import TrainingSettings


@checked
def finetune(
    model: Model,
    encoded: EncodedSet,
    *,
    property: str | Sequence[str],
    labels: str | Path | Mapping[str, Mapping[str, Label]] | None = None,
    weights: str = "all",
    max_minutes: float | None = None,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    **options: object,
) -> Model:
    """Teach a trained model properties of crystals, so that samples can be asked for them.

    Args:
        model: The trained model, of structrepdiff or mattergen; it stays as it is.
        encoded: Crystals in the split "train", encoded as those of the model.
        property: Name of a label, or several.
        labels: A table (CSV or parquet) with the properties as columns and one of the ids, or labels by id and name,
            such as `{"mp-149": {"band_gap": 1.1}}`; None for labels that the crystals have. Crystals without a label
            are used unconditionally, and counted.
        weights: "all" are trained, or "adapters", those of the new adapters alone.
        max_minutes: Minutes of training at most; without it, and without max_steps or max_epochs among the options,
            200 passes over the data.
        seed: Seed of the adapters, data order and noise.
        folder: Where weights, metrics and checkpoints go, as for `train`.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.
        options: Further settings of `repdiff finetune`, such as max_steps=1000, condition_dropout=0.1.

    Raises:
        UserError: If the model takes no properties or has one of them, labels do not serve, an option is unknown, or
            the folder holds anything but the same training.
        KeyboardInterrupt: If the training was interrupted; with a folder its last step is saved there.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> salts = [bulk(name, "rocksalt", a=a) for name, a in (("NaCl", 5.6), ("KCl", 6.3), ("NaBr", 6.0))]
        >>> encoded = rd.encode(salts, device="cpu", progress=False)
        >>> small = {"max_steps": 1, "device": "cpu", "progress": False}
        >>> model = rd.train(encoded, timesteps=10, **small)
        >>> gaps = {crystal.id: {"gap": gap} for crystal, gap in zip(encoded.crystals, (8.5, 8.4, 7.1))}
        >>> tuned = rd.finetune(model, encoded, property="gap", labels=gaps, **small)
        >>> tuned.sample_representations(2, conditions={"gap": 8.0}, guidance=2.0, progress=False)
        RepresentationBatch: 2 vectors of 660 features (ead)
    """
    names = (property,) if isinstance(property, str) else tuple(property)
    if not names or len(set(names)) < len(names):
        raise UserError(
            f"`property` is {','.join(names) or 'missing'}, expected one or more names, each once"
        )
    if not encoded.rows("train"):
        raise UserError("encoded has no crystal in split 'train', expected some: encode a set that has")
    choose_device(device)
    values = {
        **options,
        "property": names,
        "weights": weights,
        "max_minutes": max_minutes,
        "seed": seed,
        "device": device,
    }
    try:
        settings = FinetuneSettings.model_validate(values)
    except ValidationError as error:
        raise UserError(explain(error, FinetuneSettings, "option")) from error
    if labels is not None:
        is_table = isinstance(labels, str | Path)
        table = read_label_table(labels, names) if is_table else labels
        source = str(labels) if is_table else "labels"
        encoded = replace(encoded, crystals=with_labels(encoded.crystals, table, source=source))

    def prepare(place: Path) -> TrainingJob:
        del place
        return model.backend.prepare_finetuning(
            encoded,
            model.path,
            names=names,
            weights=settings.weights,
            condition_dropout=settings.condition_dropout,
            seed=settings.seed,
        )

    what = {ENCODED: encoded.content_hash(), "model": sha256(model_file(model.path)), **decisive(settings)}
    chosen = settings.part(TrainingSettings)
    return fitted(prepare, encoded, chosen, model.backend_name, what, folder, progress=progress)
