"""One text (CIF, POSCAR, pymatgen JSON) to arrays; no torch here, so that worker processes start fast."""

import ast
import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Int

from repdiff.execution.jobs import map_jobs
from repdiff.hardware import n_cores

if TYPE_CHECKING:
    from pymatgen.core import Structure

MAX_ATOMIC_NUMBER = 118
FORMATS = ("cif", "poscar", "json")
CHUNK = 100  # texts handed to a worker at once
WORTH_PROCESSES = 5000  # below it, starting the workers takes longer than they save
REASON_LENGTH = 200


@dataclass(frozen=True, kw_only=True)
class Arrays:
    """One crystal without a name: atomic numbers, cell vectors as rows (Å), fractional coordinates."""

    atomic_numbers: Int[np.ndarray, " n_atoms"]
    lattice: Float[np.ndarray, "3 3"]
    frac_coords: Float[np.ndarray, "n_atoms 3"]


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
        atomic_numbers=_numbers(sites),
        lattice=np.array(structure.lattice.matrix, dtype=np.float64),
        frac_coords=np.array(structure.frac_coords, dtype=np.float64).reshape(-1, 3),
    )


def arrays_of_json(document: Mapping[str, Any]) -> Arrays:
    """Read the dictionary that pymatgen's `Structure.as_dict` makes, without importing what it names.

    Raises:
        ValueError: If it is no such dictionary, or the structure is one that `arrays_of` refuses.
    """
    try:
        lattice = np.array(document["lattice"]["matrix"], dtype=np.float64).reshape(3, 3)
        coords = np.array([site["abc"] for site in document["sites"]], dtype=np.float64).reshape(-1, 3)
        return Arrays(
            atomic_numbers=_numbers(document["sites"]),
            lattice=lattice,
            frac_coords=coords,
        )
    except (KeyError, TypeError) as error:
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
    blocks = _cif_blocks(text) if form == "cif" else [text]
    return [_attempt(block, form) for block in blocks]


def recognise(text: str) -> str:
    """Name the format of a text, one of `FORMATS`."""
    if text.lstrip().startswith("{"):
        return "json"
    return "cif" if "_cell_length_a" in text or "_atom_site" in text or "data_" in text else "poscar"


def parse_texts(
    texts: Sequence[tuple[str, str | None]], *, progress: bool = True, processes: int | None = None
) -> list[list[Arrays | str]]:
    """Read many texts, over all cores when there are more than 5000; results come in the order of the texts.

    Args:
        texts: Pairs of a text and its format, as in `parse_text`.
        progress: Show a bar on stderr.
        processes: Number of worker processes; None takes one per core, 1 stays in this process.
    """
    alone = processes is None and len(texts) < WORTH_PROCESSES
    return map_jobs(
        _parse_one,
        texts,
        n_workers=1 if alone else processes or n_cores(),
        progress=progress and len(texts) >= 200,
        label="read structures",
        unit="",
        largest_chunk=CHUNK,
    )


def _parse_one(text: tuple[str, str | None]) -> list[Arrays | str]:
    return parse_text(*text)


def _attempt(text: str, form: str) -> Arrays | str:
    """Read one structure; whatever the reader raises becomes the reason, for a bad row must not end a job."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if form == "json":
                return arrays_of_json(_load_document(text))
            if form == "poscar":
                from pymatgen.io.vasp import Poscar

                return arrays_of(Poscar.from_str(text).structure)
            return _parse_cif(text, caught)
        except Exception as error:
            return _reason(form, error, caught)


def _parse_cif(text: str, caught: list[warnings.WarningMessage]) -> Arrays:
    from pymatgen.io.cif import CifParser

    structure = CifParser.from_str(text).parse_structures(primitive=False)[0]
    arrays = arrays_of(structure)
    for warning in caught:
        first = str(warning.message).split("\n")[0]
        if first.startswith("Incorrect stoichiometry") or first.endswith("from PMG structure composition"):
            raise ValueError(
                f"the atoms make {structure.composition.formula}, which is not the formula the file states"
            )
    return arrays


def _cif_blocks(text: str) -> list[str]:
    """Cut a CIF into its data blocks, leaving out blocks without atoms unless there is no other."""
    if text.count("data_") < 2:
        return [text]
    blocks: list[list[str]] = [[]]
    for line in text.splitlines(keepends=True):
        if line.lower().startswith("data_"):
            blocks.append([])
        blocks[-1].append(line)
    with_atoms = ["".join(block) for block in blocks if any("_atom_site_" in line for line in block)]
    return with_atoms or [text]


def _load_document(text: str) -> Mapping[str, Any]:
    try:
        document = json.loads(text)
    except json.JSONDecodeError:
        document = ast.literal_eval(text.strip())  # a dictionary that a table writer turned into text
    if not isinstance(document, Mapping):
        raise ValueError(f"found {type(document).__name__}, expected the dictionary of a structure")
    return document


def _symbol(kind: object) -> str:
    return str(getattr(kind, "symbol", kind))


def _numbers(sites: Sequence[Mapping[str, Any]]) -> Int[np.ndarray, " n_atoms"]:
    from ase.data import atomic_numbers

    numbers = []
    for site in sites:
        species = site["species"]
        if len(species) != 1 or float(species[0].get("occu", 1)) != 1:
            shares = ", ".join(f"{kind['element']} {float(kind.get('occu', 1)):g}" for kind in species)
            raise ValueError(f"partial occupancy: a site holds {shares or 'nothing'}")
        symbol = {"D": "H", "T": "H"}.get(species[0]["element"], species[0]["element"])
        if not 1 <= atomic_numbers.get(symbol, 0) <= MAX_ATOMIC_NUMBER:
            raise ValueError(f"unknown element: {species[0]['element']}")
        numbers.append(atomic_numbers[symbol])
    return np.array(numbers, dtype=np.int64)


def _reason(form: str, error: Exception, caught: list[warnings.WarningMessage]) -> str:
    """Say in one line why a text is refused, by the parser's warning where that says more than its error."""
    cause = str(error)
    for warning in caught:
        lines = str(warning.message).split("\n")
        if lines[0].startswith("No structure parsed for section"):
            cause = " ".join(lines[1:])
    if "exceeded tolerance" in cause:
        return "overlapping atoms: occupancies on one position sum to more than 1"
    if cause == "Singular matrix":
        return "the cell has no volume"
    known = ("partial occupancy", "unknown element", "the atoms make")
    prefix = "" if cause.startswith(known) else f"cannot be read as {form.upper()}: "
    if not isinstance(error, ValueError):
        cause = f"{type(error).__name__} {cause}"
    return " ".join(f"{prefix}{cause}".split())[:REASON_LENGTH]
