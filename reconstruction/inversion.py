"""A reconstruction to be made: what is sought, and how; group by group."""

import time
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors import lattice as cells
from descriptors.base import Descriptor, padded_distances
from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from descriptors.registry import unknown
from descriptors.representation import Representation
from reconstruction.basin_hopping import search
from reconstruction.confidence import Confidence, Evidence, find_confidence
from reconstruction.decode import Decoded, decode
from reconstruction.given_symmetry import GivenSymmetry, impose
from reconstruction.objective import Objective, closest_radii
from reconstruction.orbit_inversion import invert_orbits, plan_orbits
from reconstruction.out_of_memory import is_out_of_memory, let_go
from reconstruction.plan import plan
from reconstruction.presets import SEARCHES, Search
from reconstruction.result import Reconstructed, ReconstructionResult, join_results, nothing_found

if TYPE_CHECKING:
    from collections.abc import Generator

PATIENCE = 2  # rounds without a lower minimum before the search for an inexact vector stops
AGREEING = 3  # trials that must find the same minimum before the search for an inexact vector stops
CLOSEST_PACKING = 2 ** (1 / 6)  # shortest distance over the cube root of the volume per atom, at most


@dataclass(frozen=True, kw_only=True)
class Inversion:
    """Vectors to be turned into crystals, and how; `prepare` makes one.

    Attributes:
        decoded: What the vectors say without a search.
        groups: Rows that are searched together; the result depends on them and on the seed, on nothing else.
        descriptor: The one the vectors were made with, on the device.
        search: How long and how to search.
        exact: Whether the vectors belong to true crystals.
        seed: Seed of the random starts.
        device: Where to compute.
        confidence: What turns losses into probabilities, if known.
        confidence_of_given: The same for crystals of given symmetry.
        symmetry: Protostructures and cells that are given, if any are.
    """

    decoded: Decoded
    groups: list[list[int]]
    descriptor: Descriptor
    search: Search
    exact: bool
    seed: int
    device: torch.device
    confidence: Confidence | None
    confidence_of_given: Confidence | None = None
    symmetry: GivenSymmetry | None = None

    def run(self, rows: Sequence[int]) -> ReconstructionResult:
        """Search for the crystals of one group.

        Where memory is not enough the group is halved, and so on down to one crystal, which is refused if it alone does
        not fit. The halves get the results that they would get as groups of their own: as with another seed, no worse.
        """
        began = time.perf_counter()
        with _one_thread() if self.device.type == "cpu" else nullcontext():
            found = self._search(rows)
        if found is None:
            if len(rows) == 1:
                return self.refused(rows, self.too_large(rows[0]))
            let_go()
            middle = (len(rows) + 1) // 2
            return join_results([self.run(rows[:middle]), self.run(rows[middle:])])
        return self._result(rows, found, time.perf_counter() - began)

    def refused(self, rows: Sequence[int], reason: str) -> ReconstructionResult:
        """Return the result of a group that gives no crystal, for a reason."""
        nothing = nothing_found(self.decoded.unsearched([]))
        return replace(nothing, refused=dict.fromkeys(rows, reason))

    def too_large(self, row: int) -> str:
        """Return the reason of a crystal that does not fit into the memory."""
        n_atoms, elsewhere = len(self.decoded.atomic_numbers[row]), "use the device cpu, or "
        return (
            f"a cell of {n_atoms} atoms with {self.search.n_proposals} trials does not fit into the memory of "
            f"{self.device}: {elsewhere if self.device.type != 'cpu' else ''}use a search of fewer trials"
        )

    def _search(self, rows: Sequence[int]) -> Reconstructed | None:
        """Search once; None if the memory is not enough."""
        decoded, chosen, symmetry = self.decoded, list(rows), self.symmetry
        generator = torch.Generator(device=self.device)
        generator.manual_seed((self.seed * 1_000_003 + rows[0]) % 2**63)
        try:
            if symmetry is not None and symmetry.protostructures[rows[0]] is not None:
                return invert_orbits(
                    rows,
                    decoded,
                    symmetry,
                    self.descriptor,
                    self.search,
                    exact=self.exact,
                    generator=generator,
                )
            start = decoded.unsearched(rows).to(self.device, dtype=torch.float32)
            objective = Objective(
                descriptor=self.descriptor,
                targets=decoded.features[chosen].to(self.device, dtype=torch.float32),
                shortest=decoded.shortest[chosen].to(self.device, dtype=torch.float32),
                repulsion=self.search.repulsion,
                radii=closest_radii(exact=self.exact, device=self.device),
            )
            return search(start, objective, self.search, generator=generator)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _result(self, rows: Sequence[int], found: Reconstructed, seconds: float) -> ReconstructionResult:
        """Add to what the search says what is known besides, on the CPU."""
        batch, losses = found.batch.to("cpu"), found.losses.cpu()
        n_evaluations, n_agreeing = found.n_evaluations.cpu(), found.n_agreeing.cpu()
        confidence = torch.full_like(losses, torch.nan)
        fitted = self.confidence if found.placed is None else self.confidence_of_given
        if fitted is not None:
            confidence = fitted.predict(Evidence.of(batch, losses, n_agreeing))
        shares = n_evaluations.to(losses) / n_evaluations.sum().clamp(min=1)
        return ReconstructionResult(
            batch=batch,
            rows=list(rows),
            losses=losses,
            n_evaluations=n_evaluations,
            seconds=seconds * shares,
            stopped=found.stopped,
            n_agreeing=n_agreeing,
            confidence=confidence,
            shortest_distances=shortest_distances(batch),
            composition_residuals=self.decoded.residuals[list(rows)].to(losses),
            cell_repairs=[self.decoded.repaired[row] for row in rows],
            placed=list(found.placed) if found.placed is not None else [None] * len(rows),
        )


def prepare(
    vectors: Float[Tensor, "n_vectors n_columns"],
    representation: Representation | Descriptor,
    *,
    search: str | Search = "default",
    exact: bool,
    seed: int = 0,
    device: torch.device | str = "cpu",
    max_atoms: int = 300,
    symmetry: GivenSymmetry | None = None,
) -> Inversion:
    """Read formulas and cells off representation vectors, and plan the search for the positions.

    Args:
        vectors: One a row, as `Representation.encode` makes them, in physical units.
        representation: What the columns mean. A descriptor stands for its representation with one composition column
            for each element from hydrogen on, as many as there are.
        search: A name of `SEARCHES`, or settings.
        exact: Whether the vectors belong to true crystals. Otherwise no loss near zero can be expected: the search
            for a crystal ends as soon as three trials have found the same minimum, or two rounds have found none that
            is lower, unless the settings say how many.
        seed: Seed of the random starts.
        device: Where to search.
        max_atoms: Vectors that ask for more atoms are refused.
        symmetry: Protostructures and cells; only the free coordinates of such crystals are sought, and if the vectors
            are not exact, their cells near the given ones. They are groups of their own.

    Raises:
        ValueError: If there is no search of that name, the vectors have not the columns of the representation, or
            there is not one protostructure (or None) for each.
    """
    if isinstance(representation, Descriptor):
        n_others = 8  # the shortest distance, the number of atoms, six of the cell
        n_elements = vectors.shape[1] - representation.n_features - n_others
        representation = Representation(
            descriptor=representation, elements=tuple(range(1, max(n_elements, 1) + 1))
        )
    if isinstance(search, str) and search not in SEARCHES:
        raise ValueError(unknown("search", search, sorted(SEARCHES)))
    settings = SEARCHES[search] if isinstance(search, str) else search
    # A limit leaves the loss its meaning.
    unlimited = replace(settings, max_evaluations=0, max_seconds=0.0)
    preset = next((name for name, known in SEARCHES.items() if known == unlimited), None)
    descriptor, place = representation.descriptor, torch.device(device)
    confidence, of_given = None, None
    if exact and preset:
        confidence = find_confidence(descriptor, preset)
        of_given = find_confidence(descriptor, preset, given_symmetry=True) if symmetry is not None else None
    known = vectors.detach().cpu()
    decoded = decode(known, representation, max_atoms=max_atoms)
    given: list[int] = []
    if symmetry is not None:
        decoded = impose(decoded, known, representation, symmetry, exact=exact, max_atoms=max_atoms)
        given = [
            row
            for row, (protostructure, reason) in enumerate(
                zip(symmetry.protostructures, decoded.reasons, strict=True)
            )
            if protostructure is not None and reason is None
        ]
    groups = plan(decoded, descriptor, settings, device=place, leave_out=given)
    if symmetry is not None:
        groups += plan_orbits(symmetry, given, device=place)
    if not exact:
        settings = replace(
            settings, n_agreeing=settings.n_agreeing or AGREEING, patience=settings.patience or PATIENCE
        )
    return Inversion(
        decoded=decoded,
        groups=groups,
        descriptor=descriptor.to(place),
        search=settings,
        exact=exact,
        seed=seed,
        device=place,
        confidence=confidence,
        confidence_of_given=of_given,
        symmetry=symmetry,
    )


def shortest_distances(batch: CrystalBatch) -> Float[Tensor, " n_systems"]:
    """Return the shortest distance of any two atoms of each crystal through all images, Å.

    Balls of that diameter do not overlap, so it is at most that of the closest packing of as many balls.
    """
    volumes = cells.volume(batch.lattice) / batch.n_atoms_per_system
    reach = CLOSEST_PACKING * float(volumes.max()) ** (1 / 3) * 1.001 if batch.n_systems else 1.0
    neighborhood = find_neighborhood(batch, reach)
    nearest = padded_distances(
        neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice), absent=reach
    ).amin(1)
    shortest = nearest.new_full((batch.n_systems,), torch.inf)
    return shortest.scatter_reduce(0, batch.system_idx, nearest, "amin")


@contextmanager
def _one_thread() -> "Generator[None, None, None]":
    """Compute with one thread: sums then do not depend on the number of cores, and small arrays are faster."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
