"""What the columns of representation vectors mean."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from pydantic import BaseModel, ConfigDict, ValidationError
from torch import Tensor

from descriptors.base import Descriptor, make_descriptor
from descriptors.representation import Representation
from repdiff.crystals.formula import Composition
from repdiff.errors import DamagedError, UserError


def named_descriptor(spec: str) -> Descriptor:
    """Build a descriptor that a user named, NAME or NAME:PRESET.

    Raises:
        UserError: If there is no such descriptor.
    """
    try:
        return make_descriptor(spec)
    except KeyError as error:
        raise UserError(str(error.args[0])) from error


class RepresentationSpec(BaseModel):
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
    ) -> "RepresentationSpec":
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
    def of_file(cls, path: Path, metadata: Mapping[str, Any]) -> "RepresentationSpec":
        """Take the layout out of the metadata of a file.

        Raises:
            DamagedError: If there is none, or it is not as this version writes it.
        """
        try:
            return cls.model_validate(metadata["layout"])
        except (KeyError, ValidationError) as error:
            raise DamagedError(
                f"{path} holds no layout of its columns that this version reads: was it written by another version, "
                "or changed?"
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

    def composition_counts(self, compositions: Sequence[Composition]) -> Int[Tensor, "n n_elements"]:
        """Count the atoms of compositions by the columns of the composition block.

        Args:
            compositions: Their elements must be among those of the layout.
        """
        column = {number: place for place, number in enumerate(self.elements)}
        counts = torch.zeros(len(compositions), len(column), dtype=torch.long)
        for row, composition in enumerate(compositions):
            for number, count in composition.items():
                counts[row, column[number]] = count
        return counts
