"""From what a user holds to read held parts: numbers and text as they are, and crystals out of files."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

from repdiff.conditions.held import ABOUT, FRACTION, HeldPart, check_part, read_held
from repdiff.crystals.convert import as_crystal_set
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import parse_formula
from repdiff.datasets.sources import read_set
from repdiff.errors import UserError
from repdiff.settings.conditions import HELD
from repdiff.settings.paths import home_expanded


def held_conditions(hold: Mapping[str, object]) -> dict[str, HeldPart]:
    """Read held parts as conditions.

    Args:
        hold: Values by part: a number, text such as "1/4", the path of a file with one crystal, or a
            crystal of any kind.

    Raises:
        UserError: If a part or a value is none, or a file has no crystal, or several.

    Example:
        >>> [one.text for one in held_conditions({"volume": 12.5, "composition.Li": "1/4"}).values()]
        ['12.5±0.375', '0.25±0.005']
    """
    found = {}
    for part, value in hold.items():
        check_part(part)
        name = f"{HELD}{part}"
        path = source_file(part, value)
        found[name] = read_held(
            name, _plain(part, value) if path is None else _only(part, path, read_set(path))
        )
    return found


def source_files(hold: Mapping[str, object]) -> dict[str, Path]:
    """Return the files that values are taken from, by `held_` and their part."""
    files = {f"{HELD}{part}": source_file(part, value) for part, value in hold.items()}
    return {name: path for name, path in files.items() if path is not None}


def source_file(part: str, value: object) -> Path | None:
    """Return the file that a value is taken from; None if it is no name of a file."""
    if not isinstance(value, str | Path):
        return None
    text = str(value).strip()
    if FRACTION.fullmatch(text) or ABOUT.fullmatch(text.replace(" ", "")) or text.startswith("-"):
        return None
    path = home_expanded(text)
    if part == "composition" and not path.exists() and _is_formula(text):
        return None
    if not path.exists():
        raise UserError(
            f"`hold` gives {part}={text}, which is neither a number nor a file that is there, expected a number, or a "
            "file with one crystal that has it"
        )
    return path


def _is_formula(text: str) -> bool:
    try:
        return bool(parse_formula(text))
    except UserError:
        return False


def _plain(part: str, value: object) -> object:
    """Return numbers and text as they are, and the crystal of anything else."""
    if isinstance(value, str | int | float | bool | Crystal) or value is None:
        return value
    return _only(part, None, as_crystal_set(cast("Crystal", value), what=f"hold[{part!r}]"))


def _only(part: str, path: Path | None, found: CrystalSet) -> Crystal:
    if len(found.crystals) != 1:
        where = "what is given" if path is None else str(path)
        reason = next(iter(found.failed.values()), "") if not found.crystals else ""
        raise UserError(
            f"`hold` takes {part} of {where}, which holds {len(found.crystals)} crystals"
            f"{f' ({reason})' if reason else ''}, expected one"
        )
    return found.crystals[0]
