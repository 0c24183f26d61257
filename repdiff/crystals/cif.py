"""CIF to arrays: the syntax by gemmi, the meaning as the file states it, and a refusal where it does not hold.

Symmetry is applied as in `cif_symmetry`; what was read is compared with what the file states in `cif_checks`.
"""

import math
import re
from dataclasses import dataclass

import gemmi
import numpy as np
from gemmi.cif import Block
from jaxtyping import Float, Int

from repdiff.crystals.arrays import HYDROGEN_ISOTOPES, ISOTOPE_NOTE, Arrays, number_of
from repdiff.crystals.cif_checks import check_stated, stated_elements
from repdiff.crystals.cif_symmetry import Operations, expand, stated_operations
from repdiff.crystals.cif_tags import number_of_tag, values_of
from repdiff.settings.limits import MAX_ATOMS, MAX_IMAGES

AXES = ("x", "y", "z")
DUMMY_NOTE = "dummy atoms (calc_flag dum) left out"
EMPTY_NOTE = "sites of occupancy 0 left out"
BLOCK_START = re.compile(r"^\s*data_", re.IGNORECASE)
CHARGED = re.compile(r"([A-Za-z]{1,2})(?:[0-9.]*[+-]?[0-9]*)$")  # Fe3+, O2-, Na+1, Cl
LETTERS = re.compile(r"[A-Za-z]+")
FULL = 1e-6  # how far from 1 an occupancy may be


@dataclass(frozen=True, kw_only=True)
class Sites:
    """The sites that a block lists, before symmetry: elements, fractional coordinates, what was left out."""

    numbers: Int[np.ndarray, " n_sites"]
    frac_coords: Float[np.ndarray, "n_sites 3"]
    multiplicities: tuple[int | None, ...]
    notes: tuple[str, ...]


def read_cif(text: str) -> list[Arrays | str]:
    """Read every block of a CIF that has atoms.

    Returns:
        One entry per such block: its arrays, or the reason why it is refused. Blocks without atoms are no
        crystals; if there is no other block, the one entry says so.
    """
    text = text.removeprefix("\ufeff")
    try:
        document = gemmi.cif.read_string(text, 0)
    except (ValueError, RuntimeError) as error:
        parts = split_blocks(text)
        if len(parts) > 1:
            return [result for part in parts for result in read_cif(part)]
        return [f"cannot be read as CIF: {_syntax(error)}"]
    blocks = [block for block in document if _has_atoms(block)]
    if not blocks:
        return [
            "cannot be read as CIF: it lists no atoms" if len(document) else "cannot be read as CIF: no block"
        ]
    return [_attempt(block) for block in blocks]


def split_blocks(text: str) -> list[str]:
    """Cut a CIF before its lines `data_...`, those inside of text fields excepted."""
    parts: list[list[str]] = [[]]
    in_field = False
    for line in text.splitlines(keepends=True):
        if line.startswith(";"):
            in_field = not in_field
        if not in_field and BLOCK_START.match(line):
            parts.append([])
        parts[-1].append(line)
    return [joined for part in parts if (joined := "".join(part)).strip()]


def read_block(block: Block) -> Arrays:
    """Read one block.

    Raises:
        ValueError: If something is missing, contradicts what the file states, or is disordered.
    """
    lattice = _lattice(block)
    sites = _sites(block, lattice)
    choices = stated_operations(block, lattice)
    n_sites, n_operations = len(sites.numbers), max(map(len, choices))
    if n_sites * n_operations > MAX_IMAGES:
        raise ValueError(
            f"{n_sites} sites under {n_operations} operations, expected at most {MAX_IMAGES} images of them"
        )
    troubles: list[str] = []
    sound: list[Arrays] = []
    for operations in choices:
        try:
            arrays = _expanded(sites, operations, lattice)
            check_stated(block, arrays, operations)
            sound.append(arrays)
        except ValueError as error:
            troubles.append(str(error))
    if not sound:
        raise ValueError(troubles[0])
    if len(sound) > 1 and not _same(*sound):
        raise ValueError(
            f"the space group symbol {choices[0].origin.partition(':')[0]!r} has two origins and the file does "
            "not say which: list the operations, or write :1 or :2 behind the symbol"
        )
    return sound[0]


def _attempt(block: Block) -> Arrays | str:
    try:
        return read_block(block)
    except ValueError as error:
        return str(error)


def _has_atoms(block: Block) -> bool:
    tags = ("_atom_site_label", "_atom_site_type_symbol", "_atom_site_fract_x", "_atom_site_Cartn_x")
    return any(values_of(block, (tag,)) for tag in tags)


def _lattice(block: Block) -> Float[np.ndarray, "3 3"]:
    """Return the cell vectors as rows, c along z and a in the plane of x and z, as pymatgen lays them."""
    from pymatgen.core import Lattice

    names = [f"length_{axis}" for axis in "abc"] + [f"angle_{angle}" for angle in ("alpha", "beta", "gamma")]
    values = []
    for name in names:
        value = number_of_tag(block, (f"_cell_{name}",))
        if value is None or not math.isfinite(value):
            raise ValueError(f"cannot be read as CIF: the cell has no _cell_{name}")
        values.append(value)
    if min(values[:3]) <= 0:
        raise ValueError("the cell has no volume")
    a, b, c, *angles = values
    cosines = np.cos(np.radians(angles))
    if not all(0 < angle < 180 for angle in angles) or 1 + 2 * cosines.prod() - (cosines**2).sum() <= 1e-12:
        raise ValueError("the cell has no volume")
    return np.array(Lattice.from_parameters(a, b, c, *angles).matrix, dtype=np.float64)


def _sites(block: Block, lattice: Float[np.ndarray, "3 3"]) -> Sites:
    labels = values_of(block, ("_atom_site_label",))
    kinds = values_of(block, ("_atom_site_type_symbol",))
    coords = _coordinates(block, lattice)
    n_sites = len(coords)
    if n_sites > MAX_ATOMS:
        raise ValueError(f"{n_sites} sites, expected at most {MAX_ATOMS} atoms")
    labels = labels or kinds
    if len(labels) != n_sites:
        raise ValueError(f"cannot be read as CIF: {len(labels)} labels for {n_sites} coordinates")
    occupancies = _column(block, "_atom_site_occupancy", n_sites, 1.0)
    flags = values_of(block, ("_atom_site_calc_flag",)) or [""] * n_sites
    hydrogens = _column(block, "_atom_site_attached_hydrogens", n_sites, 0.0)
    stated = stated_elements(block)
    multiplicity = values_of(
        block, ("_atom_site_symmetry_multiplicity", "_atom_site_site_symmetry_multiplicity")
    )
    numbers, kept, notes = [], [], []
    for row, label in enumerate(labels):
        if flags[row].lower() in ("dum", "dummy"):
            notes.append(DUMMY_NOTE)
            continue
        if occupancies[row] == 0:
            notes.append(EMPTY_NOTE)
            continue
        kind = kinds[row] if kinds and kinds[row] not in ("", "?", ".") else None
        symbol = symbol_of(label, kind, stated)
        number = number_of(symbol)
        if symbol in HYDROGEN_ISOTOPES:
            notes.append(ISOTOPE_NOTE)
        if abs(occupancies[row] - 1) > FULL:
            raise ValueError(f"partial occupancy: a site holds {symbol} {occupancies[row]:g}")
        if hydrogens[row] > 0:
            raise ValueError(f"hydrogens without positions: {hydrogens[row]:g} are attached to {label}")
        if not np.isfinite(coords[row]).all():
            raise ValueError(f"cannot be read as CIF: the site {label} has a coordinate that is no number")
        numbers.append(number)
        kept.append(row)
    if not kept:
        raise ValueError("cannot be read as CIF: it lists no atoms")
    return Sites(
        numbers=np.array(numbers, dtype=np.int64),
        frac_coords=coords[kept],
        multiplicities=tuple(
            int(multiplicity[row]) if multiplicity and multiplicity[row].isdigit() else None for row in kept
        ),
        notes=tuple(dict.fromkeys(notes)),
    )


def symbol_of(label: str, kind: str | None, stated: frozenset[str] | None = None) -> str:
    """Name the element of a site by its type symbol, else by the letters that its label begins with.

    Letters that are no element are refused rather than cut: OH1 is not an oxygen. Where the file states a
    formula, two capitals (CO1) mean the reading that the formula has.

    Raises:
        ValueError: If no element is named.
    """
    if kind is not None:
        match = CHARGED.match(kind)
        if match is None:
            raise ValueError(f"unknown element: {kind}")
        return match[1].capitalize()
    match = LETTERS.match(label)
    letters = match[0] if match else ""
    readings = [letters[:2].capitalize()] if len(letters) == 2 else [letters] if len(letters) == 1 else []
    if stated is not None:
        whole = [letters[:2].capitalize(), letters[:1].upper()]
        readings = [symbol for symbol in dict.fromkeys(whole) if symbol in stated]
    for symbol in readings:
        if _is_element(symbol):
            return symbol
    raise ValueError(f"unknown element: {letters or label} (the label {label}, without a type symbol)")


def _is_element(symbol: str) -> bool:
    try:
        return bool(number_of(symbol))
    except ValueError:
        return False


def _coordinates(block: Block, lattice: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "n_sites 3"]:
    """Return fractional coordinates, NaN where one is no number.

    Raises:
        ValueError: If there are none, or Cartesian ones in a cell whose axes they do not name.
    """
    for style in ("fract", "Cartn"):
        columns = [values_of(block, (f"_atom_site_{style}_{axis}",)) for axis in AXES]
        if all(columns):
            break
    else:
        raise ValueError("cannot be read as CIF: the sites have no coordinates")
    if len({len(column) for column in columns}) > 1:
        raise ValueError("cannot be read as CIF: coordinates without partners")
    coords = np.array([[gemmi.cif.as_number(text) for text in column] for column in columns]).T
    if style == "fract":
        return coords
    if np.abs(lattice @ lattice.T - np.diag(np.diag(lattice @ lattice.T))).max() > 1e-6:
        raise ValueError("Cartesian coordinates in a cell that is not rectangular: their axes are not named")
    return coords / np.linalg.norm(lattice, axis=1)


def _column(block: Block, name: str, n_sites: int, default: float) -> list[float]:
    texts = values_of(block, (name,))
    if len(texts) != n_sites:
        return [default] * n_sites
    values = [gemmi.cif.as_number(text) for text in texts]
    return [default if math.isnan(value) else value for value in values]


def _expanded(sites: Sites, operations: Operations, lattice: Float[np.ndarray, "3 3"]) -> Arrays:
    """Apply the operations to every site, and hold the numbers of images against the stated multiplicities.

    Some programs write the order of the site symmetry as multiplicity; it is taken as well.
    """
    if len(operations) == 1 and (operations.rotations[0] == np.eye(3)).all():
        images = [(site - np.floor(site))[None] for site in sites.frac_coords]
    else:
        images = [expand(site, operations, lattice) for site in sites.frac_coords]
        for found, stated in zip(images, sites.multiplicities, strict=True):
            if stated is not None and stated not in (len(found), len(operations) // len(found)):
                raise ValueError(
                    f"the file states a multiplicity of {stated} for a site of which the symmetry makes {len(found)}"
                )
    counts = [len(found) for found in images]
    places = np.round(np.concatenate(images), 4) % 1
    if len(np.unique(places, axis=0)) < len(places):
        raise ValueError("overlapping atoms: two sites are on one position")
    return Arrays(
        atomic_numbers=np.repeat(sites.numbers, counts),
        lattice=lattice,
        frac_coords=np.concatenate(images),
        notes=sites.notes,
    )


def _same(first: Arrays, second: Arrays) -> bool:
    if len(first.atomic_numbers) != len(second.atomic_numbers):
        return False
    gaps = first.frac_coords[:, None] - second.frac_coords[None]
    near = np.linalg.norm((gaps - np.round(gaps)) @ first.lattice, axis=-1) < 0.01
    return bool((near & (first.atomic_numbers[:, None] == second.atomic_numbers[None])).any(1).all())


def _syntax(error: Exception) -> str:
    """Shorten the message of the parser to the line and what was expected there."""
    return str(error).removeprefix("string:").split("\n")[0]
