"""`repdiff encode`: crystals → representation vectors."""

import logging
from collections import Counter
from pathlib import Path

from repdiff.datasets.load import load_dataset
from repdiff.hardware import choose_device
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import named_descriptor
from repdiff.runs.failures import REJECTED
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import EncodeSettings

log = logging.getLogger(__name__)


def run_encode(settings: EncodeSettings, workspace: Workspace) -> Path:
    """Read a data set, reduce its cells, encode every crystal, and write the encoded set.

    Returns:
        The run's folder: `crystals.parquet`, `representations.safetensors` and `rejected.jsonl`.

    Raises:
        UserError: If the data set, the descriptor or the device is not there, or no crystal is usable.
    """
    device = choose_device(settings.device)
    named_descriptor(settings.descriptor)  # a mistake in its name is told before minutes of reading
    dataset = load_dataset(
        settings.dataset,
        data_dir=settings.data_dir,
        downloads=workspace.data_dir,
        max_atoms=settings.max_atoms,
        limit=settings.limit,
        seed=settings.seed,
    )
    inputs = {name: Input(path=name, sha256=digest) for name, digest in dataset.input_hashes.items()}
    name = plain_name(f"{dataset.name}-{settings.descriptor}")
    with workspace.run(settings, name, inputs=inputs) as run:
        if run.state != "finished":
            encoded = encode_dataset(
                dataset,
                settings.descriptor,
                niggli=settings.niggli,
                device=device,
                symprec=settings.symprec,
            )
            encoded.write(run.path)
            splits = Counter(crystal.split for crystal in encoded.crystals)
            run.summary.update(
                n_crystals=len(encoded.crystals),
                n_rejected=len(encoded.rejected),
                n_features=encoded.representations.shape[1],
                splits={split: splits[split] for split in ("train", "val", "test")},
                note=dataset.note,
            )
            log.info(
                "%d crystals in %d features, %d rejected%s",
                len(encoded.crystals),
                encoded.representations.shape[1],
                len(encoded.rejected),
                f" (reasons in {run.path / REJECTED})" if encoded.rejected else "",
            )
    return run.path
