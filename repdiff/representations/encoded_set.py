"""An encoded data set: crystals, their representations, and the layout that says what the columns mean."""

from dataclasses import dataclass
from pathlib import Path

from jaxtyping import Float
from torch import Tensor

from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.errors import UserError
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint

CRYSTALS, REPRESENTATIONS = "crystals.parquet", "representations.safetensors"
KIND = "representations"


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Crystals and their representations, row by row."""

    crystals: list[Crystal]
    representations: Float[Tensor, "n_crystals n_features"]
    layout: RepresentationSpec

    def rows(self, split: str) -> list[int]:
        """Return the rows of a split, "train", "val" or "test"."""
        return [row for row, crystal in enumerate(self.crystals) if crystal.split == split]

    def write(self, folder: Path) -> None:
        """Write crystals and representations, each file whole or not at all."""
        write_crystals(folder / CRYSTALS, self.crystals)
        save_checkpoint(
            folder / REPRESENTATIONS,
            {"representations": self.representations},
            {"layout": self.layout.model_dump(mode="json")},
            kind=KIND,
        )

    @classmethod
    def read(cls, folder: Path) -> "EncodedSet":
        """Read what `write` wrote.

        Raises:
            UserError: If files are missing, damaged, or do not belong together.
        """
        if not (folder / REPRESENTATIONS).is_file() or not (folder / CRYSTALS).is_file():
            raise UserError(
                f"{folder} is no encoded data set, expected {CRYSTALS} and {REPRESENTATIONS} in it"
            )
        tensors, metadata = load_checkpoint(folder / REPRESENTATIONS, kind=KIND)
        layout = RepresentationSpec.of_file(folder / REPRESENTATIONS, metadata)
        try:
            crystals = read_crystals(folder / CRYSTALS)
        except (ValueError, OSError) as error:
            raise UserError(
                f"{folder / CRYSTALS} cannot be read ({error}): encode the data set again"
            ) from error
        if len(crystals) != len(tensors["representations"]):
            raise UserError(
                f"{folder} holds {len(crystals)} crystals and {len(tensors['representations'])} representations, "
                "expected as many: encode the data set again"
            )
        return cls(
            crystals=crystals,
            representations=tensors["representations"],
            layout=layout,
        )
