"""One process at a time in the folder of a run, by a lock that the system takes back when its process ends."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from repdiff.errors import UserError
from repdiff.runs.manifest import Manifest, read_manifest

SECONDS_TO_WAIT = 0.3  # for another process that only looks whether the folder is in use
DIED = "its process ended without a word: it was killed, memory ran out, or the machine went down"


def lock_file(path: Path) -> Path:
    """Return the file that is locked for the folder of a run."""
    return path.parent / f".{path.name}.lock"


@contextmanager
def locked(path: Path, *, file: Path | None = None, other: str = "name") -> Generator[None, None, None]:
    """Hold the folder of a run against other processes; the system lets go of it if this one dies.

    Args:
        path: The folder; it need not exist.
        file: What is locked; None for a hidden file beside the folder, which outlasts a folder that is replaced.
        other: What the user can choose otherwise, for the message.

    Raises:
        UserError: If another process holds it.
    """
    from filelock import FileLock, Timeout

    file = lock_file(path) if file is None else file
    file.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(file)
    try:
        lock.acquire(timeout=SECONDS_TO_WAIT)
    except Timeout as error:
        raise UserError(
            f"{path} is in use by another process: wait for it, or choose another `{other}`"
        ) from error
    try:
        yield
    finally:
        lock.release()


def is_locked(path: Path) -> bool:
    """Tell whether a process works in the folder of a run; where that cannot be found out, it counts as so."""
    from filelock import FileLock, Timeout

    file = lock_file(path)
    if not file.exists():
        return False
    lock = FileLock(file)
    try:
        lock.acquire(timeout=0)
    except (Timeout, OSError, NotImplementedError):
        return True
    lock.release()
    return False


def current_manifest(path: Path) -> Manifest:
    """Read the manifest of a run, which says "interrupted" if the process that was running is gone.

    Raises:
        UserError: If it is absent or damaged.
    """
    manifest = read_manifest(path)
    if manifest.status != "running" or is_locked(path):
        return manifest
    return manifest.model_copy(update={"status": "interrupted", "reason": DIED})
