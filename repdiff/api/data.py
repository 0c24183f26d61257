"""Crystals from files, names and other libraries, into vectors and back into files."""

from pathlib import Path
from typing import TYPE_CHECKING

from repdiff.api.checks import a_count, a_seed, checked
from repdiff.api.encoding import encode_into
from repdiff.api.folders import refuse_other_files
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal import SPLITS
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.structure_files import SUFFIXES, suffix_of, write_file, write_made
from repdiff.datasets import load
from repdiff.datasets.dataset import Dataset
from repdiff.datasets.sources import CrystalSets, split_name
from repdiff.errors import UserError, unknown
from repdiff.execution.progress import bars
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import named_descriptor
from repdiff.runs.workspace import Workspace
from repdiff.settings.paths import home_expanded

if TYPE_CHECKING:
    from repdiff.crystals.convert import CrystalsLike
else:
    CrystalsLike = object


@checked
def load_dataset(
    source: str | Path,
    *,
    split: str | None = None,
    max_atoms: int | None = None,
    limit: int | None = None,
    seed: int = 0,
    data_dir: str | Path | None = None,
    progress: bool = True,
) -> Dataset:
    """Read, check and split a data set; bad rows never stop it, they are listed in `rejected`.

    Args:
        source: "prototypes", a benchmark ("perov_5", "carbon_24", "mp_20"), or a path: CSV with a column cif, CIF or
            POSCAR files in a folder or zip, extxyz, ASE database, pymatgen JSON, parquet.
        split: "train", "val" or "test" keeps that part only; "NAME:SPLIT" as the source means the same.
        max_atoms: Largest number of atoms in a cell.
        limit: Number of rows to take, at random.
        seed: Seed of the choice of rows, and of splits where the source has none.
        data_dir: Folder of the benchmark files; without it `data` in the workspace, where `repdiff download` puts them.
        progress: Whether to show bars.

    Raises:
        UserError: If the source is unknown, absent, unreadable or empty, or all its rows are bad.

    Example:
        >>> import repdiff as rd
        >>> rd.load_dataset("prototipes")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        repdiff.errors.UserError: 'prototipes' is neither a path nor a data set; ... Did you mean 'prototypes'?
    """
    if split not in (None, *SPLITS):
        raise UserError(unknown("split", str(split), SPLITS))
    name, named = split_name(str(source)) if split is None else (str(source), split)
    with bars(progress):
        dataset = load.load_dataset(
            name,
            data_dir=None if data_dir is None else home_expanded(data_dir),
            downloads=Workspace().data_dir,
            max_atoms=a_count("max_atoms", max_atoms),
            limit=a_count("limit", limit),
            seed=a_seed(seed),
            progress=progress,
        )
    return dataset.part(named)


@checked
def encode(
    crystals: CrystalsLike | Dataset | str | Path,
    *,
    folder: str | Path | None = None,
    descriptor: str = "ead",
    niggli: bool = True,
    symprec: float | None = 0.1,
    device: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> EncodedSet:
    """Turn crystals into representation vectors.

    Args:
        crystals: A data set, pymatgen structures, ASE atoms, crystals, or a batch; those unfit for use (overlapping
            atoms, no volume) are listed in `rejected` of the result. Or what `load_dataset` takes, of any size: it is
            encoded into `folder` piece by piece, and the crystals of the result are made as they are asked for.
        folder: Where a data set that is named goes, so that an interrupted call goes on; for nothing else.
        descriptor: Name of a descriptor, NAME or NAME:PRESET.
        niggli: Whether to reduce every cell to its Niggli cell first.
        symprec: Tolerance within which the protostructure is read off each crystal, Å; None leaves it out.
        device: Where to compute: auto, cpu, cuda or cuda:N.
        seed: Seed of the splits that are drawn for crystals without one.
        progress: Whether to show bars.

    Raises:
        UserError: If something is no ordered, periodic crystal, none is fit for use, there is no such descriptor, or
            the folder holds something else.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> rd.encode([bulk("Cu"), bulk("NaCl", "rocksalt", a=5.64)], device="cpu", progress=False)
        EncodedSet: 2 crystals, 659 features each (ead)
    """
    place = choose_device(device)
    named_descriptor(descriptor)
    seed = a_seed(seed)
    if isinstance(crystals, str | Path):
        return encode_into(
            crystals,
            folder,
            descriptor=descriptor,
            niggli=niggli,
            symprec=symprec,
            device=device,
            seed=seed,
            progress=progress,
        )
    if folder is not None:
        raise UserError(
            f"`folder` is {str(folder)!r} and `crystals` are in memory: leave it out, and use `write` of the result"
        )
    if not isinstance(crystals, Dataset):
        crystals = Dataset.of(as_crystal_set(crystals), seed=seed)
    with bars(progress):
        return encode_dataset(
            crystals, descriptor, niggli=niggli, device=place, symprec=symprec, progress=progress
        )


@checked
def read(path: str | Path) -> CrystalSet:
    """Read crystals of any quality: a file, a folder, a run of this tool, or a data set's name or NAME:SPLIT.

    What cannot be read is in `failed` of the result, with the reasons.

    Raises:
        UserError: If there is nothing of that name, or it is of no known format.

    Example:
        >>> import tempfile
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = rd.write(f"{folder}/copper.cif", bulk("Cu"))
        ...     rd.read(file)
        CrystalSet: 1 crystal
    """
    given = str(path)
    return CrystalSets(data_dir=None, workspace=Workspace()).to_judge(given)


@checked
def write(path: str | Path, crystals: CrystalsLike) -> Path:
    """Write crystals to a file, or to a folder in all formats; it appears whole or not at all.

    Args:
        path: A file ending in .cif (one crystal), .zip (one CIF a crystal), .extxyz, .json.gz, .csv or .parquet;
            a path without such an ending is a folder, which also keeps what failed; one that exists must be empty or
            hold crystals written before, which are replaced.
        crystals: Structures, atoms, crystals, or a set of them.

    Returns:
        The path.

    Raises:
        UserError: If something is no crystal, cannot be written in the format, the folder holds other files, or the
            disk refuses.

    Example:
        >>> import tempfile
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     sorted(file.name for file in rd.write(f"{folder}/metals", [bulk("Cu"), bulk("Fe")]).iterdir())
        ['cif.zip', 'failed.jsonl', 'structures.csv', 'structures.extxyz', 'structures.json.gz', 'table.parquet']
    """
    given, place = as_crystal_set(crystals), home_expanded(path)
    if suffix_of(place) is not None:
        return write_file(place, given.crystals)
    if place.is_file() or (place.suffix and not place.is_dir()):
        raise UserError(f"{place} has no known ending, expected one of {', '.join(SUFFIXES)}, or a folder")
    refuse_other_files(place)
    write_made(place, given.crystals, given.failed, progress=False)
    return place
