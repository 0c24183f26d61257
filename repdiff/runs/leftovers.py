"""Half-written files: how they are named, so that those of processes that were killed can be told and removed."""

import hashlib
import os
import platform
import re
import shutil
import sys
import time
from functools import cache
from pathlib import Path

OURS = re.compile(r"\.repdiff-([0-9a-f]{6})-(\d+)-.+")
FORMER = re.compile(
    r"\.\d+-.+\.(?:json|jsonl|yaml|parquet|safetensors|extxyz|zip|gz|csv|txt|html)|\.step-\d{10}\.\d+\.tmp"
)  # names that versions up to 0.1 gave
OLD = 24 * 3600.0  # seconds after which nobody is still writing


def partial_path(path: Path) -> Path:
    """Return the path beside another under which this process writes it; the suffix is the same."""
    return path.with_name(f".repdiff-{_host()}-{os.getpid()}-{path.name}")


def is_partial(path: Path) -> bool:
    """Tell by its name whether a file or folder is half-written, by this or by another process."""
    return bool(OURS.fullmatch(path.name) or FORMER.fullmatch(path.name))


def remove_leftovers(folder: Path, *, alone: bool = False) -> None:
    """Remove what processes that are gone have left half-written.

    A process of another machine, which may share the disk, counts as gone when its file is a day old.

    Args:
        folder: May be absent; folders in it are looked at only if `alone`.
        alone: Whether no other process writes here, because this one holds the lock: all is removed then.
    """
    for path in list(folder.rglob(".*") if alone else folder.glob(".*")):
        if not is_partial(path) or not (alone or _is_left(path)):
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    """Tell whether nobody writes a file any more, by its process if that was of this machine, else by its age."""
    try:
        is_old = time.time() - path.stat().st_mtime > OLD
    except OSError:  # its process has finished it meanwhile
        return False
    named = OURS.fullmatch(path.name)
    if is_old or named is None or named[1] != _host() or sys.platform == "win32":
        return is_old
    try:
        os.kill(int(named[2]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:  # of another user
        pass
    return False


@cache
def _host() -> str:
    """Return a mark of this machine, or of this container, whose processes have numbers of their own."""
    try:
        processes = str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        processes = ""
    return hashlib.sha256(f"{platform.node()} {processes}".encode()).hexdigest()[:6]
