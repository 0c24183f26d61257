"""Basin hopping of many crystals at once: several trials a crystal, each a chain of hops and descents."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from reconstruction import initialize
from reconstruction.minimize import Descended, Descent, descend
from reconstruction.objective import Objective
from reconstruction.result import AGREED, SOLVED, SPENT, Reconstructed

SCREEN_SHARE = 0.5  # of the first step length, reached at the end of the screening
MOVES = ("displace", "swap", "relocate", "restart")


@dataclass(frozen=True, kw_only=True)
class Search:
    """Settings of a basin-hopping search.

    Attributes:
        n_trials: Independent chains for each crystal.
        n_hops: Descents of each chain at most, the first from a random start included.
        n_steps: Adam iterations of each descent.
        n_screen: Of these, so many are done by all trials; 0 for all.
        n_kept: Trials of a crystal, the lowest after the screening, that do the rest.
        learning_rate: First step length of a descent, Å.
        moves: Relative frequency of each hop; see `reconstruction.initialize`.
        hop_size: Range of the "displace" hop, Å.
        solved_below: A crystal whose loss is below this is done.
        n_agreeing: A crystal is done when so many trials have found the same lowest loss (within 1 %); 0 turns
            this off.
        n_polish: Adam iterations of the last descent, from the best point, at a fifth of the rate.
        repulsion: Weight of the overlap term of the objective, Å⁻².
    """

    n_trials: int
    n_hops: int
    n_steps: int
    learning_rate: float
    n_screen: int = 0
    n_kept: int = 1
    moves: Mapping[str, float] = field(default_factory=lambda: {"displace": 1.0})
    hop_size: float = 1.0
    solved_below: float = 2e-4
    n_agreeing: int = 0
    n_polish: int = 100
    repulsion: float = 1.0

    def __post_init__(self) -> None:
        if min(self.n_trials, self.n_hops, self.n_steps) < 1:
            raise ValueError(
                f"{self.n_trials} trials × {self.n_hops} hops × {self.n_steps} steps, expected at least 1 of each"
            )
        if not (0 <= self.n_screen < self.n_steps and 1 <= self.n_kept <= self.n_trials):
            raise ValueError(
                f"{self.n_kept} of {self.n_trials} trials kept after {self.n_screen} of {self.n_steps} steps, "
                "expected no more than there are"
            )
        if self.learning_rate <= 0:
            raise ValueError(f"learning rate is {self.learning_rate} Å, expected a positive length")
        if not self.moves or not set(self.moves) <= set(MOVES):
            raise ValueError(f"moves are {sorted(self.moves)}, expected some of {', '.join(MOVES)}")


HOPS = {"swap": 0.35, "relocate": 0.25, "displace": 0.1, "restart": 0.3}
SEARCHES = {
    "default": Search(
        n_trials=20, n_hops=10, n_steps=150, n_screen=40, n_kept=5, learning_rate=0.3, moves=HOPS
    ),
    "fast": Search(n_trials=16, n_hops=3, n_steps=120, n_screen=40, n_kept=4, learning_rate=0.3, moves=HOPS),
    "paper": Search(n_trials=6, n_hops=7, n_steps=300, learning_rate=0.2),
}


def search(
    start: CrystalBatch, objective: Objective, settings: Search, *, generator: torch.Generator
) -> Reconstructed:
    """Find crystals with the target vectors; cells and elements are given, positions are sought.

    Args:
        start: Cells and elements; its positions are ignored. All crystals have the same number of atoms.
        objective: One target for each crystal.
        settings: How long and how to search.
        generator: Source of all randomness, on the device of the batch.

    Raises:
        ValueError: If crystals differ in size.
    """
    size = start.n_atoms // max(start.n_systems, 1)
    if not bool((start.n_atoms_per_system == size).all()):
        raise ValueError("crystals differ in their number of atoms, expected one size in a call")
    chains = _Chains.begin(start, settings)
    stopped = [SPENT] * start.n_systems
    active = torch.arange(start.n_systems, device=start.device)
    for hop in range(settings.n_hops):
        proposals = chains.propose(active, settings, first=hop == 0, generator=generator)
        target = objective.select(active.repeat_interleave(settings.n_trials))
        chains.accept(active, _descend_trials(proposals, target, settings))
        lowest = chains.losses[active].amin(1)
        solved = lowest < settings.solved_below
        agreeing = chains.n_agreeing()[active]
        agreed = agreeing >= settings.n_agreeing if settings.n_agreeing else torch.zeros_like(solved)
        for row, is_solved, is_agreed in zip(
            *map(torch.Tensor.tolist, (active, solved, agreed)), strict=True
        ):
            if is_solved or is_agreed:
                stopped[row] = SOLVED if is_solved else AGREED
        active = active[~(solved | agreed)]
        if len(active) == 0:
            break
    return _finish(chains, objective, settings, stopped)


def _descend_trials(proposals: CrystalBatch, target: Objective, settings: Search) -> Descended:
    """Descend all trials for a while, and those that are lowest then to the end."""
    rest = Descent(
        n_steps=settings.n_steps - settings.n_screen,
        learning_rate=settings.learning_rate,
        solved_below=settings.solved_below,
    )
    if not settings.n_screen:
        return descend(proposals, target, rest)
    screen = Descent(
        n_steps=settings.n_screen, learning_rate=settings.learning_rate, final_share=SCREEN_SHARE
    )
    screened = descend(proposals, target, screen)
    ranks = screened.losses.reshape(-1, settings.n_trials).argsort(1)[:, : settings.n_kept]
    first = torch.arange(len(ranks), device=ranks.device)[:, None] * settings.n_trials
    kept = (first + ranks).flatten()
    rest = replace(rest, learning_rate=settings.learning_rate * SCREEN_SHARE)
    finished = descend(screened.batch.select(kept), target.select(kept), rest)
    size = proposals.n_atoms // proposals.n_systems
    better = finished.losses < screened.losses[kept]
    frac = screened.batch.frac_coords.reshape(-1, size, 3).clone()
    moved = finished.batch.frac_coords.reshape(-1, size, 3)
    frac[kept] = torch.where(better[:, None, None], moved, frac[kept])
    losses, spent = screened.losses.clone(), screened.n_evaluations.clone()
    losses[kept] = torch.where(better, finished.losses, losses[kept])
    spent[kept] += finished.n_evaluations
    batch = replace(screened.batch, frac_coords=frac.reshape(-1, 3))
    return Descended(batch=batch, losses=losses, n_evaluations=spent)


def _finish(chains: "_Chains", objective: Objective, settings: Search, stopped: list[str]) -> Reconstructed:
    """Polish the best point of each crystal and measure it with a fresh neighbour table."""
    best = chains.best()
    spent = chains.spent
    if settings.n_polish:
        polished = descend(
            best, objective, Descent(n_steps=settings.n_polish, learning_rate=settings.learning_rate / 5)
        )
        spent = spent + polished.n_evaluations
        candidates = (best, polished.batch)
    else:
        candidates = (best, best)
    plain = replace(objective, repulsion=0.0)
    losses = []
    for batch in candidates:
        neighborhood = find_neighborhood(batch, objective.descriptor.cutoff)
        with torch.no_grad():
            losses.append(plain(neighborhood, neighborhood.vectors(batch.frac_coords, batch.lattice)))
    better = losses[1] < losses[0]
    frac = torch.where(better[best.system_idx, None], candidates[1].frac_coords, best.frac_coords)
    return Reconstructed(
        batch=replace(best, frac_coords=frac).wrapped(),
        losses=torch.minimum(*losses),
        n_evaluations=spent.long(),
        stopped=stopped,
        n_agreeing=chains.n_agreeing(),
    )


@dataclass(kw_only=True)
class _Chains:
    """The best point that each trial of each crystal has visited."""

    start: CrystalBatch
    frac_coords: Float[Tensor, "n_systems n_trials size 3"]
    losses: Float[Tensor, "n_systems n_trials"]
    spent: Float[Tensor, " n_systems"]

    @classmethod
    def begin(cls, start: CrystalBatch, settings: Search) -> "_Chains":
        size = start.n_atoms // max(start.n_systems, 1)
        shape = (start.n_systems, settings.n_trials)
        return cls(
            start=start,
            frac_coords=start.lattice.new_zeros(*shape, size, 3),
            losses=start.lattice.new_full(shape, torch.inf),
            spent=start.lattice.new_zeros(start.n_systems),
        )

    def propose(
        self, active: Int[Tensor, " n_active"], settings: Search, *, first: bool, generator: torch.Generator
    ) -> CrystalBatch:
        """Return one hop of every trial of the active crystals, from the trial's own best point."""
        replicas = self.start.select(active.repeat_interleave(settings.n_trials))
        size = self.frac_coords.shape[2]
        frac = initialize.random_positions(
            replicas.n_systems, size, dtype=replicas.dtype, generator=generator
        )
        if not first:
            here = self.frac_coords[active].flatten(0, 1)
            numbers = replicas.atomic_numbers.reshape(-1, size)
            hops = {
                "displace": lambda: initialize.displace(
                    here, replicas.lattice, size=settings.hop_size, generator=generator
                ),
                "swap": lambda: initialize.swap(here, numbers, generator=generator),
                "relocate": lambda: initialize.relocate(here, replicas.lattice, generator=generator),
                "restart": lambda: frac,
            }
            names = sorted(settings.moves)
            odds = torch.tensor([settings.moves[name] for name in names], device=generator.device)
            chosen = torch.multinomial(odds, replicas.n_systems, replacement=True, generator=generator)
            proposed = torch.stack([hops[name]() for name in names])
            frac = proposed[chosen, torch.arange(replicas.n_systems, device=generator.device)]
        return replace(replicas, frac_coords=frac.reshape(-1, 3))

    def accept(self, active: Int[Tensor, " n_active"], outcome: Descended) -> None:
        """Move each trial to where its descent ended if that is lower."""
        n_trials, size = self.losses.shape[1], self.frac_coords.shape[2]
        losses = outcome.losses.reshape(-1, n_trials)
        frac = outcome.batch.frac_coords.reshape(-1, n_trials, size, 3)
        better = losses < self.losses[active]
        self.frac_coords[active] = torch.where(better[..., None, None], frac, self.frac_coords[active])
        self.losses[active] = torch.where(better, losses, self.losses[active])
        self.spent[active] += outcome.n_evaluations.reshape(-1, n_trials).sum(1)

    def best(self) -> CrystalBatch:
        """Return the lowest point of each crystal."""
        rows = torch.arange(len(self.losses), device=self.losses.device)
        frac = self.frac_coords[rows, self.losses.argmin(1)]
        return replace(self.start, frac_coords=frac.reshape(-1, 3))

    def n_agreeing(self) -> Int[Tensor, " n_systems"]:
        """Count the trials whose best loss is within 1 % of the crystal's lowest."""
        return (self.losses <= self.losses.amin(1, keepdim=True) * 1.01).sum(1)
