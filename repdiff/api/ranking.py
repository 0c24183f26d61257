"""Labelled crystals → a model that ranks protostructures before they are built."""

import hashlib
from pathlib import Path

from pydantic import ValidationError

from repdiff.api.checks import checked
from repdiff.api.folders import ENCODED, decisive, train_in
from repdiff.backends.options import explain
from repdiff.backends.ranking import Ranker, check_label, fit_ranking
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.dataset import Dataset
from repdiff.errors import UserError
from repdiff.execution.jobs import workers_to_use
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device, n_cores
from repdiff.representations.encoded_set import EncodedSet, bytes_of
from repdiff.settings.paths import home_expanded
from repdiff.settings.ranking import RankSettings
from repdiff.symmetry import read_protostructures


@checked
def train_ranker(
    crystals: EncodedSet | Dataset | CrystalSet,
    *,
    by: str = "e_above_hull",
    max_minutes: float | None = None,
    symprec: float = 0.1,
    seed: int = 0,
    folder: str | Path | None = None,
    device: str = "auto",
    progress: bool = True,
    **options: object,
) -> Ranker:
    """Train a small ensemble that predicts a label from protostructures, for `Model.sample(keep_best=...)`.

    Args:
        crystals: Crystals with the label; what `encode` returned has protostructures already, of others they are read
            here.
        by: Name of a numeric label; protostructures with lower values are ranked first.
        max_minutes: Minutes of training at most.
        symprec: Tolerance within which protostructures are read off crystals that have none, Å.
        seed: Seed of weights, data order and drawn splits.
        folder: Where weights, metrics and checkpoints go; a training interrupted there resumes when it is called again.
            Without it they last as long as the model.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        progress: Whether to show bars.
        options: Further settings of `repdiff rank`, such as max_steps=500, width=32, n_members=3.

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
        >>> ranker = rd.train_ranker(
        ...     rd.CrystalSet(crystals=labelled), by="gap", max_steps=2, device="cpu", progress=False
        ... )
        >>> ranker.label, ranker.n_training
        ('gap', 3)
    """
    choose_device(device)
    given = {"by": by, "seed": seed, "device": device, "symprec": symprec, "max_minutes": max_minutes}
    try:
        settings = RankSettings.model_validate({**given, **options})
    except ValidationError as error:
        raise UserError(explain(error, RankSettings, "option")) from error
    if isinstance(crystals, CrystalSet):
        crystals = Dataset.of(crystals, seed=seed)
    what = {ENCODED: _content(crystals), **decisive(settings)}
    return train_in(folder, what, lambda place: _trained(crystals, settings, place, progress))


@checked
def load_ranker(path: str | Path, *, device: str = "auto") -> Ranker:
    """Read a ranking model: a file or a run's folder of `repdiff rank`, or a `folder` of `train_ranker`.

    Raises:
        UserError: If there is none, or it is damaged.

    Example:
        >>> import repdiff as rd
        >>> rd.load_ranker("nowhere")
        Traceback (most recent call last):
        repdiff.errors.UserError: nowhere: no such checkpoint; train a model first, or name another file
    """
    return Ranker.load(home_expanded(path), device=choose_device(device))


def _trained(crystals: EncodedSet | Dataset, settings: RankSettings, folder: Path, progress: bool) -> Ranker:
    """Train in a folder, and read what came out of it."""
    with bars(progress):
        if isinstance(crystals, EncodedSet) and crystals.symmetry is not None:
            known = crystals.symmetry.protostructures
        else:
            check_label(settings.by, crystals.crystals)
            readings = read_protostructures(
                crystals.crystals,
                symprec=settings.symprec,
                canonical=True,
                n_workers=workers_to_use(None, n_cores()),
                progress=progress,
            )
            known = tuple(reading.protostructure for reading in readings)
        result = fit_ranking(
            crystals.crystals, known, settings, folder, summary={}, resume=True, progress=progress
        )
    if result.stopped_by == "signal":
        raise KeyboardInterrupt
    return Ranker.load(folder, device=choose_device(settings.device))


def _content(crystals: EncodedSet | Dataset) -> str:
    """Hash all that decides a training."""
    if isinstance(crystals, EncodedSet):
        return crystals.content_hash()
    return hashlib.sha256(b"".join(map(bytes_of, crystals.crystals))).hexdigest()
