"""Search for many crystals of given, unlike symmetry at once: draw, screen, descend, refine, hop."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from reconstruction.minimize import Descent
from reconstruction.orbit_descent import Aim, Reached, descend
from reconstruction.orbit_hops import Hops
from reconstruction.orbit_refine import refine_points
from reconstruction.orbit_space import MARK, OrbitSpace
from reconstruction.population import SAME, Population
from reconstruction.presets import Rung, Search
from reconstruction.result import NEAR, SOLVED, STALLED
from reconstruction.stopping import Stopping

NEARLY = 1e-3  # loss below which a crystal is right, and only its last digits are missing
SAME_REFINED = 3e-3  # of minima that are refined: vectors with errors have unlike crystals within 1 %
RIVAL = 1.15  # times the lowest loss, up to which a minimum may be the lowest one when it has been polished
FROM_TEMPLATE = Descent(n_steps=40, learning_rate=0.04)  # a template is near: small steps
CPU_CENTRES, GPU_CENTRES = 4000, 100_000  # in one evaluation


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to search for crystals of some number of free coordinates.

    Attributes:
        n_drawn: Starts drawn in a round for each trial.
        rungs: Descents, the later ones of the best trials alone.
        learning_rate: First step length, Å.
        n_refined: Best trials of a round that are refined.
    """

    n_drawn: int
    rungs: tuple[Rung, ...]
    learning_rate: float = 0.25
    n_refined: int = 1

    @property
    def n_trials(self) -> int:
        """Trials that a round begins with."""
        return self.rungs[0].n_trials

    @property
    def n_steps(self) -> int:
        """Adam iterations of a trial that goes through all rungs."""
        return sum(rung.n_steps for rung in self.rungs)


EFFORTS = (  # most free coordinates, effort
    (2, Effort(n_drawn=12, rungs=(Rung(n_trials=2, n_steps=14, n_stages=1),))),
    (5, Effort(n_drawn=24, rungs=(Rung(n_trials=4, n_steps=25, n_stages=1),), n_refined=2)),
    (
        10,
        Effort(
            n_drawn=24,
            rungs=(
                Rung(n_trials=6, n_steps=12, n_stages=1),
                Rung(n_trials=3, n_steps=25, n_stages=1),
                Rung(n_trials=1, n_steps=30),
            ),
        ),
    ),
    (
        10_000,
        Effort(
            n_drawn=24,
            rungs=(
                Rung(n_trials=12, n_steps=15, n_stages=1),
                Rung(n_trials=5, n_steps=30, n_stages=1),
                Rung(n_trials=2, n_steps=60),
            ),
            learning_rate=0.2,
        ),
    ),
)


def effort_for(n_free: int) -> int:
    """Return the place in `EFFORTS` of crystals with so many free coordinates."""
    return next(place for place, (most, _) in enumerate(EFFORTS) if n_free <= most)


@dataclass(frozen=True, kw_only=True)
class Found:
    """Crystals of given symmetry that were found, in the order of their targets.

    Attributes:
        points: Where they are in the space that was searched.
        losses: Relative L1 error of each crystal's descriptor, without overlap and pull.
        n_evaluations: Evaluations of the descriptor spent on each.
        stopped: Why the search ended; see `reconstruction.result.Reconstructed`.
        n_agreeing: Trials whose best loss is that of the lowest, within 0.3 % where minima are refined and else 1 %.
    """

    points: Float[Tensor, "n_systems n_rows 3"]
    losses: Float[Tensor, " n_systems"]
    n_evaluations: Int[Tensor, " n_systems"]
    stopped: list[str]
    n_agreeing: Int[Tensor, " n_systems"]


def search_orbits(
    space: OrbitSpace,
    aim: Aim,
    settings: Search,
    effort: Effort,
    *,
    templates: Float[Tensor, "n_systems n_templates n_rows 3"],
    n_templates: Int[Tensor, " n_systems"],
    followed_below: float,
    generator: torch.Generator,
) -> Found:
    """Find free coordinates, and strains of cells that are not held, for the target vectors.

    Args:
        space: The crystals.
        aim: One target for each.
        settings: How many rounds to search, and when to stop; the trials of a round are those of `effort`.
        effort: How hard to search in a round.
        templates: Points of known crystals to start from before any that are drawn; filled up.
        n_templates: How many each crystal has.
        followed_below: Loss below which the crystal that a template leads to is taken, and nothing else is tried.
        generator: Source of all randomness, on the device of the space.
    """
    unknown = space.lengths.new_full((space.n_systems,), torch.inf)
    stopping = Stopping.begin(settings, unknown, nearly=NEARLY)
    state = _State.begin(space, aim, settings, effort, generator)
    stopping.active = _settled(state, stopping)
    state.start_from(templates, n_templates)
    followed = state.population.losses.amin(1)[stopping.active] < followed_below
    for row in stopping.active[followed].tolist():
        stopping.reasons[row] = NEAR
    stopping.active = stopping.active[~followed]
    for _ in range(settings.n_rounds if len(stopping.active) else 0):
        state.round(stopping.active)
        population = state.population
        if not stopping.after_round(
            population.losses.amin(1), spent=state.spent, n_agreeing=population.n_agreeing
        ):
            break
    state.finish()
    points, _ = state.population.lowest_points()
    plain = replace(aim, objective=replace(aim.objective, repulsion=0.0), pull=replace(aim.pull, weight=0.0))
    return Found(
        points=points,
        losses=plain.measure(space, points),
        n_evaluations=state.spent.long(),
        stopped=stopping.reasons,
        n_agreeing=state.population.n_agreeing,
    )


def _settled(state: "_State", stopping: Stopping) -> Int[Tensor, " n_active"]:
    """Settle crystals that have no free coordinate, and return the others."""
    coordinates_free = state.hops.movable.any(1)
    fixed = stopping.active[~coordinates_free]
    state.settle(fixed)
    for row in fixed.tolist():
        solved = float(state.population.losses[row].min()) < state.settings.solved_below
        stopping.reasons[row] = SOLVED if solved else STALLED
    return stopping.active[coordinates_free]


@dataclass(kw_only=True)
class _State:
    """What a search carries from round to round."""

    space: OrbitSpace
    aim: Aim
    settings: Search
    effort: Effort
    generator: torch.Generator
    population: Population
    hops: Hops
    spent: Float[Tensor, " n_systems"]

    @classmethod
    def begin(
        cls, space: OrbitSpace, aim: Aim, settings: Search, effort: Effort, generator: torch.Generator
    ) -> "_State":
        given = torch.zeros_like(space.lengths)
        return cls(
            space=space,
            aim=aim,
            settings=settings,
            effort=effort,
            generator=generator,
            population=Population.of_points(
                given, settings.n_kept, same=SAME_REFINED if settings.n_refine else SAME
            ),
            hops=Hops.of(space),
            spent=given.new_zeros(space.n_systems),
        )

    def settle(self, rows: Int[Tensor, " n"]) -> None:
        """Find crystals without a free coordinate: evaluate those whose cells are held, descend with the others."""
        if not len(rows):
            return
        space, aim = self.space.select(rows), self.aim.select(rows)
        points = torch.zeros_like(space.lengths)
        if bool((space.lengths > 0).any()):
            descent = Descent(n_steps=self.settings.n_polish, learning_rate=self.effort.learning_rate)
            reached = descend(space, points, aim, descent, rivals=rows)
        else:
            losses = aim.measure(space, points)
            reached = Reached(points=points, losses=losses, n_evaluations=torch.ones_like(losses))
        self.spent[rows] += reached.n_evaluations
        self.population.add(rows, reached.points, reached.losses, torch.full_like(rows, -1))

    def start_from(
        self,
        templates: Float[Tensor, "n_systems n_templates n_rows 3"],
        n_templates: Int[Tensor, " n_systems"],
    ) -> None:
        """Descend from known crystals by small steps, and remember where that ended."""
        for number in range(templates.shape[1]):
            systems = torch.nonzero((n_templates > number) & self.hops.movable.any(1)).flatten()
            if not len(systems):
                continue
            points = templates[systems, number].clone()
            points[:, MARK, 0] = 1
            points, losses = self._descend(points, systems, FROM_TEMPLATE)
            if self.settings.n_refine:
                self._refine(points, losses, systems, 1)
            self.population.add(systems, points, losses, torch.full_like(systems, -1))

    def round(self, active: Int[Tensor, " n_active"]) -> None:
        """Propose, descend rung by rung, refine the lowest, and remember where they ended."""
        points, parents = self._propose(active)
        width = points.shape[1]
        systems, points, parents = active.repeat_interleave(width), points.flatten(0, 1), parents.flatten()
        n_done, losses = 0, None
        for rung in self.effort.rungs:
            if losses is not None:
                best = losses.reshape(len(active), -1).argsort(1)[:, : rung.n_trials]
                kept = (torch.arange(len(active), device=best.device)[:, None] * width + best).flatten()
                systems, parents, points, width = systems[kept], parents[kept], points[kept], best.shape[1]
            descent = Descent(
                n_steps=rung.n_steps,
                learning_rate=self.effort.learning_rate,
                n_done=n_done,
                n_total=self.effort.n_steps,
                n_stages=rung.n_stages,
            )
            points, losses = self._descend(points, systems, descent)
            n_done += rung.n_steps
        if self.effort.rungs[-1].n_stages is not None:
            losses = self._measure(points, systems)
        assert losses is not None
        self._refine(points, losses, systems, width)
        shape = (len(active), width)
        for trial in range(width):
            self.population.add(
                active,
                points.unflatten(0, shape)[:, trial],
                losses.reshape(shape)[:, trial],
                parents.reshape(shape)[:, trial],
            )

    def _refine(
        self,
        points: Float[Tensor, "n n_rows 3"],
        losses: Float[Tensor, " n"],
        systems: Int[Tensor, " n"],
        width: int,
    ) -> None:
        """Improve the best trials of each crystal in place: by least squares what may be solved, others by descent.

        Where vectors are exact, what is far from its solution is left alone.
        """
        best = losses.reshape(-1, width).argsort(1)[:, : self.effort.n_refined]
        rows = (torch.arange(len(best), device=best.device)[:, None] * width + best).flatten()
        if self.settings.n_refine:
            rows = rows[losses[rows] < self.settings.refined_below]
        if not len(rows):
            return
        space, aim = self.space.select(systems[rows]), self.aim.select(systems[rows])
        if self.settings.n_refine:
            reached = refine_points(space, points[rows], aim, n_steps=self.settings.n_refine)
        else:
            reached = self._polish(space, points[rows], aim)
        self.spent.index_add_(0, systems[rows], reached.n_evaluations)
        better = reached.losses < losses[rows]
        points[rows[better]], losses[rows[better]] = reached.points[better], reached.losses[better]

    def _polish(self, space: OrbitSpace, points: Float[Tensor, "n n_rows 3"], aim: Aim) -> Reached:
        """Descend a little more from some points."""
        descent = Descent(n_steps=self.settings.n_polish, learning_rate=self.settings.polish_rate)
        rivals = torch.arange(len(points), device=points.device)
        return descend(space, points, aim, descent, rivals=rivals)

    def finish(self) -> None:
        """Polish the lowest minima and their rivals, where no refinement has reached a solution."""
        if not (self.settings.n_refine and self.settings.n_polish):
            return
        losses = self.population.losses
        lowest = losses.amin(1, keepdim=True)
        rival = (lowest >= NEARLY) & (losses < RIVAL * lowest) & self.hops.movable.any(1)[:, None]
        rows, places = torch.nonzero(rival, as_tuple=True)
        for part in self._slices(rows):
            row, place = rows[part], places[part]
            points = self.population.frac_coords[row, place]
            reached = self._polish(self.space.select(row), points, self.aim.select(row))
            self.spent.index_add_(0, row, reached.n_evaluations)
            better = reached.losses < losses[row, place]
            self.population.frac_coords[row[better], place[better]] = reached.points[better]
            losses[row[better], place[better]] = reached.losses[better]

    def _propose(
        self, active: Int[Tensor, " n_active"]
    ) -> tuple[Float[Tensor, "n_active n_trials n_rows 3"], Int[Tensor, "n_active n_trials"]]:
        """Return the points to descend from, and the place of the minimum hopped from, or -1."""
        effort, n = self.effort, self.effort.n_trials
        known = torch.isfinite(self.population.losses[active]).any(1)
        n_fresh = round(self.settings.fresh * n) if bool(known.all()) else n
        systems = active.repeat_interleave(n_fresh * effort.n_drawn)
        drawn = self.space.select(systems).drawn(
            torch.zeros_like(self.space.lengths[systems]), generator=self.generator
        )
        points = self._screened(active, drawn.unflatten(0, (len(active), -1)))[0][:, :n_fresh]
        parents = torch.full((len(active), n_fresh), -1, device=active.device)
        if n_fresh == n:
            return points, parents
        place = self.population.draw(active, (n - n_fresh) * effort.n_drawn, generator=self.generator)
        systems = active.repeat_interleave(place.shape[1])
        here = self.population.frac_coords[systems, place.flatten()]
        hopped = self.hops.hop(here, systems, generator=self.generator).unflatten(0, place.shape)
        hopped, order = self._screened(active, hopped)
        hopped, place = hopped[:, : n - n_fresh], place.gather(1, order[:, : n - n_fresh])
        return torch.cat([points, hopped], 1), torch.cat([parents, place], 1)

    def _screened(
        self, active: Int[Tensor, " n_active"], points: Float[Tensor, "n_active n_each n_rows 3"]
    ) -> tuple[Float[Tensor, "n_active n_each n_rows 3"], Int[Tensor, "n_active n_each"]]:
        """Sort proposals by the loss of the first stage, overlaps counted."""
        systems = active.repeat_interleave(points.shape[1])
        losses = self._measure(points.flatten(0, 1), systems, n_stages=1)
        order = losses.reshape(points.shape[:2]).argsort(1)
        return points[torch.arange(len(active), device=order.device)[:, None], order], order

    def _measure(
        self, points: Float[Tensor, "n n_rows 3"], systems: Int[Tensor, " n"], *, n_stages: int | None = None
    ) -> Float[Tensor, " n"]:
        """Return losses without descending, and count the evaluations."""
        self.spent.index_add_(0, systems, torch.ones_like(self.spent[systems]))
        losses = [
            self.aim.select(systems[part]).measure(
                self.space.select(systems[part]), points[part], n_stages=n_stages
            )
            for part in self._slices(systems)
        ]
        return torch.cat(losses)

    def _descend(
        self, points: Float[Tensor, "n n_rows 3"], systems: Int[Tensor, " n"], descent: Descent
    ) -> tuple[Float[Tensor, "n n_rows 3"], Float[Tensor, " n"]]:
        """Send points through one rung."""
        parts = [
            descend(
                self.space.select(systems[part]),
                points[part],
                self.aim.select(systems[part]),
                descent,
                rivals=systems[part],
            )
            for part in self._slices(systems)
        ]
        self.spent.index_add_(0, systems, torch.cat([part.n_evaluations for part in parts]))
        return torch.cat([part.points for part in parts]), torch.cat([part.losses for part in parts])

    def _slices(self, systems: Int[Tensor, " n"]) -> list[slice]:
        """Cut a batch into parts of a bounded number of centres."""
        most = CPU_CENTRES if systems.device.type == "cpu" else GPU_CENTRES
        n = max(1, most // (self.space.lengths.shape[1]))
        return [slice(first, first + n) for first in range(0, len(systems), n)]
