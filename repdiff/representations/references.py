"""What the nearest known crystal tells of a vector: its own, with the elements and the volume of the one asked for.

A crystal of a known prototype looks much like the known one whose elements are most like its own, the more so the more
alike they are. Where no known crystal has the prototype there is no reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from descriptors.symmetry.orbit_maps import orbit_maps
from descriptors.symmetry.protostructure import Protostructure
from repdiff.execution.progress import progress_bar
from repdiff.representations.encoding import encode_batch
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.symmetric_vectors import symmetric_blocks, to_symmetric_vectors
from repdiff.symmetry import SymmetryTable
from repdiff.symmetry.templates import Template, TemplateLibrary

FAR = 6.0  # mean difference of Pettifor numbers at which a reference is as good as a drawn vector


@dataclass(frozen=True, kw_only=True, eq=False)
class References:
    """The vectors of the known crystals nearest to some protostructures.

    Attributes:
        vectors: Vectors that `to_symmetric_vectors` makes, in physical units; zeros where there is none.
        distances: How unlike the elements are, see `Template`; NaN where there is none.
        templates: The known crystals; None where there is none.
    """

    vectors: Float[Tensor, "n width"]
    distances: Float[Tensor, " n"]
    templates: tuple[Template | None, ...]

    def draw(self, vectors: Float[Tensor, "n width"]) -> Float[Tensor, "n width"]:
        """Draw vectors towards the references: all the way where elements are the same, halfway where they are `FAR`.

        Two estimates of one vector are best weighted by their precisions. The squared error of a reference grows with
        the distance d of the elements; against that of a drawn vector it makes d / (d + FAR) the weight of the latter.

        Args:
            vectors: Vectors that `to_symmetric_vectors` makes, in physical units.
        """
        distance = self.distances[:, None]
        weight = torch.where(self.present[:, None], distance / (distance + FAR), 1.0)
        return torch.lerp(self.vectors, vectors, weight)

    def select(self, rows: slice) -> "References":
        """Return those of some rows."""
        return References(
            vectors=self.vectors[rows], distances=self.distances[rows], templates=self.templates[rows]
        )

    @property
    def present(self) -> Bool[Tensor, " n"]:
        """Tell where there is one."""
        return ~torch.isnan(self.distances)


def find_references(
    library: TemplateLibrary,
    protostructures: Sequence[Protostructure | None],
    layout: RepresentationSpec,
    *,
    progress: bool = True,
) -> References:
    """Find the nearest known crystals, and encode them with the elements and the volume asked for.

    Args:
        library: The known crystals.
        protostructures: What is asked for; where there is none, there is no reference.
        layout: What the columns of whole vectors mean.
        progress: Whether to show bars.
    """
    bar = progress_bar(protostructures, desc="templates", unit="crystal", disable=not progress)
    found: list[Template | None] = []
    for one in bar:
        nearest = [] if one is None else library.nearest(one)
        found.append(nearest[0] if nearest else None)
    representation = layout.representation()
    width = max(part.stop for part in symmetric_blocks(representation).values())
    vectors = torch.zeros(len(found), width)
    distances = torch.full((len(found),), torch.nan)
    rows = [row for row, template in enumerate(found) if template is not None]
    chosen = [template for template in found if template is not None]
    if chosen:
        known = [one for row in rows if (one := protostructures[row]) is not None]
        cells = torch.stack([torch.from_numpy(template.cell) for template in chosen])
        free = torch.cat([torch.from_numpy(template.free) for template in chosen])
        batch = orbit_maps(known).crystals(free, cells)
        whole = encode_batch(
            batch.to(dtype=torch.float32), representation, device=torch.device("cpu"), progress=progress
        )
        table = SymmetryTable.without_coordinates(known, cells)
        vectors[rows] = to_symmetric_vectors(whole, table, representation)
        distances[rows] = torch.tensor([template.distance for template in chosen])
    return References(vectors=vectors, distances=distances, templates=tuple(found))
