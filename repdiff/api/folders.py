"""Folders that a notebook user names for output: what may lie there already, and what is refused."""

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Generator, Mapping, Set
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from repdiff.crystals.structure_files import CIF_ZIP, CSV, EXTXYZ, JSON_GZ, TABLE
from repdiff.errors import DamagedError, UserError
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.failures import FAILED
from repdiff.runs.leftovers import remove_leftovers
from repdiff.runs.locks import locked
from repdiff.settings.base import Settings
from repdiff.settings.leaves import leaves
from repdiff.settings.paths import home_expanded

Trained = TypeVar("Trained")

MARK, WORK_MARK = "repdiff-training.json", "repdiff-work.json"
ENCODED = "encoded"  # what stands for the data among the settings of a training
WRITTEN = frozenset({EXTXYZ, CIF_ZIP, JSON_GZ, CSV, TABLE, FAILED})
ALWAYS_WRITTEN = frozenset({TABLE, EXTXYZ})


def claim_for_training(folder: Path, what: Mapping[str, object]) -> None:
    """Write down in a folder what is trained there; one that was refused before anything was done is free again.

    Args:
        folder: Made if it does not exist; hidden files there do not count.
        what: Plain JSON values by name, all that decides the result.

    Raises:
        UserError: If the folder holds a training that differs in any of these, or other files.
        OSError: If it cannot be listed or written; `checked` puts what disks refuse into one line.
    """
    claim(folder, what, work="training", call="rd.train", mark=MARK)


def decisive(settings: Settings) -> dict[str, object]:
    """Return what shapes the result of a training, by name, as plain JSON."""
    roles = {leaf.path[0]: leaf.extra.get("role", "result") for leaf in leaves(type(settings))}
    return {
        name: value for name, value in settings.model_dump(mode="json").items() if roles[name] == "result"
    }


def train_in(
    folder: str | Path | None, what: Mapping[str, object], train: Callable[[Path], Trained]
) -> Trained:
    """Train in the folder that the user names, or in one that lasts as long as what comes out.

    Args:
        folder: Where to train; None for a folder of its own.
        what: All that decides the result, by name, as plain JSON.
        train: Trains in a folder, and reads what came out of it.

    Raises:
        UserError: If the folder holds something else.
    """
    if folder is not None:
        place = home_expanded(folder)
        if os.environ.get("RANK", "0") != "0":  # of several processes of one training the first holds it
            claim_for_training(place, what)
            return train(place)
        with claimed(place, what, work="training", call="rd.train", mark=MARK):
            return train(place)
    path = Path(tempfile.mkdtemp(prefix="repdiff-"))
    try:
        trained = train(path)
    except BaseException:
        shutil.rmtree(path, ignore_errors=True)
        raise
    weakref.finalize(trained, shutil.rmtree, path, ignore_errors=True)
    return trained


def claim(folder: Path, what: Mapping[str, object], *, work: str, call: str, mark: str = WORK_MARK) -> None:
    """Write down in a folder what is done there.

    Args:
        folder: Made if it does not exist; hidden files there do not count.
        what: Plain JSON values by name, all that decides the result.
        work: What is done, for messages.
        call: What does it, for messages.
        mark: Name of the file in which it stands.

    Raises:
        UserError: If the folder holds such a work that differs in any of these, or other files.
        OSError: If it cannot be listed or written.
    """
    _refuse_others(folder, what, work=work, call=call, mark=mark)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / mark, what)


def _refuse_others(folder: Path, what: Mapping[str, object], *, work: str, call: str, mark: str) -> None:
    held = _held(folder)
    if strange := sorted(held - {mark}):
        if mark not in held:
            raise UserError(
                f"{folder} holds {strange[0]} and no {work} of {call}, expected an empty folder: "
                "choose another `folder`"
            )
        then = read_json(folder / mark)
        if not isinstance(then, dict):
            raise DamagedError(
                f"{folder / mark}: damaged, expected what is done there", "choose another `folder`"
            )
        if differ := [name for name in sorted({*then, *what}) if then.get(name) != what.get(name)]:
            values = f"`{differ[0]}` was {then.get(differ[0])!r}, now {what.get(differ[0])!r}"
            raise UserError(
                f"{folder} holds a {work} {'on other crystals' if ENCODED in differ else f'in which {values}'}: "
                "choose another `folder`"
            )


@contextmanager
def claimed(
    folder: Path, what: Mapping[str, object], *, work: str, call: str, mark: str = WORK_MARK
) -> Generator[None, None, None]:
    """Claim a folder, and hold it against other processes; what killed ones left half-written there is removed.

    Args:
        folder: See `claim`; the others too.
        what: All that decides the result.
        work: What is done.
        call: What does it.
        mark: Name of the file in which it stands.

    Raises:
        UserError: If the folder holds another work or other files, or another process works there.
        OSError: If it cannot be listed or written.
    """
    _refuse_others(folder, what, work=work, call=call, mark=mark)  # before a lock is put there
    with locked(folder, file=folder / ".lock", other="folder"):
        remove_leftovers(folder, alone=True)
        claim(folder, what, work=work, call=call, mark=mark)
        yield


def refuse_other_files(
    folder: Path, *, written: Set[str] = WRITTEN, always: Set[str] = ALWAYS_WRITTEN
) -> None:
    """Refuse to write into a folder that holds anything but what was written there before.

    Of such a folder only that is read or replaced, so that other files there would be lost.

    Args:
        folder: Need not exist.
        written: Names of all that is ever written there.
        always: Names of what is there after any writing.

    Raises:
        UserError: If it holds other files.
        OSError: If it cannot be listed.
    """
    held = _held(folder)
    strange = sorted(held - written) or sorted(held if not always <= held else ())
    if strange:
        raise UserError(
            f"{folder} holds {strange[0]}, expected an empty folder or one of crystals written before: "
            "choose another `path`"
        )


def _held(folder: Path) -> set[str]:
    """Name what lies in a folder, but for what is hidden; nothing if there is no such folder."""
    return (
        {one.name for one in folder.iterdir() if not one.name.startswith(".")} if folder.exists() else set()
    )
