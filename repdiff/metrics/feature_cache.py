"""A folder of fingerprints that only grows: written as they are made, found again by what the crystal is."""

import hashlib
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from jaxtyping import Float

from repdiff.crystals.crystal import Crystal
from repdiff.runs.atomic_files import replacing

ROWS_PER_SHARD = 64


@dataclass(frozen=True, kw_only=True)
class Fingerprint:
    """What one crystal looks like to the coverage metrics.

    Attributes:
        structure: Mean of the site fingerprints, 61 numbers; None if it could not be computed.
        composition: Magpie features as they come, 132 numbers, NaN where an element lacks a property; None as above.
        reason: Why there is none; "" if there is one.
    """

    structure: Float[np.ndarray, " n_structure"] | None
    composition: Float[np.ndarray, " n_composition"] | None
    reason: str = ""


def content_key(crystal: Crystal) -> str:
    """Hash the species, the cell and the coordinates bit by bit; the name and the labels do not count."""
    content = hashlib.sha256()
    for array, kind in (
        (crystal.atomic_numbers, "<i8"),
        (crystal.lattice, "<f8"),
        (crystal.frac_coords, "<f8"),
    ):
        content.update(np.ascontiguousarray(array, dtype=kind).tobytes() + b"|")
    return content.hexdigest()[:32]


def read_shards(folder: Path, keys: Iterable[str]) -> dict[str, Fingerprint]:
    """Return those of the wanted fingerprints that the folder has.

    A shard that cannot be read is removed with a warning; what it held is then computed again.
    """
    wanted = set(keys)
    found: dict[str, Fingerprint] = {}
    for shard in sorted(folder.glob("[!.]*.parquet")):
        if len(found) == len(wanted):
            break
        try:
            found.update(_read_shard(shard, wanted))
        except Exception as error:  # pyarrow tells damage by many types
            warnings.warn(
                f"{shard}: damaged, computing its fingerprints again ({type(error).__name__})", stacklevel=2
            )
            shard.unlink(missing_ok=True)
    return found


@dataclass
class ShardWriter:
    """Collects fingerprints and writes them in shards, the last of them however the block ends.

    Attributes:
        folder: Made if absent; None writes nothing.
    """

    folder: Path | None
    _rows: dict[str, Fingerprint] = field(default_factory=dict)

    def add(self, key: str, fingerprint: Fingerprint) -> None:
        """Take one; each 64 of them become a file."""
        self._rows[key] = fingerprint
        if len(self._rows) >= ROWS_PER_SHARD:
            self.flush()

    def flush(self) -> None:
        """Write what is held, as a file named after its contents.

        A disk that refuses costs the cache, not the results: it is warned of once.
        """
        rows, self._rows = self._rows, {}
        if self.folder is None or not rows:
            return
        try:
            _write_shard(self.folder, rows)
        except OSError as error:
            warnings.warn(
                f"{self.folder}: fingerprints are not kept ({error.strerror or error}), expected a writable "
                "folder with room",
                stacklevel=2,
            )
            self.folder = None

    def __enter__(self) -> "ShardWriter":
        """Start."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the rest, also after Ctrl-C."""
        self.flush()


def _write_shard(folder: Path, rows: Mapping[str, Fingerprint]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    name = hashlib.sha256("".join(sorted(rows)).encode()).hexdigest()[:32]
    table = pa.table(
        {
            "key": pa.array(list(rows), pa.string()),
            "structure": _lists([row.structure for row in rows.values()]),
            "composition": _lists([row.composition for row in rows.values()]),
            "reason": pa.array([row.reason for row in rows.values()], pa.string()),
        }
    )
    with replacing(folder / f"{name}.parquet") as partial:
        pq.write_table(table, partial, compression="zstd")


def _read_shard(shard: Path, wanted: set[str]) -> dict[str, Fingerprint]:
    import pyarrow.parquet as pq

    table = pq.read_table(shard)
    columns = [table[name].to_pylist() for name in ("key", "reason")]
    vectors = [_arrays(table[name]) for name in ("structure", "composition")]
    return {
        key: Fingerprint(structure=structure, composition=composition, reason=reason)
        for key, reason, structure, composition in zip(*columns, *vectors, strict=True)
        if key in wanted
    }


def _arrays(column: object) -> list[np.ndarray | None]:
    return [None if value is None else np.array(value) for value in column.to_numpy()]  # ty: ignore


def _lists(vectors: Sequence[np.ndarray | None]) -> object:
    import pyarrow as pa

    return pa.array(
        [None if vector is None else vector.tolist() for vector in vectors], pa.list_(pa.float64())
    )
