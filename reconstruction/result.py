"""What a reconstruction returns."""

from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch

SOLVED = "solved"
AGREED = "trials agree"
SPENT = "budget spent"


@dataclass(frozen=True, kw_only=True)
class Reconstructed:
    """Crystals found for target vectors, in the order of the targets.

    Attributes:
        batch: The crystals, atoms wrapped into the cell.
        losses: Relative L1 error of each crystal's descriptor, without the overlap term.
        n_evaluations: Descriptor-and-gradient evaluations spent on each.
        stopped: Why the search ended: "solved" (loss below the threshold), "trials agree" (independent trials
            ended in the same minimum) or "budget spent".
        n_agreeing: Trials whose best loss is within 1 % of the lowest.
    """

    batch: CrystalBatch
    losses: Float[Tensor, " n_systems"]
    n_evaluations: Int[Tensor, " n_systems"]
    stopped: list[str]
    n_agreeing: Int[Tensor, " n_systems"]
