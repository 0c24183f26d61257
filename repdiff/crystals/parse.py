"""One text (CIF, POSCAR, pymatgen JSON) to arrays; no torch here, so that worker processes start fast."""

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from repdiff.crystals.arrays import Arrays, isotope_notes, numbers_of_sites
from repdiff.crystals.poscar import checked_poscar
from repdiff.execution.jobs import map_jobs, workers_to_use
from repdiff.hardware import n_cores

if TYPE_CHECKING:
    from pymatgen.core import Structure

FORMATS = ("cif", "poscar", "json")
CHUNK = 100  # texts handed to a worker at once
WORTH_PROCESSES = 5000  # below it, starting the workers takes longer than they save
REASON_LENGTH = 200


def arrays_of(structure: "Structure") -> Arrays:
    """Take the arrays out of a pymatgen structure.

    Raises:
        ValueError: If a site is partially occupied, shared by several species, or holds no chemical element.
    """
    sites = [
        {"species": [{"element": _symbol(kind), "occu": share} for kind, share in site.species.items()]}
        for site in structure
    ]
    return Arrays(
        atomic_numbers=numbers_of_sites(sites),
        notes=isotope_notes(sites),
        lattice=np.array(structure.lattice.matrix, dtype=np.float64),
        frac_coords=np.array(structure.frac_coords, dtype=np.float64).reshape(-1, 3),
    )


def arrays_of_json(document: Mapping[str, Any]) -> Arrays:
    """Read the dictionary that pymatgen's `Structure.as_dict` makes, without importing what it names.

    Raises:
        ValueError: If it is no such dictionary, or the structure is one that `arrays_of` refuses.
    """
    try:
        periodic = document["lattice"].get("pbc", (True, True, True))
        if not all(periodic):
            raise ValueError(f"pbc is {list(periodic)}, expected all three true")
        lattice = np.array(document["lattice"]["matrix"], dtype=np.float64).reshape(3, 3)
        coords = np.array([site["abc"] for site in document["sites"]], dtype=np.float64).reshape(-1, 3)
        return Arrays(
            atomic_numbers=numbers_of_sites(document["sites"]),
            notes=isotope_notes(document["sites"]),
            lattice=lattice,
            frac_coords=coords,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"not a pymatgen structure: {type(error).__name__} {error}") from error


def parse_text(text: str, form: str | None = None) -> list[Arrays | str]:
    """Read one text; a CIF of several blocks gives several crystals.

    Args:
        text: CIF, POSCAR, or the JSON (or Python literal) of a pymatgen structure.
        form: One of `FORMATS`; recognised by the text when None.

    Returns:
        One entry per crystal: its arrays, or the reason why it cannot be read. At least one entry.
    """
    if not text or not text.strip():
        return ["no structure: the text is empty"]
    form = form or recognise(text)
    if form == "cif":
        return _attempt_cif(text)
    return [_attempt(text, form)]


def recognise(text: str) -> str:
    """Name the format of a text, one of `FORMATS`.

    Example:
        >>> recognise("data_x _cell_length_a 4 _cell_length_b 4")
        'cif'
    """
    if text.lstrip().startswith("{"):
        return "json"
    lowered = text.lower()
    return "cif" if any(mark in lowered for mark in ("_cell", "_atom_site", "data_")) else "poscar"


def parse_texts(
    texts: Sequence[tuple[str, str | None]], *, progress: bool = True, processes: int | None = None
) -> list[list[Arrays | str]]:
    """Read many texts, over all cores when there are more than 5000; results come in the order of the texts.

    Args:
        texts: Pairs of a text and its format, as in `parse_text`.
        progress: Show a bar on stderr.
        processes: Number of worker processes; None takes one per core, 1 stays in this process.
    """
    alone = processes == 1 or (processes is None and len(texts) < WORTH_PROCESSES)
    return map_jobs(
        _parse_one,
        texts,
        n_workers=1 if alone else workers_to_use(processes, n_cores()),
        progress=progress and len(texts) >= 200,
        label="read structures",
        unit="",
        largest_chunk=CHUNK,
        instead=_unread,
    )


def _parse_one(text: tuple[str, str | None]) -> list[Arrays | str]:
    return parse_text(*text)


def _unread(_text: tuple[str, str | None], reason: str) -> list[Arrays | str]:
    return [reason]


def _attempt_cif(text: str) -> list[Arrays | str]:
    from repdiff.crystals.cif import read_cif

    try:
        return [_one_line(result) if isinstance(result, str) else result for result in read_cif(text)]
    except Exception as error:  # a file that nobody thought of must not end a job
        return [_reason("cif", error)]


def _attempt(text: str, form: str) -> Arrays | str:
    """Read one structure; whatever the reader raises becomes the reason, for a bad row must not end a job."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if form == "json":
                return arrays_of_json(_load_document(text))
            from pymatgen.io.vasp import Poscar

            return arrays_of(Poscar.from_str(checked_poscar(text)).structure)
        except Exception as error:
            return _reason(form, error)


def _load_document(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = _literal(text.strip())
    if not isinstance(document, Mapping):
        raise ValueError(f"found {type(document).__name__}, expected the dictionary of a structure")
    return document


def _literal(text: str) -> object:
    """Read a dictionary that a table writer turned into text.

    Raises:
        ValueError: If it is none.
    """
    try:
        return ast.literal_eval(text)
    except (MemoryError, RecursionError) as error:  # which is how Python's parser says it
        raise ValueError("nested too deep, expected the dictionary of a structure") from error


def _symbol(kind: object) -> str:
    return str(getattr(kind, "symbol", kind))


def _reason(form: str, error: Exception) -> str:
    """Say in one line why a text is refused."""
    cause = str(error)
    if cause == "Singular matrix":
        return "the cell has no volume"
    known = ("partial occupancy", "unknown element", "pbc is", "no line of element symbols")
    prefix = "" if cause.startswith(known) else f"cannot be read as {form.upper()}: "
    if not isinstance(error, ValueError):
        cause = f"{type(error).__name__} {cause}"
    return _one_line(f"{prefix}{cause}")


def _one_line(text: str) -> str:
    return " ".join(text.split())[:REASON_LENGTH]
