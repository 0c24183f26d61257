"""Search of many crystals at once, in rounds: propose, screen the proposals by short descents, finish the lowest."""

import math
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from descriptors import lattice as cells
from descriptors.batch import CrystalBatch
from descriptors.neighbors import find_neighborhood
from reconstruction import initialize
from reconstruction.minimize import SKIN, Descended, Descent, descend
from reconstruction.objective import Objective
from reconstruction.population import Population
from reconstruction.presets import Rung, Search
from reconstruction.refine import refine
from reconstruction.result import Reconstructed
from reconstruction.stopping import Stopping
from reconstruction.symmetry import SymmetricStarts

N_GROUPS = 40  # space groups prepared for each crystal at most
MOST_EXCHANGES = 1000  # of a minimum that are tried
FEWEST_NEIGHBORS = 20  # that the last stage of the descriptor must see on average to be matched alone
CPU_SLOTS, GPU_SLOTS = 1_500_000, 8_000_000  # in the neighbour tables of one evaluation, 200 bytes each


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
    numbers = start.atomic_numbers.reshape(start.n_systems, size)
    if not bool((numbers != numbers[:, :1]).any()):
        settings = settings.of_one_element()
    stopping = Stopping.begin(settings, start.lattice.new_full((start.n_systems,), torch.inf))
    state = _State.begin(start, objective, settings, generator)
    for _ in range(settings.n_rounds):
        state.round(stopping.active)
        population = state.population
        if not stopping.after_round(
            population.lowest()[1], spent=state.spent, n_agreeing=population.n_agreeing
        ):
            break
    return _finish(state, stopping.reasons)


@dataclass(kw_only=True)
class _State:
    """What a search carries from round to round; `exchanged` are losses of the minima whose atoms were exchanged."""

    start: CrystalBatch
    objective: Objective
    last_stage: Objective
    settings: Search
    generator: torch.Generator
    population: Population
    symmetric: SymmetricStarts | None
    several: Bool[Tensor, " n_systems"]
    spent: Float[Tensor, " n_systems"]
    exchanged: Float[Tensor, " n_systems"]

    @classmethod
    def begin(
        cls, start: CrystalBatch, objective: Objective, settings: Search, generator: torch.Generator
    ) -> "_State":
        size = start.n_atoms // max(start.n_systems, 1)
        numbers = start.atomic_numbers.reshape(-1, size)
        symmetric = None
        if settings.symmetric:
            symmetric = SymmetricStarts.prepare(
                start.lattice, numbers, objective.shortest, n_groups=N_GROUPS, generator=generator
            )
        return cls(
            start=start,
            objective=objective,
            last_stage=_last_stage(start, objective, numbers),
            settings=settings,
            generator=generator,
            population=Population.empty(start, settings.n_kept),
            symmetric=symmetric,
            several=(numbers != numbers[:, :1]).any(1),
            spent=start.lattice.new_zeros(start.n_systems),
            exchanged=start.lattice.new_full((start.n_systems,), torch.inf),
        )

    def round(self, active: Int[Tensor, " n_active"]) -> None:
        """Propose, descend rung by rung, and remember where the lowest ended."""
        frac, parents = self._propose(active)
        systems = active.repeat_interleave(self.settings.n_proposals)
        parents = parents.flatten()
        proposals = replace(self.start.select(systems), frac_coords=frac.reshape(-1, 3))
        n_done, outcome = 0, None
        for rung in self.settings.rungs:
            if outcome is not None:
                ranks = outcome.losses.reshape(len(active), -1).argsort(1)[:, : rung.n_trials]
                width = len(systems) // len(active)
                kept = (torch.arange(len(active), device=ranks.device)[:, None] * width + ranks).flatten()
                systems, parents, proposals = systems[kept], parents[kept], outcome.batch.select(kept)
            outcome = self._descend(proposals, systems, rung, n_done)
            n_done += rung.n_steps
        assert outcome is not None
        n_trials = len(systems) // len(active)
        losses = outcome.losses
        if rung.last_stage:
            losses = self._measure(outcome.batch, systems, self.objective)
        losses = losses.reshape(-1, n_trials)
        frac = outcome.batch.frac_coords.reshape(len(active), n_trials, -1, 3)
        before = self.population.losses[active].amin(1)
        for trial in range(n_trials):
            self.population.add(
                active, frac[:, trial], losses[:, trial], parents.reshape(-1, n_trials)[:, trial]
            )
        improved = active[self.population.losses[active].amin(1) < before]
        if len(improved):
            self._improve(improved)

    def _improve(self, rows: Int[Tensor, " n"]) -> None:
        """Go on from minima that are new and the lowest of their crystals; refine what is nearly right."""
        settings, population = self.settings, self.population
        if settings.n_polish:
            share = Descent(n_steps=settings.n_polish, learning_rate=settings.polish_rate)
            best, _ = population.lowest()
            self._replace_lowest(rows, descend(best.select(rows), self.objective.select(rows), share))
        near = rows[population.losses[rows].amin(1) < settings.refined_below]
        if settings.n_refine and len(near):
            best, _ = population.lowest()
            refined = refine(best.select(near), self.objective.select(near), n_steps=settings.n_refine)
            self._replace_lowest(near, refined)

    def _replace_lowest(self, rows: Int[Tensor, " n"], outcome: Descended) -> None:
        """Put something better in the place of the lowest minimum of some crystals."""
        population = self.population
        self.spent[rows] += outcome.n_evaluations
        place = population.losses[rows].argmin(1)
        better = outcome.losses < population.losses[rows, place]
        frac = outcome.batch.frac_coords.reshape(len(rows), *population.frac_coords.shape[2:])
        population.losses[rows[better], place[better]] = outcome.losses[better]
        population.frac_coords[rows[better], place[better]] = frac[better]

    def _descend(
        self,
        proposals: CrystalBatch,
        systems: Int[Tensor, " n"],
        rung: Rung,
        n_done: int,
    ) -> Descended:
        """Send proposals through one rung, after `n_done` steps of the others."""
        settings = self.settings
        coarse = rung.n_stages is not None and self._compounds(systems)
        objective = self.last_stage if rung.last_stage else self.objective
        descent = Descent(
            n_steps=rung.n_steps,
            learning_rate=settings.learning_rate,
            n_done=n_done,
            n_total=settings.n_steps,
            n_stages=rung.n_stages if coarse else None,
            solved_below=0.0 if coarse else settings.solved_below,
        )
        everything = torch.arange(len(systems), device=systems.device)
        parts = [
            descend(
                proposals.select(everything[part]),
                objective.select(systems[part]),
                descent,
                rivals=systems[part],
            )
            for part in self._slices(systems)
        ]
        outcome = Descended(
            batch=replace(proposals, frac_coords=torch.cat([part.batch.frac_coords for part in parts])),
            losses=torch.cat([part.losses for part in parts]),
            n_evaluations=torch.cat([part.n_evaluations for part in parts]),
        )
        self.spent.index_add_(0, systems, outcome.n_evaluations)
        return outcome

    def _propose(
        self, active: Int[Tensor, " n_active"]
    ) -> tuple[Float[Tensor, "n_active n_proposals size 3"], Int[Tensor, "n_active n_proposals"]]:
        """Return the positions to descend from, and the place of the minimum hopped from, or -1."""
        settings, n = self.settings, self.settings.n_proposals
        first = not bool(torch.isfinite(self.population.losses[active]).any())
        n_fresh = n if first else round(settings.fresh * n)
        starts = self._starts(active, n_fresh)
        parents = torch.full((len(active), n_fresh), -1, device=active.device)
        if n_fresh == n:
            return starts, parents
        hopped, place = self._hops(active, n - n_fresh)
        return torch.cat([starts, hopped], 1), torch.cat([parents, place], 1)

    def _hops(
        self, active: Int[Tensor, " n_active"], n: int
    ) -> tuple[Float[Tensor, "n_active n size 3"], Int[Tensor, "n_active n"]]:
        """Return hops, the lowest of those drawn, and the places hopped from."""
        compounds = self._compounds(active)
        n_drawn = n * (self.settings.n_drawn if compounds else 1)
        place = self.population.draw(active, n_drawn, generator=self.generator)
        hopped = self._hop(active.repeat_interleave(n_drawn), place.flatten())
        hopped = hopped.reshape(len(active), n_drawn, *hopped.shape[1:])
        if n_drawn > n:
            best = self._rank(active, hopped)[:, :n]
            here = torch.arange(len(active), device=active.device)[:, None]
            hopped, place = hopped[here, best], place[here, best]
        if compounds and self.settings.n_exchanged:
            self._exchange(active, hopped, place)
        return hopped, place

    def _exchange(
        self,
        active: Int[Tensor, " n_active"],
        hopped: Float[Tensor, "n_active n size 3"],
        place: Int[Tensor, "n_active n"],
    ) -> None:
        """Put the lowest exchanges of two atoms in the place of the last hops, where there is a new lowest minimum."""
        losses, at = self.population.losses[active].min(1)
        new = torch.nonzero(losses < self.exchanged[active]).flatten()
        if not len(new):
            return
        rows, at = active[new], at[new]
        self.exchanged[rows] = losses[new]
        numbers = self.start.atomic_numbers.reshape(self.start.n_systems, -1)
        moved, differs = initialize.exchanges(
            self.population.frac_coords[rows, at],
            numbers[rows],
            at_most=MOST_EXCHANGES,
            generator=self.generator,
        )
        n = min(self.settings.n_exchanged, *moved.shape[1:2], place.shape[1])
        found = self._first_losses(rows, moved).masked_fill(~differs, torch.inf)
        best = found.argsort(1)[:, :n]
        hopped[new, -n:] = moved[torch.arange(len(rows), device=rows.device)[:, None], best]
        place[new, -n:] = at[:, None]

    def _compounds(self, systems: Int[Tensor, " n"]) -> bool:
        """Tell whether all of these crystals are of two or more elements."""
        return bool(self.several[systems].all())

    def _rank(
        self, active: Int[Tensor, " n_active"], frac_coords: Float[Tensor, "n_active n_drawn size 3"]
    ) -> Int[Tensor, "n_active n_drawn"]:
        """Sort proposals by the loss of the first stage, without descending."""
        return self._first_losses(active, frac_coords).argsort(1)

    def _first_losses(
        self, rows: Int[Tensor, " n"], frac_coords: Float[Tensor, "n n_each size 3"]
    ) -> Float[Tensor, "n n_each"]:
        """Return the losses of the first stage in several places of each crystal, without descending."""
        n_each = frac_coords.shape[1]
        systems = rows.repeat_interleave(n_each)
        batch = replace(self.start.select(systems), frac_coords=frac_coords.reshape(-1, 3))
        objective = replace(self.objective, repulsion=0.0)
        return self._measure(batch, systems, objective, n_stages=1).reshape(-1, n_each)

    def _measure(
        self,
        batch: CrystalBatch,
        systems: Int[Tensor, " n"],
        objective: Objective,
        *,
        n_stages: int | None = None,
    ) -> Float[Tensor, " n"]:
        """Return the losses of crystals without descending, and count the evaluations."""
        everything = torch.arange(len(systems), device=systems.device)
        losses = [
            _measure(batch.select(everything[part]), objective.select(systems[part]), n_stages=n_stages)
            for part in self._slices(systems)
        ]
        self.spent.index_add_(0, systems, torch.ones_like(self.spent[systems]))
        return torch.cat(losses)

    def _slices(self, systems: Int[Tensor, " n"]) -> list[slice]:
        """Cut a batch into parts that fit into memory together with their neighbour tables."""
        size = self.population.frac_coords.shape[2]
        density = size / float(cells.volume(self.start.lattice).min())
        n_slots = 4 / 3 * math.pi * (self.objective.descriptor.cutoff + SKIN) ** 3 * density
        most = CPU_SLOTS if systems.device.type == "cpu" else GPU_SLOTS
        n = max(1, int(most / (size * max(n_slots, 1.0))))
        return [slice(first, first + n) for first in range(0, len(systems), n)]

    def _hop(self, systems: Int[Tensor, " n"], place: Int[Tensor, " n"]) -> Float[Tensor, "n size 3"]:
        """Hop once from each of these minima."""
        settings, generator = self.settings, self.generator
        replicas = self.start.select(systems)
        here = self.population.frac_coords[systems, place]
        numbers = replicas.atomic_numbers.reshape(len(here), -1)
        hops = {
            "displace": lambda: initialize.displace(
                here, replicas.lattice, size=settings.hop_size, generator=generator
            ),
            "swap": lambda: initialize.swap(here, numbers, generator=generator),
            "relocate": lambda: initialize.relocate(here, replicas.lattice, generator=generator),
        }
        names = [name for name in sorted(settings.moves) if name != "swap" or self._compounds(systems)]
        names = names or ["displace"]
        odds = torch.tensor([settings.moves.get(name, 1.0) for name in names], device=generator.device)
        chosen = torch.multinomial(odds, len(here), replacement=True, generator=generator)
        proposed = torch.stack([hops[name]() for name in names])
        return proposed[chosen, torch.arange(len(here), device=here.device)]

    def _starts(self, active: Int[Tensor, " n_active"], n: int) -> Float[Tensor, "n_active n size 3"]:
        """Return new starts, the lowest of those drawn."""
        if not n or self.settings.n_drawn == 1 or not self._compounds(active):
            return self._draw(active, n)
        drawn = self._draw(active, n * self.settings.n_drawn)
        best = self._rank(active, drawn)[:, :n]
        return drawn[torch.arange(len(active), device=active.device)[:, None], best]

    def _draw(self, active: Int[Tensor, " n_active"], n: int) -> Float[Tensor, "n_active n size 3"]:
        """Draw starts, random or symmetric."""
        size = self.population.frac_coords.shape[2]
        starts = initialize.random_positions(
            len(active) * n, size, dtype=self.start.dtype, generator=self.generator
        ).reshape(len(active), n, size, 3)
        n_symmetric = round(self.settings.symmetric * n)
        if self.symmetric is not None and n_symmetric:
            starts[:, :n_symmetric] = self.symmetric.draw(
                active, n_symmetric, dtype=starts.dtype, generator=self.generator
            )
        return starts


def _last_stage(start: CrystalBatch, objective: Objective, numbers: Int[Tensor, "n size"]) -> Objective:
    """Return the objective of the last stage alone, or of all where that would see too few neighbours."""
    alone = objective.last_stage()
    density = numbers.shape[1] / cells.volume(start.lattice)
    n_neighbors = 4 / 3 * math.pi * alone.descriptor.cutoff**3 * density
    return alone if bool((n_neighbors >= FEWEST_NEIGHBORS).all()) else objective


def _finish(state: _State, stopped: list[str]) -> Reconstructed:
    """Measure the best point of each crystal with a fresh neighbour table."""
    best, _ = state.population.lowest()
    return Reconstructed(
        batch=best.wrapped(),
        losses=_measure(best, replace(state.objective, repulsion=0.0)),
        n_evaluations=state.spent.long(),
        stopped=stopped,
        n_agreeing=state.population.n_agreeing,
    )


def _measure(
    batch: CrystalBatch, objective: Objective, *, n_stages: int | None = None
) -> Float[Tensor, " n_systems"]:
    """Return the loss from a fresh neighbour table."""
    neighborhood = find_neighborhood(batch, objective.descriptor.cutoff)
    with torch.no_grad():
        vectors = neighborhood.vectors(batch.frac_coords, batch.lattice)
        return objective(neighborhood, vectors, n_stages=n_stages)
