"""What can be done with latent vectors: encode, decode, reconstruct, interpolate, optimize."""

import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.backends.options import parse_options
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.geometry import check_structures
from repdiff.crystals.resumable_parts import crystals_in_shards
from repdiff.crystals.structure_files import write_made
from repdiff.datasets.sources import CrystalSets, choose, refuse_repeated_names
from repdiff.diffusion.cdvae.latent_optimization import (
    LatentOptimizationSettings,
    PropertySettings,
    towards_property,
)
from repdiff.errors import UserError
from repdiff.latent_space.files import read_latents, write_latents
from repdiff.latent_space.property_head import learn_property
from repdiff.latent_space.sources import encodable, find_crystal
from repdiff.metrics import CrystalSet
from repdiff.runs.failures import write_failed
from repdiff.runs.workspace import Run
from repdiff.settings import LatentsSettings
from repdiff.settings.paths import home_expanded

N_POINTS = 11


log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Work:
    """What all actions need.

    Attributes:
        backend: The trained model.
        settings: Resolved.
        sets: Reads crystals.
        run: Its folder is written to, its summary filled.
    """

    backend: DpCdvae
    settings: LatentsSettings
    sets: CrystalSets
    run: Run

    def crystals(self, name: str, *, n: int | None) -> CrystalSet:
        """Read crystals that the model can encode, and those that it cannot, with the reasons."""
        given = choose(self.sets.to_judge(name), n, self.settings.seed)
        refuse_repeated_names(given.crystals)
        return encodable(given, self.backend, name)

    def decode(
        self,
        latents: Float[Tensor, "n n_latent"],
        names: Sequence[str],
        *,
        given: Sequence[Crystal] | None = None,
    ) -> list[Crystal]:
        """Decode latent vectors, shard by shard, and name the crystals."""
        settings = self.settings
        options = settings.part(self.backend.sampling_options)

        def make(first: int, n: int) -> list[Crystal]:
            part = slice(first, first + n)
            cells = None if given is None else given[part]
            return self.backend.decode_latents(
                latents[part],
                seed=settings.seed,
                first=first,
                steps=settings.steps,
                options=options,
                given=cells,
            )

        started = time.perf_counter()
        made, n_made = crystals_in_shards(self.run.path, len(latents), self.settings.shard_size, make)
        if n_made:
            seconds = (time.perf_counter() - started) / n_made
            self.run.summary["seconds_per_structure"] = round(seconds, 6)
        return [crystal.replace(id=name) for crystal, name in zip(made, names, strict=True)]


def _encode(work: Work) -> None:
    chosen = work.crystals(work.settings.crystals, n=work.settings.n)
    latents = work.backend.encode_crystals(chosen.crystals)
    ids = [crystal.id for crystal in chosen.crystals]
    write_latents(work.run.path, {"latents": latents}, ids)
    write_failed(work.run.path, chosen.failed)
    work.run.summary.update(n_crystals=len(ids), n_failed=len(chosen.failed), n_latent=latents.shape[1])


def _decode(work: Work) -> None:
    folder = home_expanded(work.settings.crystals)
    tensors, ids = read_latents(folder)
    latents, n_latent = tensors["latents"], work.backend.model.settings.n_latent
    if latents.shape[1] != n_latent:
        raise UserError(
            f"{folder} has vectors of {latents.shape[1]} numbers, expected {n_latent}: name the model that made "
            "them by `model`"
        )
    work.run.summary.update(write_made(work.run.path, work.decode(latents.to(work.backend.device), ids)))


def _reconstruct(work: Work) -> None:
    chosen = work.crystals(work.settings.crystals, n=work.settings.n)
    originals = list(chosen.crystals)
    latents = work.backend.encode_crystals(originals)
    ids = [crystal.id for crystal in originals]
    write_latents(work.run.path, {"latents": latents}, ids)
    made = work.decode(latents, ids, given=originals if work.settings.given else None)
    same = sum(one.formula == other.formula for one, other in zip(made, originals, strict=True))
    work.run.summary.update(write_made(work.run.path, made, chosen.failed), n_same_formula=same)


def _interpolate(work: Work) -> None:
    settings = work.settings
    crystals = work.sets.to_judge(settings.crystals).crystals
    ends = [find_crystal(name, crystals, settings.crystals) for name in (settings.start, settings.end)]
    chosen = encodable(CrystalSet(crystals=ends), work.backend, settings.crystals)
    if chosen.failed:
        raise UserError("; ".join(f"{name} {reason}" for name, reason in chosen.failed.items()))
    n = settings.n or N_POINTS
    latents = work.backend.interpolate(*chosen.crystals, n)
    ids = [f"{ends[0].id}-{ends[1].id}-{point:03d}" for point in range(n)]
    write_latents(work.run.path, {"latents": latents}, ids)
    made = [
        crystal.replace(labels={"share": point / (n - 1)})
        for point, crystal in enumerate(work.decode(latents, ids))
    ]
    work.run.summary.update(write_made(work.run.path, made))


def _optimize(work: Work) -> None:
    settings, backend, name = work.settings, work.backend, str(work.settings.property)
    starts = work.crystals(settings.crystals, n=settings.n)
    learnt = learn_property(
        backend,
        name,
        work.crystals(str(settings.labelled), n=None).crystals,
        parse_options(PropertySettings, settings.head_options),
        seed=settings.seed,
    )
    latents = backend.encode_crystals(starts.crystals)
    maximize = settings.goal == "max"
    target = None if settings.goal in ("max", "min") else float(settings.goal or 0)
    tried = towards_property(
        latents,
        learnt.head,
        parse_options(LatentOptimizationSettings, settings.move_options),
        target=target,
        maximize=maximize,
        spread=backend.model.moments.factor(),
        progress=True,
    )
    candidates = tried.flatten(0, 1)
    decoded = work.decode(candidates, [f"{number:06d}" for number in range(len(candidates))])
    whole = [c for c, check in zip(decoded, check_structures(decoded), strict=True) if check.valid]
    again = encodable(CrystalSet(crystals=whole), backend, "what was decoded", at_least=0).crystals
    found = learnt.predict(backend.encode_crystals(again)) if again else []
    values = {int(crystal.id): value for crystal, value in zip(again, found, strict=True)}
    best = nearest_to_goal(values, len(latents), len(tried), maximize=maximize, target=target)
    made = [decoded[number].replace(id=f"opt-{row:06d}") for row, number in enumerate(best)]
    moved = candidates[best]
    write_latents(work.run.path, {"latents": moved, "start": latents}, [crystal.id for crystal in made])
    before, after = learnt.predict(latents), learnt.predict(moved)
    distances = (moved - latents).norm(dim=1).tolist()
    labelled = [
        crystal.replace(
            labels={
                "start": start.id,
                "start_label": start.labels.get(name),
                "predicted_before": before[row],
                "predicted_after": after[row],
                "predicted_decoded": values.get(best[row]),
                "latent_distance": distances[row],
            }
        )
        for row, (crystal, start) in enumerate(zip(made, starts.crystals, strict=True))
    ]
    obtained = _mean([values[number] for number in best if number in values])
    work.run.summary.update(
        write_made(work.run.path, labelled, starts.failed),
        mean_predicted_before=_mean(before),
        mean_predicted_after=_mean(after),
        mean_predicted_decoded=obtained,
        n_labelled=learnt.n_labelled,
        n_unlabelled=learnt.n_unlabelled,
        label_std=learnt.spread,
        held_out_error=learnt.error,
    )
    if obtained is not None:
        log.info(
            "%s predicted: %.4g before, %.4g of what was made, on average", name, _mean(before), obtained
        )


def nearest_to_goal(
    values: Mapping[int, float], n: int, n_each: int, *, maximize: bool, target: float | None
) -> list[int]:
    """Choose for each of `n` starts the best of its candidates, whose numbers are row, row + n, row + 2n ...

    Args:
        values: Property by candidate number; a candidate that is missing is chosen only if all of its start are.
        n: Number of starts.
        n_each: Number of candidates per start.
        maximize: Without a target, whether the highest property is best rather than the lowest.
        target: Requested value of the property; None to maximise or minimise it.
    """

    def cost(number: int) -> float:
        if number not in values:
            return math.inf
        value = values[number]
        return abs(value - target) if target is not None else -value if maximize else value

    return [min(range(row, n * n_each, n), key=cost) for row in range(n)]


ACTIONS = {
    "encode": _encode,
    "decode": _decode,
    "reconstruct": _reconstruct,
    "interpolate": _interpolate,
    "optimize": _optimize,
}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
