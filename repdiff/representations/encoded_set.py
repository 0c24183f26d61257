"""An encoded data set: crystals, their representations, and the layout that says what the columns mean."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.crystal_set import CrystalViews
from repdiff.crystals.stored_crystals import StoredCrystals
from repdiff.crystals.views import frame_of
from repdiff.datasets.readers.rows import Rejection, reasons_by_name
from repdiff.errors import DamagedError, UserError
from repdiff.representations.batch import RepresentationBatch, features_frame
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.failures import REJECTED, write_records
from repdiff.runs.model_files import read_metadata
from repdiff.settings.paths import home_expanded
from repdiff.symmetry import SymmetryTable

if TYPE_CHECKING:
    import pandas as pd

CRYSTALS, REPRESENTATIONS = "crystals.parquet", "representations.safetensors"
KIND = "representations"
AGAIN = "encode the data set again with `overwrite`"


@dataclass(frozen=True, kw_only=True, repr=False)
class EncodedSet(CrystalViews):
    """Crystals and their representations, row by row.

    Attributes:
        crystals: The crystals, in the cells that were encoded.
        representations: One vector for each.
        layout: What the columns mean.
        rejected: What could not be read, checked or reduced, with the reasons.
        symmetry: Protostructure, cell and free coordinates of each; None if they were not asked for.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> encoded = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False)
        >>> encoded.to_batch()
        RepresentationBatch: 2 vectors of 658 features (ead)
        >>> encoded.to_frame()["formula"].tolist()
        ['Cu', 'Fe']
    """

    _lost = "rejected"
    _encoded = True

    crystals: Sequence[Crystal]
    representations: Float[Tensor, "n_crystals n_features"]
    layout: RepresentationSpec
    rejected: Sequence[Rejection] = ()
    symmetry: SymmetryTable | None = None

    def __len__(self) -> int:
        """Count the crystals that have a vector."""
        return len(self.crystals)

    def to_batch(self) -> RepresentationBatch:
        """Return the vectors alone, named after the crystals."""
        names = [crystal.id for crystal in self.crystals]
        return RepresentationBatch(
            vectors=self.representations, layout=self.layout, names=names, symmetry=self.symmetry
        )

    def to_frame(self) -> "pd.DataFrame":
        """Put crystals and vectors into a data frame by id: formula, split, labels, a column for each feature."""
        frame = frame_of(self.crystals)
        ids = [crystal.id for crystal in self.crystals]
        features = features_frame(self.representations, self.layout, ids).set_axis(frame.index)
        return frame.join(features[features.columns.difference(frame.columns, sort=False)])

    def __repr__(self) -> str:
        """Say how many there are, and of what."""
        return self._title()

    def _title(self) -> str:
        width = self.representations.shape[1]
        return f"{super()._title()}, {width} features each ({self.layout.descriptor})"

    def _missing(self) -> Mapping[str, str]:
        return reasons_by_name(self.rejected)

    def rows(self, split: str) -> list[int]:
        """Return the rows of a split, "train", "val" or "test"."""
        return [row for row, crystal in enumerate(self.crystals) if crystal.split == split]

    def content_hash(self) -> str:
        """Hash all that decides a training: the crystals with their names, splits and labels, and the columns.

        The vectors follow from these, up to a rounding that differs between devices, and do not count.
        """
        columns = self.layout.model_dump_json(exclude={"dataset", "note"})
        content = hashlib.sha256(f"{columns} {self.symmetry is not None}".encode())
        for crystal in self.crystals:
            content.update(bytes_of(crystal))
        for tensor in () if self.symmetry is None else self.symmetry.tensors().values():
            content.update(tensor.numpy().tobytes())
        return content.hexdigest()

    def write(self, folder: str | Path) -> None:
        """Write crystals, representations, and what was rejected, each file whole or not at all."""
        folder = home_expanded(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_records(folder / REJECTED, map(asdict, self.rejected), ascii_only=False)
        write_crystals(folder / CRYSTALS, self.crystals)
        symmetry = {} if self.symmetry is None else self.symmetry.tensors()
        save_checkpoint(
            folder / REPRESENTATIONS,
            {"representations": self.representations, **symmetry},
            {"layout": self.layout.model_dump(mode="json")},
            kind=KIND,
        )

    @staticmethod
    def read_layout(folder: Path) -> RepresentationSpec:
        """Read what the columns of an encoded set mean, without its vectors.

        Raises:
            UserError: If the file is missing or damaged.
        """
        file = folder / REPRESENTATIONS
        return RepresentationSpec.of_file(file, read_metadata(file))

    @classmethod
    def read(cls, folder: str | Path, *, stored: bool = False) -> "EncodedSet":
        """Read what `write` wrote.

        Args:
            folder: Where it is.
            stored: Whether the crystals stay in a table until they are asked for, see `StoredCrystals`.

        Raises:
            UserError: If files are missing, damaged, or do not belong together.
        """
        folder = home_expanded(folder)
        if not (folder / REPRESENTATIONS).is_file() or not (folder / CRYSTALS).is_file():
            raise UserError(
                f"{folder} is no encoded data set, expected {CRYSTALS} and {REPRESENTATIONS} in it"
            )
        tensors, metadata = load_checkpoint(folder / REPRESENTATIONS, kind=KIND)
        layout = RepresentationSpec.of_file(folder / REPRESENTATIONS, metadata)
        try:
            crystals = (StoredCrystals if stored else read_crystals)(folder / CRYSTALS)
        except DamagedError as error:
            raise DamagedError(error.damage, AGAIN) from error
        except OSError as error:
            raise DamagedError(f"{folder / CRYSTALS} cannot be read ({error})", AGAIN) from error
        if "representations" not in tensors:
            raise DamagedError(f"{folder / REPRESENTATIONS} holds no representations", AGAIN)
        if len(crystals) != len(tensors["representations"]):
            raise DamagedError(
                f"{folder} holds {len(crystals)} crystals and {len(tensors['representations'])} representations, "
                "expected as many",
                AGAIN,
            )
        symmetry = SymmetryTable.of_file(folder / REPRESENTATIONS, tensors, remedy=AGAIN)
        return cls(
            crystals=crystals,
            representations=tensors["representations"],
            layout=layout,
            rejected=_read_rejected(folder / REJECTED),
            symmetry=symmetry,
        )


def bytes_of(crystal: Crystal) -> bytes:
    """Return all that a crystal says, for a hash."""
    labels = sorted((name, str(value)) for name, value in crystal.labels.items())
    said = (crystal.id, crystal.split, crystal.n_atoms, labels)
    arrays = (crystal.atomic_numbers, crystal.lattice, crystal.frac_coords)
    return repr(said).encode() + b"".join(array.tobytes() for array in arrays)


def _read_rejected(file: Path) -> list[Rejection]:
    if not file.is_file():
        return []
    try:
        return [Rejection(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (ValueError, TypeError) as error:
        raise DamagedError(f"{file} is damaged ({error})", AGAIN) from error
