"""Representation vectors without crystals: what a model samples and a reconstruction inverts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.conditions import Asked
from repdiff.crystals.crystal import Label
from repdiff.crystals.views import count, html_of
from repdiff.representations.layout import RepresentationSpec
from repdiff.symmetry import SymmetryTable

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, kw_only=True, repr=False)
class RepresentationBatch:
    """Representations in physical units, and what their columns mean.

    Attributes:
        vectors: One a row.
        layout: What the columns mean.
        names: One for each vector; without them they are called gen-000000, gen-000001, ...
        symmetry: Protostructure and cell that belong to each vector, if they are known, and free coordinates to start
            from, as far as there are any.
        templates: Names of the known crystals that the vectors were drawn towards; None, and None in it, for none.
        parents: Names of the crystals that the vectors are variations of and whose coordinates they bring along; None,
            and None in it, for none.
        columns: What else is known of each vector, by name, such as its rank among what was drawn; crystals made of the
            vectors have it as labels.
        asked: What the samples were asked to be, the first vector being sample 0.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> vectors = rd.encode([bulk("Cu"), bulk("Fe")], device="cpu", progress=False).to_batch()
        >>> vectors.first(1)
        RepresentationBatch: 1 vector of 658 features (ead)
        >>> vectors.to_frame().shape
        (2, 658)
    """

    vectors: Float[Tensor, "n_vectors n_features"]
    layout: RepresentationSpec
    names: Sequence[str] | None = None
    symmetry: SymmetryTable | None = None
    templates: tuple[str | None, ...] | None = None
    parents: tuple[str | None, ...] | None = None
    columns: Mapping[str, tuple[Label, ...]] = field(default_factory=dict)
    asked: Asked = field(default_factory=Asked)

    @property
    def ids(self) -> list[str]:
        """Names of the vectors."""
        if self.names is not None:
            return list(self.names)
        return [f"gen-{number:06d}" for number in range(len(self.vectors))]

    def __len__(self) -> int:
        """Count the vectors."""
        return len(self.vectors)

    def first(self, n: int) -> "RepresentationBatch":
        """Return the first `n` vectors, or all if there are fewer."""
        return self.rows(range(min(n, len(self))))

    def rows(self, rows: Sequence[int]) -> "RepresentationBatch":
        """Return some of the vectors, in the order given, with what belongs to them."""
        return replace(
            self,
            vectors=self.vectors[list(rows)],
            names=None if self.names is None else [self.names[row] for row in rows],
            symmetry=None if self.symmetry is None else self.symmetry.rows(rows),
            templates=None if self.templates is None else tuple(self.templates[row] for row in rows),
            parents=None if self.parents is None else tuple(self.parents[row] for row in rows),
            columns={name: tuple(values[row] for row in rows) for name, values in self.columns.items()},
            asked=self.asked.of_rows(rows),
        )

    @classmethod
    def joined(cls, parts: "Sequence[RepresentationBatch]") -> "RepresentationBatch":
        """Put vectors without names one below the other; all have the layout of the first."""
        tables = [part.symmetry for part in parts if part.symmetry is not None]
        parents = [part.parents for part in parts if part.parents is not None]
        return cls(
            vectors=torch.cat([part.vectors for part in parts]),
            layout=parts[0].layout,
            symmetry=SymmetryTable.joined(tables) if len(tables) == len(parts) else None,
            templates=tuple(name for part in parts for name in part.templates or len(part) * (None,)),
            parents=sum(parents, ()) if len(parents) == len(parts) else None,
            columns={
                name: tuple(value for part in parts for value in part.columns.get(name, len(part) * (None,)))
                for name in dict.fromkeys(name for part in parts for name in part.columns)
            },
        )

    def to_frame(self) -> "pd.DataFrame":
        """Put the vectors into a data frame: a row each by name, a column for each feature."""
        return features_frame(self.vectors, self.layout, self.ids)

    def __repr__(self) -> str:
        """Say how many there are, and of what."""
        n, width = self.vectors.shape
        return f"RepresentationBatch: {count(n, 'vector')} of {width} features ({self.layout.descriptor})"

    def _repr_html_(self) -> str:
        """Show the first rows of the table in a notebook."""
        return html_of(repr(self), self.to_frame())


def features_frame(
    vectors: Float[Tensor, "n_vectors n_features"], layout: RepresentationSpec, ids: Sequence[str]
) -> "pd.DataFrame":
    """Put vectors into a data frame by name, with the names of the features as columns."""
    import pandas as pd

    columns = pd.Index(layout.representation().feature_names())
    return pd.DataFrame(vectors.cpu().numpy(), index=pd.Index(ids, name="id"), columns=columns)
