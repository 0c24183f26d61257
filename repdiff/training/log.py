"""Metrics of a run: JSON lines always, TensorBoard when asked for."""

import json
import logging
from pathlib import Path
from typing import Any

from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing

METRICS_FILE = "metrics.jsonl"
log = logging.getLogger(__name__)


class MetricsLog:
    """Appends records to `metrics.jsonl`, and their numbers to TensorBoard.

    Args:
        folder: Folder of the run.
        step: Step from which the run goes on; later records, about to be repeated, are removed.
        tensorboard: Whether to write `tensorboard/` too.

    Raises:
        UserError: If TensorBoard is asked for and not installed, or the disk refuses.
    """

    def __init__(self, folder: Path, *, step: int, tensorboard: bool) -> None:
        self.path = folder / METRICS_FILE
        self._writer = _tensorboard_writer(folder / "tensorboard", step) if tensorboard else None
        kept = [record for record in read_metrics(folder) if record["step"] <= step]
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(self.path) as partial:
                partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
        except OSError as error:
            raise UserError(f"{self.path}: cannot write ({error}): is the disk full or read-only?") from error

    def write(self, record: dict[str, Any]) -> None:
        """Append one record; it is on disk when this returns."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self._writer is not None:
            for name, value in _scalars("", record):
                self._writer.add_scalar(name, value, record["step"])

    def close(self) -> None:
        """Finish the TensorBoard files."""
        if self._writer is not None:
            self._writer.close()


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the records of a run, oldest first; none if there is no log, and no line cut short by a crash.

    A damaged line is left out, with a warning.
    """
    path = folder / METRICS_FILE
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    records = [record for line in lines if (record := _record(line)) is not None]
    if n_damaged := len(lines) - len(records):
        log.warning("%s: %d of %d lines are damaged and left out", path, n_damaged, len(lines))
    return records


def _record(line: str) -> dict[str, Any] | None:
    """Read a line; None if it is damaged."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _scalars(prefix: str, record: dict[str, Any]) -> list[tuple[str, float]]:
    scalars = []
    for name, value in record.items():
        if isinstance(value, dict):
            scalars += _scalars(f"{prefix}{name}/", value)
        elif isinstance(value, (int, float)) and name != "step":
            scalars.append((prefix + name, float(value)))
    return scalars


def _tensorboard_writer(folder: Path, step: int) -> Any:  # noqa: ANN401
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UserError(
            "tensorboard is switched on but not installed: "
            "pip install 'repdiff[tensorboard]', or switch it off"
        ) from error
    return SummaryWriter(folder, purge_step=step + 1)
