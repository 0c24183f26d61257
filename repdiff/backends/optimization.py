"""Walk crystals towards a goal of a property: rounds of steered variations, of which the best are built and kept.

In each round the best crystals of each start so far are noised to a level and denoised towards the goal; the level
falls from round to round. Of the variations those whose vectors promise most are built, and judged as finished
crystals, which are encoded anew. How good a crystal is: how near its prediction is to the goal, or how far in the
direction that is asked for, less `caution` times the spread of the prediction.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel

from reconstruction.presets import Search
from repdiff.backends.base import Backend
from repdiff.backends.primitive_parents import in_primitive_cell
from repdiff.backends.steering import HeadObjective
from repdiff.backends.variations import MOST, Parents, VariationRequest
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.resumable_parts import kept
from repdiff.crystals.structure_files import unwritable
from repdiff.errors import DamagedError, UserError
from repdiff.networks.protostructure.ranking import Prediction
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.inversion import invert
from repdiff.representations.layout import RepresentationSpec
from repdiff.representations.shards import held_shard, write_names, write_shard
from repdiff.runs.atomic_files import ROUNDS

LAST_SHARE = 1 / 3  # of the strength of the first round, which the last one has
log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class WalkRequest:
    """How crystals are walked towards a goal.

    Attributes:
        objective: Head and goal.
        keep: What is kept of the start exactly.
        n: Crystals to end with, for each start.
        n_rounds: Rounds.
        n_variations: Variations of each start in a round.
        n_built: How many of these are built.
        n_best: How many of the best crystals so far a round begins with.
        strength: Share of the noise process in the first round.
        seed: Seed of the variations, and of the search.
        steps: Denoising steps from the noisiest time of all; None as for new samples.
        options: Sampling options of the backend.
    """

    objective: HeadObjective
    keep: str = "nothing"
    n: int = 1
    n_rounds: int = 5
    n_variations: int = 20
    n_built: int = 4
    n_best: int = 3
    strength: float = 0.6
    seed: int = 0
    steps: int | None = None
    options: BaseModel | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        """Refuse more variations than have a number."""
        if self.n_rounds * self.n_variations > MOST:
            raise UserError(
                f"{self.n_rounds} rounds of {self.n_variations} variations, expected at most {MOST} in all"
            )

    def strength_of(self, number: int) -> float:
        """Return the share of the noise process of a round, counted from 0."""
        done = number / max(self.n_rounds - 1, 1)
        return self.strength * (1 - (1 - LAST_SHARE) * done)

    def variation(self, number: int = 0) -> VariationRequest:
        """Return what is asked of the variations of a round."""
        return VariationRequest(
            n=self.n_variations,
            strength=self.strength_of(number),
            keep=self.keep,
            seed=self.seed,
            steps=self.steps,
            options=self.options,
        )

    def score(self, mean: float, spread: float) -> float:
        """Say how good a prediction is, in the unit of the property; -inf where there is none."""
        goal = self.objective.goal.value
        if math.isnan(mean) or math.isnan(spread):
            return -math.inf
        near = {"max": mean, "min": -mean}[goal] if isinstance(goal, str) else -abs(mean - goal)
        return near - self.objective.caution * spread


@dataclass(frozen=True, kw_only=True, eq=False)
class Visited:
    """A crystal on the way.

    Attributes:
        crystal: The crystal, without labels of its own.
        mean: Predicted property.
        spread: Standard deviation of the prediction.
        number: Round that it was made in, from 1; 0 for a start.
        made_from: Name of the crystal that it is a variation of; None for a start.
        start: Name of the start.
    """

    crystal: Crystal
    mean: float
    spread: float
    number: int
    made_from: str | None
    start: str

    def labelled(self) -> Crystal:
        """Return the crystal with all that is known of it as labels."""
        names = ("mean", "spread", "number", "made_from", "start")
        return self.crystal.replace(labels={name: getattr(self, name) for name in names}, split=None)

    @classmethod
    def of_labels(cls, crystal: Crystal) -> "Visited":
        """Read what `labelled` wrote."""
        labels = crystal.labels
        return cls(
            crystal=crystal.replace(labels={}),
            mean=_number(labels["mean"]),
            spread=_number(labels["spread"]),
            number=int(labels["number"] or 0),
            made_from=None if labels["made_from"] is None else str(labels["made_from"]),
            start=str(labels["start"]),
        )


def _read_round(file: Path) -> list[Visited]:
    """Read the crystals of a round.

    Raises:
        DamagedError: If they cannot be read.
    """
    try:
        return [Visited.of_labels(crystal) for crystal in read_crystals(file)]
    except (KeyError, TypeError) as error:
        raise DamagedError(f"{file}: damaged, expected the crystals of a round ({error})") from error


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


@dataclass(kw_only=True, eq=False)
class Walk:
    """Crystals on their way.

    Attributes:
        backend: Trained model, steered by the objective.
        layout: What it was trained on.
        request: What is asked for.
        starts: The starts, ready to be varied.
        visited: All crystals on the way by name, those of each start in the order in which they were made.
    """

    backend: Backend
    layout: RepresentationSpec
    request: WalkRequest
    starts: Parents
    visited: dict[str, Visited]

    @classmethod
    def begin(
        cls, backend: Backend, layout: RepresentationSpec, request: WalkRequest, starts: Parents
    ) -> "Walk":
        """Predict the property of the starts; those with elements that the head does not know count as failed.

        Raises:
            UserError: If none is left.
        """
        found = request.objective.head.predict(starts.crystals)
        known = np.isfinite(found.mean)
        failed = dict(starts.failed)
        for crystal in np.array(starts.crystals, dtype=object)[~known]:
            strange = request.objective.head.strange(crystal.atomic_numbers.tolist())
            failed[crystal.id] = f"unknown to the head: {strange}" if strange else "it has no prediction"
        rows = [row for row in range(len(known)) if known[row]]
        if not rows:
            raise UserError(
                f"none of {len(known)} crystals can be started from; the first: {next(iter(failed.values()))}"
            )
        kept = Parents(
            crystals=[starts.crystals[row] for row in rows],
            rows=[starts.rows[row] for row in rows],
            failed=failed,
        )
        visited = {
            crystal.id: _visited(crystal, found, row, start=crystal.id)
            for row, crystal in zip(rows, kept.crystals, strict=True)
        }
        return cls(backend=backend, layout=layout, request=request, starts=kept, visited=visited)

    def run(
        self,
        folder: Path,
        *,
        search: Search,
        device: torch.device,
        n_workers: int | None = 1,
        progress: bool = True,
    ) -> None:
        """Take all rounds; each is on disk once it is done, so that a later call goes on.

        Args:
            folder: Keeps the rounds in a folder of its own.
            search: How to invert vectors.
            device: Where to invert.
            n_workers: Processes that invert; None for one a core.
            progress: Whether to show bars.
        """
        for number in range(self.request.n_rounds):
            place = folder / ROUNDS / f"{number:04d}"
            file = place.with_suffix(".parquet")
            made = kept(file, _read_round)
            if made is None:
                place.mkdir(parents=True, exist_ok=True)
                vectors, origin = self._promising(number, place)
                made = self._built(number, vectors, origin, place, search, device, n_workers, progress)
                write_crystals(file, [one.labelled() for one in made])
            self.visited |= {one.crystal.id: one for one in made}
            log.info(
                "round %d of %d: %d crystals built, %d starts improved by now",
                number + 1, self.request.n_rounds, len(made), sum(map(self.improved, self.starts.crystals)),
            )  # fmt: skip

    def best(self, start: Crystal, n: int) -> list[Visited]:
        """Return the best different crystals of a start so far, the best first; the start is one of them."""
        own = [one for one in self.visited.values() if one.start == start.id]
        own.sort(key=lambda one: -self.request.score(one.mean, one.spread))
        chosen: list[Visited] = []
        for one in own:
            if not any(self._same(one, other) for other in chosen):
                chosen.append(one)
            if len(chosen) == n:
                break
        return chosen

    def improved(self, start: Crystal) -> bool:
        """Tell whether there is a better crystal than the start."""
        return self.best(start, 1)[0].number > 0

    def lineage(self, one: Visited) -> list[Visited]:
        """Return the crystals that lead from the start to one, both included."""
        found = [one]
        while found[0].made_from is not None:
            found.insert(0, self.visited[found[0].made_from])
        return found

    def _same(self, one: Visited, other: Visited) -> bool:
        """Tell whether two crystals are the same as far as composition and prediction say."""
        close = 1e-4 * self.request.objective.head.scale
        return one.crystal.formula == other.crystal.formula and abs(one.mean - other.mean) < close

    def _promising(self, number: int, folder: Path) -> tuple[RepresentationBatch | None, dict[str, str]]:
        """Return the vectors of a round that promise most, and from which crystal each is, by name.

        None if there is no vector to build.
        """
        request, how = self.request, self.request.variation(number)
        parents, numbers, names, origins = [], [], [], []
        for start, row in zip(self.starts.crystals, self.starts.rows, strict=True):
            able = [ready for one in self.best(start, request.n_best) if (ready := self._ready(one))]
            for place in range(request.n_variations):
                parents.append((able or [start])[place % max(len(able), 1)])
                numbers.append(row * MOST + number * request.n_variations + place)
                names.append(f"{start.id}-r{number + 1:02d}-{place:03d}")
                origins.append(start.id)
        made_from = {name: parent.id for name, parent in zip(names, parents, strict=True)}
        batch = next(iter(held_shard(folder, 0)), None)
        if batch is None:
            batch = self.backend.vary(parents, numbers, seed=request.seed, **how.how).representations
            write_shard(folder, 0, batch)
            write_names(folder, names)
        found = request.objective.head.predict(batch)
        scores = [request.score(*pair) for pair in zip(found.mean, found.spread, strict=True)]
        rows: list[int] = []
        for start in self.starts.crystals:
            own = [
                row for row, origin in enumerate(origins) if origin == start.id and scores[row] > -math.inf
            ]
            rows += sorted(own, key=lambda row: -scores[row])[: request.n_built]
        if not rows:
            return None, made_from
        chosen = batch.rows(rows)
        return replace(chosen, names=[names[row] for row in rows]), made_from

    def _built(
        self,
        number: int,
        vectors: RepresentationBatch | None,
        made_from: Mapping[str, str],
        folder: Path,
        search: Search,
        device: torch.device,
        n_workers: int | None,
        progress: bool,
    ) -> list[Visited]:
        """Build the crystals of vectors, and judge those that are sound."""
        if vectors is None:
            log.warning("no variation of round %d can be built", number + 1)
            return []
        try:
            found = invert(
                vectors,
                search=search,
                exact=False,
                seed=self.request.seed,
                device=device,
                n_workers=n_workers,
                folder=folder,
                progress=progress,
            ).crystals
        except UserError as error:
            log.warning("round %d: %s", number + 1, error)
            return []
        checks = check_structures(found.crystals)
        sound = [
            crystal.replace(labels={})
            for crystal, check in zip(found.crystals, checks, strict=True)
            if not check.reason and not unwritable(crystal)
        ]
        if lost := len(vectors) - len(sound):
            log.warning("round %d: %d of %d variations make no sound crystal", number + 1, lost, len(vectors))
        if not sound:
            return []
        told = self.request.objective.head.predict(sound)
        return [
            _visited(
                crystal,
                told,
                row,
                start=self.visited[made_from[crystal.id]].start,
                made_from=made_from[crystal.id],
                number=number + 1,
            )
            for row, crystal in enumerate(sound)
        ]

    def _ready(self, one: Visited) -> Crystal | None:
        """Return a crystal as the model can vary it; None if it cannot."""
        if one.number == 0:
            return one.crystal
        try:
            ready = in_primitive_cell(one.crystal, niggli=self.layout.niggli)
            self.backend.check_variation([ready], **self.request.variation().how)
        except UserError:
            return None
        return ready


def _visited(
    crystal: Crystal,
    found: Prediction,
    row: int,
    *,
    start: str,
    made_from: str | None = None,
    number: int = 0,
) -> Visited:
    return Visited(
        crystal=crystal.replace(labels={}),
        mean=float(found.mean[row]),
        spread=float(found.spread[row]),
        number=number,
        made_from=made_from,
        start=start,
    )


def check_optimizable(backend: Backend, name: str) -> None:
    """Refuse a model that has no vectors to steer by.

    Raises:
        UserError: If it has none; for dpcdvae it says what moves its latent vectors.
    """
    if backend.makes == "representations" and backend.varies:
        return
    if name == "dpcdvae":
        raise UserError(
            "a model of dpcdvae has latent vectors of its own, which `repdiff latents optimize CRYSTALS --property "
            "NAME --goal VALUE` moves towards a goal; `repdiff optimize` expects a model of structrepdiff"
        )
    raise UserError(
        f"a model of {name} makes no vectors to steer by, expected a model of structrepdiff: train one with `repdiff "
        "train`"
    )
