"""An encoded data set: crystals, their representations, and the layout that says what the columns mean."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor
from tqdm import tqdm

from descriptors.base import Descriptor, make_descriptor
from descriptors.representation import Representation, chunks_by_cost
from repdiff.crystals.crystal import Crystal, read_crystals, to_batch, write_crystals
from repdiff.errors import UserError
from repdiff.runs.atomic_files import replacing
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint

CRYSTALS, REPRESENTATIONS, REJECTED = "crystals.parquet", "representations.safetensors", "rejected.jsonl"
KIND = "representations"


def named_descriptor(spec: str) -> Descriptor:
    """Build a descriptor that a user named, NAME or NAME:PRESET.

    Raises:
        UserError: If there is no such descriptor.
    """
    try:
        return make_descriptor(spec)
    except KeyError as error:
        raise UserError(str(error.args[0])) from error


class Layout(BaseModel):
    """What the columns of representation vectors mean; stored with every file that holds or makes them."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    descriptor: str
    descriptor_settings: dict[str, Any]
    elements: tuple[int, ...]
    niggli: bool
    dataset: str
    note: str | None = None

    @classmethod
    def of(
        cls, descriptor: str, elements: Sequence[int], *, niggli: bool, dataset: str, note: str | None
    ) -> "Layout":
        """Describe vectors made by a descriptor, NAME or NAME:PRESET.

        Raises:
            UserError: If there is no such descriptor.
        """
        return cls(
            descriptor=descriptor,
            descriptor_settings=json.loads(json.dumps(named_descriptor(descriptor).settings())),
            elements=tuple(sorted(elements)),
            niggli=niggli,
            dataset=dataset,
            note=note,
        )

    @classmethod
    def of_file(cls, path: Path, metadata: Mapping[str, Any]) -> "Layout":
        """Take the layout out of the metadata of a file.

        Raises:
            UserError: If there is none, or it is not as this version writes it.
        """
        try:
            return cls.model_validate(metadata["layout"])
        except (KeyError, ValidationError) as error:
            raise UserError(
                f"{path} holds no layout of its columns that this version reads: was it written by another version?"
            ) from error

    def representation(self) -> Representation:
        """Build the encoder.

        Raises:
            UserError: If this version's descriptor of that name has other settings than the vectors were made with.
        """
        try:
            descriptor = make_descriptor(self.descriptor)
        except KeyError as error:
            raise UserError(f"made with a descriptor that this version lacks: {error.args[0]}") from error
        if json.loads(json.dumps(descriptor.settings())) != self.descriptor_settings:
            raise UserError(
                f"made with other settings of descriptor {self.descriptor!r} than this version's: "
                "encode and train again, or use the version that wrote it"
            )
        return Representation(descriptor=descriptor, elements=self.elements)


@dataclass(frozen=True, kw_only=True)
class EncodedSet:
    """Crystals and their representations, row by row."""

    crystals: list[Crystal]
    representations: Float[Tensor, "n_crystals n_features"]
    layout: Layout

    def rows(self, split: str) -> list[int]:
        """Return the rows of a split, "train", "val" or "test"."""
        return [row for row, crystal in enumerate(self.crystals) if crystal.split == split]

    def write(self, folder: Path) -> None:
        """Write crystals and representations, each file whole or not at all."""
        with replacing(folder / CRYSTALS) as partial:
            write_crystals(partial, self.crystals)
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
        layout = Layout.of_file(folder / REPRESENTATIONS, metadata)
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


def encode_crystals(
    crystals: Sequence[Crystal],
    representation: Representation,
    *,
    device: torch.device,
    progress: bool = True,
) -> Float[Tensor, "n_crystals n_features"]:
    """Encode crystals in chunks of bounded memory; float32, in their order, on the CPU."""
    batch = to_batch(crystals, dtype=torch.float32)
    result = torch.empty(len(crystals), representation.n_features)
    representation.descriptor.to(device)
    with (
        torch.no_grad(),
        tqdm(total=len(crystals), desc="encoding", unit="crystal", disable=not progress) as bar,
    ):
        for chunk in chunks_by_cost(batch, representation.descriptor):
            rows = torch.tensor(chunk)
            result[rows] = representation.encode(batch.select(rows).to(device)).cpu()
            bar.update(len(chunk))
    return result
