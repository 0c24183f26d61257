"""`SymmetryTable`: protostructures, cells and free coordinates of many crystals, row by row, as tensors for a file."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.symmetry.encoding import decode_protostructures, encode_protostructures
from descriptors.symmetry.protostructure import Protostructure
from repdiff.errors import DamagedError
from repdiff.symmetry.reading import Reading


@dataclass(frozen=True, kw_only=True)
class SymmetryTable:
    """What is known of the symmetry of crystals, or of vectors that are to become crystals.

    Attributes:
        protostructures: One a row, None where there is none.
        cells: Free parameters of the conventional cell, as `descriptors.symmetry.unit_cell` orders them; NaN where
            there is none.
        free: Free coordinates of the orbits, one after another, filled up with NaN, which also stand where they are
            not known; there may be no column then.
    """

    protostructures: tuple[Protostructure | None, ...]
    cells: Float[Tensor, "n 6"]
    free: Float[Tensor, "n n_free_most"]

    def __len__(self) -> int:
        """Count the rows."""
        return len(self.protostructures)

    @property
    def known(self) -> list[int]:
        """Rows that have a protostructure."""
        return [row for row, one in enumerate(self.protostructures) if one is not None]

    @classmethod
    def of_readings(cls, readings: Sequence[Reading]) -> "SymmetryTable":
        """Lay out what was read off crystals."""
        found = [reading.symmetrized for reading in readings]
        cells = torch.full((len(found), 6), torch.nan)
        for row, one in enumerate(found):
            if one is not None:
                cells[row] = torch.from_numpy(one.cell)
        bare = cls.without_coordinates([reading.protostructure for reading in readings], cells)
        return bare.with_coordinates([None if one is None else torch.from_numpy(one.free) for one in found])

    @classmethod
    def without_coordinates(
        cls, protostructures: Sequence[Protostructure | None], cells: Float[Tensor, "n 6"]
    ) -> "SymmetryTable":
        """Lay out protostructures and cells whose free coordinates are still to be found."""
        return cls(protostructures=tuple(protostructures), cells=cells, free=cells.new_zeros(len(cells), 0))

    def with_coordinates(self, free: Sequence[Float[Tensor, " _"] | None]) -> "SymmetryTable":
        """Return the same with free coordinates, where there are any.

        Args:
            free: One vector a row; None where they are not known.
        """
        width = max((len(one) for one in free if one is not None), default=0)
        filled = self.cells.new_full((len(self), width), torch.nan)
        for row, one in enumerate(free):
            if one is not None:
                filled[row, : len(one)] = one
        return SymmetryTable(protostructures=self.protostructures, cells=self.cells, free=filled)

    def rows(self, rows: Sequence[int]) -> "SymmetryTable":
        """Return some of the rows."""
        chosen = list(rows)
        return SymmetryTable(
            protostructures=tuple(self.protostructures[row] for row in chosen),
            cells=self.cells[chosen],
            free=self.free[chosen],
        )

    def free_of(self, row: int) -> Float[Tensor, " n_free"]:
        """Return the free coordinates of one row that has them."""
        protostructure = self.protostructures[row]
        assert protostructure is not None
        return self.free[row, : protostructure.n_free]

    def tensors(self) -> dict[str, Tensor]:
        """Return all of it as named tensors; a row without a protostructure is one of zeros."""
        present = [one for one in self.protostructures if one is not None]
        max_orbits = max((len(one.orbits) for one in present), default=0)
        encoded = np.zeros((len(self), 1 + 2 * max_orbits), dtype=np.int16)
        encoded[self.known] = encode_protostructures(present, max_orbits=max_orbits)
        return {"protostructures": torch.from_numpy(encoded), "cells": self.cells, "free": self.free}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> "SymmetryTable":
        """Read what `tensors` returned.

        Raises:
            KeyError: If one is missing.
            ValueError: If a row describes what cannot exist.
        """
        encoded = tensors["protostructures"].numpy()
        present = np.flatnonzero(encoded[:, 0])
        protostructures: list[Protostructure | None] = [None] * len(encoded)
        for row, one in zip(present.tolist(), decode_protostructures(encoded[present]), strict=True):
            protostructures[row] = one
        return cls(protostructures=tuple(protostructures), cells=tensors["cells"], free=tensors["free"])

    @classmethod
    def of_file(cls, path: Path, tensors: Mapping[str, Tensor], *, remedy: str) -> "SymmetryTable | None":
        """Take the table out of the tensors of a file; None if it holds none.

        Args:
            path: The file, for the message.
            tensors: All that it holds.
            remedy: How to make the file again, for the message.

        Raises:
            DamagedError: If a part of it is missing, or describes what cannot exist.
        """
        if "protostructures" not in tensors:
            return None
        try:
            return cls.from_tensors(tensors)
        except (KeyError, ValueError, IndexError, TypeError) as error:
            raise DamagedError(f"{path}: protostructures cannot be read ({error})", remedy) from error

    @classmethod
    def joined(cls, parts: "Sequence[SymmetryTable]") -> "SymmetryTable":
        """Put tables one below the other; the narrower ones are filled up."""
        width = max(part.free.shape[1] for part in parts)

        def filled(part: SymmetryTable) -> Tensor:
            return torch.nn.functional.pad(part.free, (0, width - part.free.shape[1]), value=torch.nan)

        return cls(
            protostructures=tuple(one for part in parts for one in part.protostructures),
            cells=torch.cat([part.cells for part in parts]),
            free=torch.cat([filled(part) for part in parts]),
        )
