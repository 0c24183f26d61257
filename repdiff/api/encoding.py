"""Data sets that are encoded from a path into a folder, piece by piece."""

import shutil
from pathlib import Path

from repdiff.api.folders import claimed
from repdiff.datasets.in_pieces import read_in_pieces
from repdiff.datasets.load import find_origin
from repdiff.errors import UserError
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import REPRESENTATIONS, EncodedSet
from repdiff.representations.encoding_in_pieces import encode_in_pieces
from repdiff.runs.atomic_files import PIECES
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded


def encode_into(
    source: str | Path,
    folder: str | Path | None,
    *,
    descriptor: str,
    niggli: bool,
    symprec: float | None,
    device: str,
    seed: int,
    progress: bool,
) -> EncodedSet:
    """Encode a data set of any size; an interrupted call goes on where it was.

    Args:
        source: A name or path, as for `rd.load_dataset`.
        folder: Where the encoded set goes.
        descriptor: Name of a descriptor.
        niggli: Whether to reduce every cell first.
        symprec: Tolerance within which protostructures are read, Å; None leaves them out.
        device: Where to compute.
        seed: Seed of the splits that are drawn.
        progress: Whether to show bars.

    Raises:
        UserError: If there is no folder or no such source, the folder holds something else, or no row can be used.
    """
    if folder is None:
        raise UserError(
            f"`crystals` is the name {str(source)!r} and `folder` is None: name a folder for the encoded set, or give "
            "rd.load_dataset(...)"
        )
    place, origin = home_expanded(folder), find_origin(str(source), [Workspace().data_dir])
    what = {
        "files": origin.hashes(),
        "dataset": origin.name,
        "descriptor": descriptor,
        "niggli": niggli,
        "symprec": symprec,
        "seed": seed,
    }
    with claimed(place, what, work="encoded set", call="rd.encode"), bars(progress):
        if (place / PIECES).exists() or not (place / REPRESENTATIONS).is_file():  # which is written last
            dataset = read_in_pieces(origin, place / PIECES, seed=seed, progress=progress)
            encode_in_pieces(
                dataset,
                place,
                place / PIECES,
                descriptor,
                niggli=niggli,
                device=choose_device(device),
                symprec=symprec,
                progress=progress,
            )
            shutil.rmtree(place / PIECES)
    return EncodedSet.read(place, stored=True)
