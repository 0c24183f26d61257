"""What a search returns, and what a reconstruction returns."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch, join

SOLVED = "solved"
AGREED = "trials agree"
STALLED = "no progress"
SPENT = "budget spent"
NEAR = "near its template"


@dataclass(frozen=True)
class Placed:
    """Where a crystal of given symmetry was found.

    Attributes:
        start: "random" or "template": what kind of start led to it.
        cell: Free parameters of the conventional cell, Å and degrees, as `descriptors.symmetry.unit_cell` orders them.
        free: Free coordinates of the orbits of its protostructure, in [0, 1).
    """

    start: str
    cell: tuple[float, ...]
    free: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """Crystals found for target vectors, in the order of the targets.

    Attributes:
        batch: The crystals, atoms wrapped into the cell.
        losses: Relative L1 error of each crystal's descriptor, without the overlap term.
        n_evaluations: Evaluations of the descriptor spent on each, with gradient or (to screen and to refine) without.
        stopped: Why the search ended: "solved" (loss below the threshold), "trials agree" (independent trials ended
            in the same minimum), "no progress" (no lower minimum for some rounds), "near its template" (a known crystal
            led to a low loss) or "budget spent".
        n_agreeing: Trials whose best loss is that of the lowest, within 1 %, or 0.3 % for an exact vector whose
            protostructure is given.
        placed: Where each was found, if its symmetry was given; else None.
    """

    batch: CrystalBatch
    losses: Float[Tensor, " n_systems"]
    n_evaluations: Int[Tensor, " n_systems"]
    stopped: list[str]
    n_agreeing: Int[Tensor, " n_systems"]
    placed: list[Placed] | None = None


@dataclass(frozen=True, kw_only=True)
class ReconstructionResult:
    """Crystals found for representation vectors, on the CPU; of one group, or of all.

    Attributes:
        batch: The crystals, atoms wrapped into the cell.
        rows: Which vector each belongs to.
        losses: Relative L1 error of each crystal's descriptor, without the overlap term.
        n_evaluations: Descriptor-and-gradient evaluations spent on each.
        seconds: Spent on each: its share, by evaluations, of the time of its group.
        stopped: Why the search ended: "solved", "trials agree" or "budget spent"; see `Reconstructed`.
        n_agreeing: Trials that found the lowest loss.
        confidence: Probability that each is the crystal its vector was made of; NaN if the vectors are not exact, or
            if nothing is fitted to this descriptor and search. See `reconstruction.confidence`.
        shortest_distances: Shortest distance between any two atoms of each crystal, periodic images included, Å.
        composition_residuals: Σ|n f - count| of the formula, atoms: how far the vector was from it.
        cell_repairs: What was changed in the vector's cell, or None.
        placed: Where each was found, if its symmetry was given; else None.
        refused: Vectors that make no crystal: the reason by row.
    """

    batch: CrystalBatch
    rows: list[int]
    losses: Float[Tensor, " n_found"]
    n_evaluations: Int[Tensor, " n_found"]
    seconds: Float[Tensor, " n_found"]
    stopped: list[str]
    n_agreeing: Int[Tensor, " n_found"]
    confidence: Float[Tensor, " n_found"]
    shortest_distances: Float[Tensor, " n_found"]
    composition_residuals: Float[Tensor, " n_found"]
    cell_repairs: list[str | None]
    placed: list[Placed | None]
    refused: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Count the crystals found."""
        return len(self.rows)

    def labels(self, place: int) -> dict[str, float | int | str | None]:
        """Return what is known of one crystal as plain values; a confidence that nobody knows is None.

        The free cell parameters and free coordinates of a crystal of given symmetry are numbers with spaces between.
        """
        confidence, placed = float(self.confidence[place]), self.placed[place]
        labels: dict[str, float | int | str | None] = {
            "loss": float(self.losses[place]),
            "confidence": None if confidence != confidence else confidence,
            "n_evaluations": int(self.n_evaluations[place]),
            "seconds": float(self.seconds[place]),
            "stopped": self.stopped[place],
            "n_agreeing": int(self.n_agreeing[place]),
            "shortest_distance": float(self.shortest_distances[place]),
            "composition_residual": float(self.composition_residuals[place]),
            "cell_repair": self.cell_repairs[place],
            "start": "random" if placed is None else placed.start,
        }
        if placed is not None:
            labels["cell_parameters"] = " ".join(f"{value:.9g}" for value in placed.cell)
            labels["free_coordinates"] = " ".join(f"{value:.9g}" for value in placed.free)
        return labels

    def in_order(self) -> "ReconstructionResult":
        """Return the same with ascending rows."""
        order = sorted(range(len(self.rows)), key=self.rows.__getitem__)
        places = torch.tensor(order, dtype=torch.long)
        return replace(
            self,
            batch=self.batch.select(places),
            rows=[self.rows[place] for place in order],
            losses=self.losses[places],
            n_evaluations=self.n_evaluations[places],
            seconds=self.seconds[places],
            stopped=[self.stopped[place] for place in order],
            n_agreeing=self.n_agreeing[places],
            confidence=self.confidence[places],
            shortest_distances=self.shortest_distances[places],
            composition_residuals=self.composition_residuals[places],
            cell_repairs=[self.cell_repairs[place] for place in order],
            placed=[self.placed[place] for place in order],
        )


def join_results(parts: Sequence[ReconstructionResult]) -> ReconstructionResult:
    """Put results one after another into one.

    Raises:
        ValueError: If there is none.
    """
    return ReconstructionResult(
        batch=join([part.batch for part in parts]),
        rows=[row for part in parts for row in part.rows],
        losses=torch.cat([part.losses for part in parts]),
        n_evaluations=torch.cat([part.n_evaluations for part in parts]),
        seconds=torch.cat([part.seconds for part in parts]),
        stopped=[reason for part in parts for reason in part.stopped],
        n_agreeing=torch.cat([part.n_agreeing for part in parts]),
        confidence=torch.cat([part.confidence for part in parts]),
        shortest_distances=torch.cat([part.shortest_distances for part in parts]),
        composition_residuals=torch.cat([part.composition_residuals for part in parts]),
        cell_repairs=[note for part in parts for note in part.cell_repairs],
        placed=[place for part in parts for place in part.placed],
        refused={row: reason for part in parts for row, reason in part.refused.items()},
    )


def nothing_found(nothing: CrystalBatch) -> ReconstructionResult:
    """Return the result for no vectors, given a batch of no crystals."""
    none, no_count = torch.zeros(0), torch.zeros(0, dtype=torch.long)
    return ReconstructionResult(
        batch=nothing.to(dtype=torch.float32),
        rows=[],
        losses=none,
        n_evaluations=no_count,
        seconds=none,
        stopped=[],
        n_agreeing=no_count,
        confidence=none,
        shortest_distances=none,
        composition_residuals=none,
        cell_repairs=[],
        placed=[],
    )
