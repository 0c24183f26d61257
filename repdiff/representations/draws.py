"""What became of every protostructure that a run drew: known, a duplicate, left behind by others, or kept."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from repdiff.errors import DamagedError
from repdiff.runs.parquet_files import read_own_table, table_writer, write_table

if TYPE_CHECKING:
    import pyarrow as pa

DRAWS, DRAWS_FILE = "draws", "draws.parquet"  # folder with a part for each call, and the file of all
Outcome = Literal["kept", "not kept", "duplicate", "known"]


@dataclass(frozen=True, kw_only=True)
class DrawRecord:
    """What became of one protostructure that was drawn.

    Attributes:
        block: Number of the block that it was ranked in; where nothing is ranked, of the first sample drawn with it.
        protostructure: Its label, in a setting that all equivalent ones share.
        outcome: "kept"; "not kept", because others were predicted to be better; "duplicate" of another one of its
            block; or "known", because a training crystal has it and only new ones were wanted.
        predicted: Prediction, in the unit of the label; None where nothing was predicted.
        predicted_std: Its uncertainty: the standard deviation of the ensemble.
        rank: Place in its block, from 1 for the best.
        sample: Number of the sample that it became.
    """

    block: int
    protostructure: str
    outcome: Outcome
    predicted: float | None = None
    predicted_std: float | None = None
    rank: int | None = None
    sample: int | None = None


def write_draws(path: Path, records: Sequence[DrawRecord]) -> None:
    """Write records as a table, a row each, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_table(path, _table(records))


def _table(records: Sequence[DrawRecord]) -> "pa.Table":
    import pyarrow as pa

    kinds = {
        "block": pa.int64(),
        "protostructure": pa.string(),
        "outcome": pa.string(),
        "predicted": pa.float64(),
        "predicted_std": pa.float64(),
        "rank": pa.int64(),
        "sample": pa.int64(),
    }
    return pa.table(
        {
            field.name: pa.array([getattr(one, field.name) for one in records], kinds[field.name])
            for field in fields(DrawRecord)
        }
    )


def read_draws(path: Path) -> list[DrawRecord]:
    """Read what `write_draws` wrote.

    Raises:
        DamagedError: If the file is missing, damaged or something else.
    """
    try:
        return [DrawRecord(**row) for row in read_own_table(path).to_pylist()]
    except (OSError, ValueError, TypeError) as error:
        why = str(error).splitlines()[0]
        raise DamagedError(f"{path}: cannot be read ({why})", "generate again with `overwrite`") from error


def write_part(folder: Path, first: int, records: Sequence[DrawRecord]) -> None:
    """Keep the records of samples number `first` and on of a run, before their vectors are."""
    write_draws(folder / DRAWS / f"{first:08d}.parquet", records)


def join_parts(folder: Path, n: int) -> dict[str, int]:
    """Write the records of all parts of a run into one table; nothing if there is no part.

    A block that two parts have, because the first ended inside it, comes once.

    Args:
        folder: Folder of the run.
        n: Number of samples of the run.

    Returns:
        Number of draws by outcome; "to spare" are those of the last block that would be kept for more samples.
    """
    paths = sorted((folder / DRAWS).glob("*.parquet"))
    outcomes: Counter[str] = Counter()
    last = -1  # block of the part before; numbers ascend from part to part
    if paths:
        with table_writer(folder / DRAWS_FILE, _table([]).schema) as write:
            for path in paths:
                records = [one for one in read_draws(path) if one.block > last]
                last = max((one.block for one in records), default=last)
                write(_table(records))
                outcomes.update(
                    "to spare" if one.sample is not None and one.sample >= n else one.outcome
                    for one in records
                )
    return dict(outcomes.most_common())
