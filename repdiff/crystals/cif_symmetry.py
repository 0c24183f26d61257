"""The symmetry operations that a CIF states, and the atoms that they make of its sites."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import gemmi
import numpy as np
from gemmi.cif import Block
from jaxtyping import Float

from repdiff.crystals.cif_tags import text_of, values_of

OPERATIONS = ("_space_group_symop_operation_xyz", "_symmetry_equiv_pos_as_xyz")
HALL = ("_space_group_name_Hall", "_symmetry_space_group_name_Hall")
SYMBOL = ("_space_group_name_H-M_alt", "_symmetry_space_group_name_H-M", "_space_group_name_H-M_full")
NUMBER = ("_space_group_IT_number", "_symmetry_Int_Tables_number")
SETTING = ("_space_group_IT_coordinate_system_code",)
ORIGINS = {"S": "1", "Z": "2", "1": "1", "2": "2"}  # ICSD writes S and Z for origin choices 1 and 2
N_SETTINGS = 530  # of the tables
SAME_SITE = 0.05  # Å; images closer than this are one atom on a special position, written with few digits
METRIC_TOLERANCE = 0.02  # relative, of the metric tensor under the rotations


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Symmetry operations of a cell, centring included.

    Attributes:
        rotations: Integer matrices that act on columns of fractional coordinates.
        translations: Fractions of the cell.
        origin: What chose them, in words: "listed", "Hall symbol", a Hermann-Mauguin symbol, "none stated".
    """

    rotations: Float[np.ndarray, "n_operations 3 3"]
    translations: Float[np.ndarray, "n_operations 3"]
    origin: str

    def __len__(self) -> int:
        """Return the order of the group in this cell."""
        return len(self.rotations)


IDENTITY = Operations(rotations=np.eye(3)[None], translations=np.zeros((1, 3)), origin="none stated")


def stated_operations(block: Block, lattice: Float[np.ndarray, "3 3"]) -> list[Operations]:
    """Return the operations that a block states: one set, or two where the symbol leaves the origin open.

    The list of operations comes first, then the Hall symbol, then the Hermann-Mauguin symbol in its setting.
    A number alone means the standard symbol of that number. Nothing stated means P 1.

    Raises:
        ValueError: If the symbol is unknown, contradicts the number, or does not go with the cell.
    """
    if listed := _listed(block):
        return [listed]
    if hall := text_of(block, HALL):
        return [_fitting([_of_hall(hall)], lattice, f"Hall symbol {hall}")[0]]
    groups = stated_groups(block)
    if groups is None:
        return [IDENTITY]
    name = text_of(block, SYMBOL) or f"number {text_of(block, NUMBER)}"
    fitting = _fitting([_of_group(group) for group in groups], lattice, name)
    by_origin = {group.ext: sets for group, sets in zip(groups, map(_of_group, groups), strict=True)}
    both = [
        sets for ext, sets in by_origin.items() if ext in ("1", "2") and any(sets is one for one in fitting)
    ]
    return both if len(both) > 1 else fitting[:1]


def stated_groups(block: Block) -> list[gemmi.SpaceGroup] | None:
    """Return the settings that the block's symbol and number allow, likeliest first; None if it has neither.

    Raises:
        ValueError: If the symbol is unknown, or belongs to another number than the file states.
    """
    symbol, number = text_of(block, SYMBOL), _number(block)
    if not symbol:
        if number is None:
            return None
        return _groups_of(gemmi.find_spacegroup_by_number(number).hm)
    name, setting = _split_setting(symbol)
    setting = setting or ORIGINS.get(text_of(block, SETTING) or "", "")
    groups = _groups_of(name)
    if setting:
        groups = [group for group in groups if group.ext == setting] or groups
    if not groups:
        raise ValueError(f"the space group symbol {symbol!r} is unknown, and no operations are listed")
    if number is not None and groups[0].number != number:
        raise ValueError(
            f"the symbol {symbol!r} is of space group {groups[0].number}, the file states number {number}"
        )
    return groups


def operations_of_group(group: gemmi.SpaceGroup) -> Operations:
    """Return the operations of a setting of a space group."""
    return _of_group(group)


def expand(
    site: Float[np.ndarray, " 3"], operations: Operations, lattice: Float[np.ndarray, "3 3"]
) -> Float[np.ndarray, "n_images 3"]:
    """Return all atoms that the operations make of one site, wrapped into the cell.

    A site within 0.05 Å of a special position is moved onto it, so that 0.3333 is a third.

    Raises:
        ValueError: If the operations are no group, which leaves images that do not pair up.
    """
    shifts = operations.rotations @ site + operations.translations - site
    shifts -= np.round(shifts)
    fixed = np.linalg.norm(shifts @ lattice, axis=1) < SAME_SITE
    if not fixed.any():
        raise ValueError("the listed symmetry operations lack the identity")
    site = site + shifts[fixed].mean(0)
    images = operations.rotations @ site + operations.translations
    images -= np.floor(images + 1e-9)
    distinct = images if fixed.sum() == 1 else images[_first_of_each(images, lattice)]
    if len(distinct) * int(fixed.sum()) != len(operations):
        raise ValueError("the listed symmetry operations are not those of a group")
    return distinct


def is_invariant(
    numbers: np.ndarray, frac_coords: np.ndarray, lattice: np.ndarray, operations: Operations
) -> bool:
    """Tell whether every operation maps every atom onto one of the same element."""
    for rotation, translation in zip(operations.rotations, operations.translations, strict=True):
        images = frac_coords @ rotation.T + translation
        gaps = images[:, None] - frac_coords[None]
        near = np.linalg.norm((gaps - np.round(gaps)) @ lattice, axis=-1) < 2 * SAME_SITE
        if not (near & (numbers[:, None] == numbers[None])).any(1).all():
            return False
    return True


def same_but_for_origin(one: Operations, other: Operations) -> bool:
    """Tell whether a shift of the origin, in 24ths of the cell, makes some operations those of another set."""
    if sorted(map(_key, one.rotations)) != sorted(map(_key, other.rotations)):
        return False
    shifts = np.stack(np.meshgrid(*[np.arange(24) / 24] * 3, indexing="ij"), -1).reshape(-1, 3)
    known: dict[bytes, list[np.ndarray]] = {}
    for rotation, translation in zip(other.rotations, other.translations, strict=True):
        known.setdefault(_key(rotation), []).append(translation)
    for rotation, translation in zip(one.rotations, one.translations, strict=True):
        moved = translation + shifts @ (rotation - np.eye(3)).T
        gaps = moved[:, None] - np.array(known[_key(rotation)])
        shifts = shifts[(np.abs(gaps - np.round(gaps)) < 1e-3).all(2).any(1)]
    return len(shifts) > 0


def _key(rotation: Float[np.ndarray, "3 3"]) -> bytes:
    return np.rint(rotation).astype(np.int8).tobytes()


def _first_of_each(images: np.ndarray, lattice: np.ndarray) -> list[int]:
    kept: list[int] = []
    for number, image in enumerate(images):
        gaps = images[kept] - image
        if not kept or np.linalg.norm((gaps - np.round(gaps)) @ lattice, axis=1).min() >= SAME_SITE:
            kept.append(number)
    return kept


def _listed(block: Block) -> Operations | None:
    texts = values_of(block, OPERATIONS)
    if not texts:
        return None
    return _of_texts(tuple(texts))


@cache
def _of_texts(texts: tuple[str, ...]) -> Operations:
    try:
        return _of_operations([gemmi.Op(text) for text in texts], "listed")
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"a symmetry operation cannot be read: {error}") from error


@cache
def _of_hall(symbol: str) -> Operations:
    try:
        return _of_operations(list(gemmi.symops_from_hall(symbol)), f"Hall symbol {symbol}")
    except (ValueError, RuntimeError) as error:
        raise ValueError(f"the Hall symbol {symbol!r} cannot be read: {error}") from error


def _of_group(group: gemmi.SpaceGroup) -> Operations:
    return _of_setting(group.hall, group.xhm())


@cache
def _of_setting(hall: str, name: str) -> Operations:
    return _of_operations(list(gemmi.symops_from_hall(hall)), name)


def _of_operations(found: Sequence[gemmi.Op], origin: str) -> Operations:
    scale = gemmi.Op.DEN
    return Operations(
        rotations=np.array([op.rot for op in found], dtype=np.float64) / scale,
        translations=np.array([op.tran for op in found], dtype=np.float64) / scale,
        origin=origin,
    )


def _fitting(sets: Sequence[Operations], lattice: np.ndarray, name: str) -> list[Operations]:
    """Keep the sets whose rotations leave the cell as it is."""
    metric = lattice @ lattice.T
    scale = np.sqrt(np.outer(np.diag(metric), np.diag(metric)))
    found = []
    for one in sets:
        turned = np.swapaxes(one.rotations, 1, 2) @ metric @ one.rotations
        if (np.abs(turned - metric) <= METRIC_TOLERANCE * scale).all():
            found.append(one)
    if not found:
        raise ValueError(f"the cell does not have the symmetry of the space group: {name}")
    return found


def _number(block: Block) -> int | None:
    text = text_of(block, NUMBER)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= 230:
        raise ValueError(f"the space group number is {text}, expected 1 to 230")
    return number


def _split_setting(symbol: str) -> tuple[str, str]:
    """Take the setting off a symbol: 'F d -3 m :2', 'F d -3 m Z', 'R -3 m H'; "" if it names none."""
    name, _, setting = symbol.replace("_", "").partition(":")
    if setting.strip():
        setting = setting.strip().upper()
        return name.strip(), ORIGINS.get(setting, setting)
    name = name.strip()
    if name[-1:] in ("S", "Z"):
        return name[:-1].strip(), ORIGINS[name[-1]]
    if name[-1:] in ("H", "R") and len(name) > 1:
        return name[:-1].strip(), name[-1]
    return name, ""


def _groups_of(name: str) -> list[gemmi.SpaceGroup]:
    """Return all settings that go by a symbol, those with the unique axis b and hexagonal axes first."""
    return list(_settings().get(_plain(name)) or _of_old_spelling(name))


def _of_old_spelling(name: str) -> list[gemmi.SpaceGroup]:
    """Find what the tables call otherwise today: F m 3 m; or called before: C m c e, C m c a."""
    group = gemmi.find_spacegroup_by_name(name)
    return [] if group is None else [one for one in _table() if one.hm == group.hm]


@cache
def _settings() -> dict[str, list[gemmi.SpaceGroup]]:
    """Index the settings by short, extended and full Hermann-Mauguin symbol."""
    from moyopy import HallSymbolEntry

    index: dict[str, list[gemmi.SpaceGroup]] = {}
    for group in _table():
        names = {_plain(group.hm), _plain(group.short_name())}
        if 3 <= group.number <= 15:  # P 21/n for any unique axis
            names.add(_plain("".join(part for part in group.hm.split() if part != "1")))
        for name in names:
            index.setdefault(name, []).append(group)
    for hall_number in range(1, N_SETTINGS + 1):
        entry = HallSymbolEntry(hall_number)
        short = index.get(_plain(entry.hm_short)) or _of_old_spelling(entry.hm_short)
        index.setdefault(_plain(entry.hm_full), [one for one in short if one.number == entry.number])
    return {name: sorted(groups, key=_likelihood) for name, groups in index.items()}


def _likelihood(group: gemmi.SpaceGroup) -> tuple[bool, bool]:
    return (3 <= group.number <= 15 and group.hm.split()[1] != "1", group.ext == "R")


@cache
def _table() -> list[gemmi.SpaceGroup]:
    return list(gemmi.spacegroup_table())


def _plain(symbol: str) -> str:
    return "".join(symbol.split()).replace("_", "").lower()
