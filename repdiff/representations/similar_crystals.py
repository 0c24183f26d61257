"""The nearest crystals of a set for each of some queries, as a table: rank, name, formula, space group, distance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from repdiff.crystals.crystal import Crystal
from repdiff.crystals.symmetry import find_symmetries
from repdiff.crystals.views import count, html_of
from repdiff.representations.similarity import DescribedCrystals, find_nearest

if TYPE_CHECKING:
    import pandas as pd

MEANING = (
    "distance: that of the descriptors, sum of |a - b| over sum of |a| + |b|, plus the share of the atoms that are of "
    "other elements; 0 for the same crystal in whatever cell, 2 at most"
)


@dataclass(frozen=True, kw_only=True, repr=False)
class SimilarCrystals:
    """The nearest known crystals of each query, nearest first.

    Attributes:
        queries: Names of the crystals that were looked for.
        nearest: The known crystals that are nearest to each.
        distances: Their distances, see `repdiff.representations.similarity`; from 0 to 2.
        of_descriptor: Part of each distance that is of the descriptor, from 0 to 1.
        of_composition: Part that is of the composition, from 0 to 1.
        space_groups: Symbol and number of the space group of each, such as "Fm-3m (225)"; None where there is none.
        failed: Reason of each crystal that could not be looked for, by name.
        among: Name of the set that was searched.
        descriptor: Name of the descriptor.

    Example:
        >>> import repdiff as rd
        >>> from ase.build import bulk
        >>> rd.similar(bulk("Cu"), [bulk("Cu"), bulk("Ag")], n=1, device="cpu", progress=False)
        SimilarCrystals: those nearest to 1 crystal among those given (ead)
    """

    queries: Sequence[str]
    nearest: Sequence[Sequence[Crystal]]
    distances: Sequence[Sequence[float]]
    of_descriptor: Sequence[Sequence[float]]
    of_composition: Sequence[Sequence[float]]
    space_groups: Sequence[Sequence[str | None]]
    failed: dict[str, str]
    among: str
    descriptor: str

    @classmethod
    def find(
        cls,
        queries: DescribedCrystals,
        known: DescribedCrystals,
        n: int,
        *,
        among: str,
        descriptor: str,
        failed: dict[str, str] | None = None,
        progress: bool = True,
    ) -> "SimilarCrystals":
        """Search, and find the space groups of what was found.

        Args:
            queries: Crystals to look for.
            known: Crystals to search, with the same descriptor.
            n: How many for each.
            among: Name of the set that is searched.
            descriptor: Name of the descriptor.
            failed: Reason of each crystal that cannot be looked for, by name.
            progress: Whether to show bars.
        """
        found = find_nearest(queries, known, n, progress=progress)
        rows = found.rows.tolist()
        different = sorted({row for some in rows for row in some})
        symmetries = dict(
            zip(different, find_symmetries([known.crystals[row] for row in different]), strict=True)
        )
        names = {
            row: None if one.number is None else f"{one.symbol} ({one.number})"
            for row, one in symmetries.items()
        }
        return cls(
            queries=[crystal.id for crystal in queries.crystals],
            nearest=[[known.crystals[row] for row in some] for some in rows],
            distances=found.distances.tolist(),
            of_descriptor=found.of_descriptor.tolist(),
            of_composition=found.of_composition.tolist(),
            space_groups=[[names[row] for row in some] for some in rows],
            failed=dict(failed or {}),
            among=among,
            descriptor=descriptor,
        )

    def __len__(self) -> int:
        """Count the crystals that were looked for."""
        return len(self.queries)

    def to_frame(self) -> "pd.DataFrame":
        """Return one row for each crystal found.

        Returns:
            Columns query, rank (from 1), id, formula, space_group, distance, of_descriptor, of_composition.
        """
        import pandas as pd
        from pymatgen.core import Composition

        columns = zip(
            self.queries,
            self.nearest,
            self.space_groups,
            self.distances,
            self.of_descriptor,
            self.of_composition,
            strict=True,
        )
        rows = [
            {
                "query": query,
                "rank": rank,
                "id": crystal.id,
                "formula": Composition(crystal.formula).reduced_formula,
                "space_group": group,
                "distance": distance,
                "of_descriptor": structural,
                "of_composition": chemical,
            }
            for query, *lists in columns
            for rank, (crystal, group, distance, structural, chemical) in enumerate(
                zip(*lists, strict=True), 1
            )
        ]
        return pd.DataFrame(rows)

    def __repr__(self) -> str:
        """Say how many there are, and among what."""
        failed = f", {len(self.failed)} failed" if self.failed else ""
        found = count(len(self), "crystal")
        return f"SimilarCrystals: those nearest to {found} among {self.among} ({self.descriptor}){failed}"

    def _repr_html_(self) -> str:
        """Show the first rows of the table in a notebook."""
        return html_of(repr(self), self.to_frame(), self.failed)
