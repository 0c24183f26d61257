"""`repdiff rank`: labelled crystals → a model that ranks protostructures before they are built."""

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from descriptors.symmetry.protostructure import Protostructure
from repdiff.backends.ranking import check_label, fit_ranking
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.resumable_parts import compute_in_parts
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError
from repdiff.execution.jobs import run_jobs, workers_to_use
from repdiff.hardware import choose_device, n_cores
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import RankSettings
from repdiff.symmetry import protostructures_of, read_protostructures, with_protostructures

PART_SIZE = 1000  # crystals whose protostructures are read and written together, some seconds of a core
PARTS_PER_PROCESS = 4  # with fewer, a process takes longer to start than it saves
Known = tuple[Sequence[Crystal], Sequence[Protostructure | None]]  # labelled crystals, and what each has


def run_rank(settings: RankSettings, workspace: Workspace) -> Path:
    """Train an ensemble that predicts a label from protostructures, on an encoded or a named data set.

    Returns:
        The run's folder, with `best.safetensors`, `model.safetensors`, `metrics.jsonl` and `checkpoints/`.

    Raises:
        UserError: If there are no labelled crystals with protostructures, or no such device.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    choose_device(settings.device)
    if settings.dataset is None:
        path = workspace.find("encode", settings.encoded)
        settings = settings.model_copy(update={"encoded": path})
        inputs: dict[str, Path | Input] = {"encoded": path}
        dataset, name = None, path.name
    else:
        dataset = load_dataset(
            settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir, seed=settings.seed
        )
        inputs = {key: Input(path=key, sha256=digest) for key, digest in dataset.input_hashes.items()}
        name = dataset.name
    label = plain_name(f"{name}-{settings.by}")
    with workspace.run(settings, label, inputs=inputs, resume=settings.resume) as run:
        if run.state != "finished":
            learn_from = _of_encoded(settings, run) if dataset is None else _read(dataset, settings, run)
            result = fit_ranking(*learn_from, settings, run.path, summary=run.summary, resume=settings.resume)
            if result.stopped_by == "signal":
                raise KeyboardInterrupt
    return run.path


def _of_encoded(settings: RankSettings, run: Run) -> Known:
    """Read the crystals of an encoded set, and their protostructures."""
    assert settings.encoded is not None
    encoded = EncodedSet.read(settings.encoded)
    if encoded.symmetry is None:
        raise UserError(
            f"{settings.encoded} was encoded without protostructures: encode the data set again, or name it"
        )
    run.summary["note"] = encoded.layout.note
    return encoded.crystals, encoded.symmetry.protostructures


def _read(dataset: Dataset, settings: RankSettings, run: Run) -> Known:
    """Read the protostructures of a data set, part by part, those of training and validation only."""
    run.summary["note"] = dataset.note
    check_label(settings.by, dataset.crystals)
    wanted = [crystal for crystal in dataset.crystals if crystal.split in ("train", "val")]

    def compute(parts: list[list[Crystal]]) -> Iterator[tuple[list[Crystal], list[Crystal]]]:
        n_workers = min(workers_to_use(None, n_cores()), len(parts) // PARTS_PER_PROCESS)
        yield from run_jobs(partial(_read_part, settings.symprec), parts, n_workers=n_workers)

    found = compute_in_parts(run.path, wanted, compute, part_size=PART_SIZE, label="protostructures")
    return found, protostructures_of(found)


def _read_part(symprec: float, part: Sequence[Crystal]) -> list[Crystal]:
    return with_protostructures(part, read_protostructures(part, symprec=symprec, canonical=True))
