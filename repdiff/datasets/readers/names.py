"""What the name of a file says about its format."""

from pathlib import PurePosixPath

from repdiff.settings.paths import readable

POSCAR_SUFFIXES = (".vasp", ".poscar")
PACKED = (".gz", ".bz2")


def form_of_name(name: str) -> str | None:
    """Name the format of a file of one text by its name: "cif", "poscar", or None if it is neither.

    A packed text (.gz, .bz2) has the format of what is inside.
    """
    path = PurePosixPath(name.strip())
    if path.name.startswith(".") or "__MACOSX" in path.parts:
        return None
    if path.suffix.lower() in PACKED:
        path = path.with_suffix("")
    if path.suffix.lower() == ".cif":
        return "cif"
    is_poscar = path.suffix.lower() in POSCAR_SUFFIXES or path.name.upper().startswith(("POSCAR", "CONTCAR"))
    return "poscar" if is_poscar else None


def stem_of_name(name: str) -> str:
    r"""Return what names a crystal of a file: its path without the suffixes of known formats, in UTF-8.

    Bytes of a name that are no UTF-8 are written as \xhh.
    """
    path = PurePosixPath(name)
    while path.suffix.lower() in (*PACKED, *POSCAR_SUFFIXES, *SUFFIXES):
        path = path.with_suffix("")
    return readable(str(path))


SUFFIXES = (".cif", ".csv", ".parquet", ".xyz", ".extxyz", ".db", ".json", ".jsonl", ".ndjson", ".zip")
