"""Diffusion of the elements of atoms by masking: each is hidden at a random time, and guessed on the way back.

This is a discrete process with an absorbing state. With β_t = 1 / (T - t) for t = 0 ... T - 1, each step hides as
many atoms as any other on average: after step t the share (t + 1) / T is hidden, after the last one all are. A
hidden atom has the number 0, which no element has.

What is not hidden is certain, so that the network is asked for hidden atoms alone.

Source: Austin et al., arXiv 2107.03006 (D3PM), section 3.1 and appendix A.2.2; Zeni et al., arXiv 2312.03687.
"""

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from repdiff.settings.backends.mattergen import TypeLoss

MASK = 0
"""Number of a hidden atom."""

HYBRID_SHARE = 0.01  # weight of the cross-entropy in the hybrid loss, as published for MatterGen


@dataclass(frozen=True)
class Masking:
    """The process.

    Args:
        n_times: T.

    Raises:
        ValueError: If there are fewer than two times.
    """

    n_times: int

    def __post_init__(self) -> None:
        """Check the value."""
        if self.n_times < 2:
            raise ValueError(f"{self.n_times} times of masking, expected 2 or more")

    def hidden_share(self, times: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the probability that an atom is hidden; 0 at time -1, before the first step."""
        return (times + 1) / self.n_times

    def hide(
        self,
        numbers: Int[Tensor, " n_atoms"],
        times: Int[Tensor, " n_atoms"],
        chances: Float[Tensor, " n_atoms"],
    ) -> Int[Tensor, " n_atoms"]:
        """Draw the atoms' numbers at a time, given the true ones.

        Args:
            numbers: Atomic numbers.
            times: Time of each atom.
            chances: Uniform in [0, 1).
        """
        return torch.where(chances < self.hidden_share(times), MASK, numbers)

    def add_step(
        self,
        before: Int[Tensor, " n_atoms"],
        times: Int[Tensor, " n_atoms"],
        chances: Float[Tensor, " n_atoms"],
    ) -> Int[Tensor, " n_atoms"]:
        """Draw the numbers after the one step that ends at `times`, which hides with β = 1 / (T - t)."""
        return torch.where(chances < 1 / (self.n_times - times), MASK, before)

    def reveal(
        self,
        hidden: Int[Tensor, " n_atoms"],
        guesses: Int[Tensor, " n_atoms"],
        chances: Float[Tensor, " n_atoms"],
        *,
        time: int,
        time_next: int,
    ) -> Int[Tensor, " n_atoms"]:
        """Draw the numbers at an earlier time, for any earlier time.

        A hidden atom stays hidden with the ratio of the two shares, as in q(x_s | x_t, x_0); one that is shown keeps
        its number. At time -1 all are shown.

        Args:
            hidden: Numbers at `time`.
            guesses: Number of each atom drawn from what the network believes.
            chances: Uniform in [0, 1).
            time: Time step of `hidden`.
            time_next: The earlier time, -1 for the end.
        """
        stays = (time_next + 1) / (time + 1)
        return torch.where((hidden == MASK) & (chances >= stays), guesses, hidden)


def type_errors(
    logits: Float[Tensor, "n_atoms n_types"],
    targets: Int[Tensor, " n_atoms"],
    hidden: Bool[Tensor, " n_atoms"],
    times: Int[Tensor, " n_atoms"],
    *,
    kind: TypeLoss,
) -> Float[Tensor, " n_atoms"]:
    """Return the loss of each atom.

    The loss "cross_entropy" is -log p(x_0 | x_t) of hidden atoms, zero for those that are shown. The loss "hybrid" is
    one term of the variational bound plus 0.01 of the cross-entropy of all atoms, hidden or not. In the bound the
    divergence of q(x_{t-1} | x_t, x_0) from the network's is -log p(x_0 | x_t) / (t + 1) where an atom is hidden,
    because a step back shows one of t + 1 hidden atoms, and zero where it is shown.

    Args:
        logits: Logits of each element.
        targets: Column of the true element.
        hidden: Which atoms are hidden.
        times: Time t of each atom, from 0, the least noisy.
        kind: Which loss.

    Source: Austin et al., arXiv 2107.03006 (D3PM), eq. 5 and appendix A.3; λ = 0.01 and the term of visible atoms as
    in MatterGen's program (`mattergen/diffusion/d3pm/d3pm.py`, `compute_kl_reverse_process`, read in public forks of
    microsoft/mattergen).
    """
    surprise = torch.nn.functional.cross_entropy(logits.float(), targets, reduction="none")
    if kind == "cross_entropy":
        return surprise * hidden
    return surprise * (hidden / (times + 1) + HYBRID_SHARE)


def only_these(
    logits: Float[Tensor, "n_atoms n_types"],
    elements: Int[Tensor, " n_types"],
    allowed: Collection[int],
) -> Float[Tensor, "n_atoms n_types"]:
    """Rule out all elements but some: a given chemical system.

    Args:
        logits: Logits of the elements of each atom.
        elements: Atomic number of each column.
        allowed: Atomic numbers that may be drawn.

    Raises:
        ValueError: If no column is left.
    """
    keep = torch.isin(elements, torch.tensor(sorted(allowed), device=elements.device))
    if not bool(keep.any()):
        raise ValueError(f"elements {sorted(allowed)}, expected one of {elements.tolist()} among them")
    return logits.masked_fill(~keep, -torch.inf)


def draw_types(
    logits: Float[Tensor, "n_atoms n_types"], chances: Float[Tensor, " n_atoms"], *, temperature: float
) -> Int[Tensor, " n_atoms"]:
    """Draw a column for each atom by inverting the cumulative probabilities, in double precision.

    Args:
        logits: Finite, but for columns ruled out.
        chances: Uniform in [0, 1).
        temperature: Divisor of the logits; below 1 likelier elements are favoured.
    """
    cumulative = (logits.double() / temperature).softmax(1).cumsum(1)
    picked = torch.searchsorted(cumulative, chances.double()[:, None] * cumulative[:, -1:], right=True)[:, 0]
    return picked.clamp(max=logits.shape[1] - 1)
