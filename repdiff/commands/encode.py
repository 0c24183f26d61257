"""`repdiff encode`: crystals → representation vectors, piece by piece."""

import logging
from pathlib import Path

from repdiff.datasets.in_pieces import read_in_pieces
from repdiff.datasets.load import check_limit, find_origin
from repdiff.hardware import choose_device
from repdiff.representations.encoding_in_pieces import encode_in_pieces
from repdiff.representations.layout import named_descriptor
from repdiff.runs.atomic_files import PIECES
from repdiff.runs.failures import REJECTED
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import EncodeSettings

log = logging.getLogger(__name__)


def run_encode(settings: EncodeSettings, workspace: Workspace) -> Path:
    """Read a data set, reduce its cells, encode every crystal, and write the encoded set.

    One block of rows is in memory at a time, and on disk as soon as it is done, so that an interrupted run goes on
    where it was.

    Returns:
        The run's folder: `crystals.parquet`, `representations.safetensors` and `rejected.jsonl`.

    Raises:
        UserError: If the data set, the descriptor or the device is not there, or no crystal is usable.
    """
    device = choose_device(settings.device)
    named_descriptor(settings.descriptor)  # a mistake in its name is told before minutes of reading
    check_limit(settings.limit)
    places = [place for place in (settings.data_dir, workspace.data_dir) if place is not None]
    origin = find_origin(settings.dataset, places)
    inputs = {name: Input(path=name, sha256=digest) for name, digest in origin.hashes().items()}
    name = plain_name(f"{origin.name}-{settings.descriptor}")
    with workspace.run(settings, name, inputs=inputs) as run:
        if run.state != "finished":
            dataset = read_in_pieces(
                origin,
                run.path / PIECES,
                max_atoms=settings.max_atoms,
                limit=settings.limit,
                seed=settings.seed,
            )
            encoded = encode_in_pieces(
                dataset,
                run.path,
                run.path / PIECES,
                settings.descriptor,
                niggli=settings.niggli,
                device=device,
                symprec=settings.symprec,
            )
            run.summary.update(
                n_crystals=encoded.n_crystals,
                n_rejected=encoded.n_rejected,
                n_features=encoded.n_features,
                splits=encoded.splits,
                note=dataset.note,
            )
            log.info(
                "%d crystals in %d features, %d rejected%s",
                encoded.n_crystals,
                encoded.n_features,
                encoded.n_rejected,
                f" (reasons in {run.path / REJECTED})" if encoded.n_rejected else "",
            )
    return run.path
