"""`repdiff generate`: a trained model → representations, or crystals where the backend makes them at once."""

import logging
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

from repdiff.backends import BACKENDS, Backend, Samples
from repdiff.backends.asked_of_backend import read_asked
from repdiff.backends.find_heads import read_steering, with_heads
from repdiff.backends.find_model import backend_of, find_model, newest_verb
from repdiff.backends.held_sources import held_conditions, source_files
from repdiff.backends.requested_compositions import CompositionRequest, read_compositions, sample_names
from repdiff.backends.sampling_elsewhere import Sample, side_by_side
from repdiff.conditions import Asked, judge
from repdiff.conditions.files import told, write_judged
from repdiff.conditions.pieces import read_pieces, write_piece
from repdiff.crystals.crystal import Crystal, read_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.resumable_parts import SHARDS, crystals_in_shards, each_shard
from repdiff.crystals.structure_files import writable_of, write_structures
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.draws import join_parts, write_part
from repdiff.representations.shards import (
    held_shard,
    write_names,
    write_shard,
)
from repdiff.runs.atomic_files import PIECES
from repdiff.runs.failures import write_failed
from repdiff.runs.model_files import model_name
from repdiff.runs.shipped_models import sampling_unless
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import GenerateSettings
from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.conditions import asks_for_learnt, joined
from repdiff.settings.leaves import leaves, value_at
from repdiff.settings.sampling import DEFAULT_N

log = logging.getLogger(__name__)
NAMED_RUNS = ("ranker", "new_to")  # options of backends that name other runs


def run_generate(settings: GenerateSettings, workspace: Workspace) -> Path:
    """Sample a model, shard by shard; a run asked for more samples than it holds appends shards.

    Sample i of a seed is the same whatever `n` and the shards.

    Returns:
        The run's folder: `shards/`, and the files of crystals where the backend makes crystals.

    Raises:
        UserError: If there is no model, it cannot be read, or it cannot make what is asked for.
    """
    device = choose_device(settings.device)
    settings = _with_named_runs(settings, workspace)
    settings = settings.model_copy(update=with_heads(settings, workspace))
    steering = read_steering(settings)
    wanted = read_compositions(settings, workspace)
    newest = newest_verb(asks_for_learnt(settings.condition), workspace)
    path = find_model(settings.model, workspace, newest=newest, backend=settings.backend)
    name = backend_of(path)
    kind = "composition" if settings.protostructures is None else "protostructure"
    if wanted is not None and kind not in BACKENDS[name].conditions:
        raise UserError(f"the backend {name} takes no {kind}s: leave them out, or train another")
    backend = BACKENDS[name].load(path, device=device)
    if steering is not None:
        backend = backend.steered(steering)
    asked = read_asked(backend, name, _asked(settings), wanted)
    how = _how(backend, settings, asked)
    wanted, left_out = _possible(backend, how, settings, wanted, asked)
    if wanted is not None and asked.compositions:
        asked = replace(asked, compositions=tuple(wanted.compositions))
    several = wanted is not None and len(wanted.compositions) > 1
    n = settings.n or (len(wanted.compositions) if wanted and several else DEFAULT_N)
    settings = settings.model_copy(update={"model": path, "n": n})
    label = _label(settings, name, sampling_unless(path, set()))
    label = plain_name("-".join([model_name(path), *label, f"seed{settings.seed}"]))
    inputs = {"model": path, **source_files(settings.hold)}
    inputs |= {key: found for key in NAMED_RUNS if (found := getattr(settings, key, None)) is not None}
    inputs |= {f"head {number}": head for number, head in enumerate(settings.head)}
    with workspace.run(settings, label, inputs=inputs) as run:
        if run.state != "finished":
            asked.write(run.path)
            if steering is not None:
                steering.write(run.path)
            started = time.perf_counter()
            fill = _fill_vectors if backend.makes == "representations" else _fill_crystals
            sample = partial(_sample, backend, how, settings.seed, wanted)
            with side_by_side(sample, _missing(run.path, n, settings.shard_size)) as at_once:
                n_made = fill(at_once, settings, wanted, asked, run)
            seconds = time.perf_counter() - started
            run.summary.update(
                backend=name,
                n=n,
                left_out=left_out,
                seconds_per_sample=round(seconds / n_made, 6) if n_made else None,
            )
            if n_bare := run.summary.get("n_without_vector"):
                log.info(
                    "%d %s, and %d samples without: none was drawn as asked",
                    n - n_bare,
                    backend.makes,
                    n_bare,
                )
            else:
                log.info("%d %s", n, backend.makes)
    sys.stdout.write(told(run.path))
    return run.path


def _missing(folder: Path, n: int, size: int) -> list[tuple[int, int]]:
    """List the shards that are not begun: number of the first sample, and how many."""
    begun = {path.name.split(".")[0] for path in (folder / SHARDS).glob("*")}
    firsts = enumerate(range(0, n, size))
    return [(first, min(size, n - first)) for number, first in firsts if f"{number:05d}" not in begun]


def _asked(settings: GenerateSettings) -> dict[str, Any]:
    """Gather conditions and held parts."""
    return joined(settings.asked(), held_conditions(settings.hold))


def _with_named_runs(settings: GenerateSettings, workspace: Workspace) -> GenerateSettings:
    """Find the known crystals, if any are named, and the model to rank by, where draws are ranked."""
    found: dict[str, Path] = {}
    if (known := getattr(settings, "new_to", None)) is not None:
        found["new_to"] = workspace.find("encode", known)
    if getattr(settings, "keep_best", None) is not None:
        found["ranker"] = workspace.find("rank", getattr(settings, "ranker", None))
    return settings.model_copy(update=found)


def _how(backend: Backend, settings: GenerateSettings, asked: Asked) -> dict[str, Any]:
    """Gather the arguments that `check` and `sample` have in common."""
    return {
        "steps": settings.steps,
        "conditions": asked.of_backend or None,
        "guidance": getattr(settings, "guidance", None),
        "options": settings.part(backend.sampling_options),
    }


def _possible(
    backend: Backend,
    how: Mapping[str, Any],
    settings: GenerateSettings,
    wanted: CompositionRequest | None,
    asked: Asked,
) -> tuple[CompositionRequest | None, list[str]]:
    """Leave out of what a data set asks for what the backend cannot make, and name it.

    Raises:
        UserError: If a setting does not fit, what the user asks for cannot be made, or nothing of a data set can.
    """
    if wanted is None or not wanted.targets:
        given = {} if wanted is None else wanted.arguments(0, len(wanted.compositions))
        asked.check(**given)
        backend.check(**how, **given)
        return wanted, []
    backend.check(**{**how, "conditions": None, "guidance": None})
    source = settings.compositions_from or settings.protostructures
    reasons = {}
    for place, name in enumerate(wanted.targets):
        try:
            asked.check(**wanted.arguments(place, 1))
            backend.check(**how, **wanted.arguments(place, 1))
        except UserError as error:
            reasons[name] = str(error)
    if len(reasons) == len(wanted.targets):
        raise UserError(f"nothing that {source} asks for can be made: {next(iter(reasons.values()))}")
    if reasons:
        first = next(iter(reasons))
        log.warning(
            "%d of %d crystals of %s left out, the first: %s: %s",
            len(reasons), len(wanted.targets), source, first, reasons[first],
        )  # fmt: skip
    return wanted.without(reasons), list(reasons)


def _fill_vectors(
    sample: Sample, settings: GenerateSettings, wanted: CompositionRequest | None, asked: Asked, run: Run
) -> int:
    """Complete the shards of representations, which are judged once they are crystals, and count what was made."""
    bare: dict[int, int] = {}  # vectors that could not be drawn, by shard

    def extend(number: int, first: int, size: int) -> int:
        held = held_shard(run.path, number)
        n_held = sum(map(len, held))
        if n_held < size:
            samples = sample(first + n_held, size - n_held)
            if samples.draws:
                write_part(run.path, first + n_held, samples.draws)
            held = [RepresentationBatch.joined([*held, samples.representations])]
            write_shard(run.path, number, held[0])
        bare[number] = int(held[0].vectors.isnan().any(1).sum())
        return max(0, size - n_held)

    n_made, n_bare = each_shard(settings.n or 0, settings.shard_size, extend), sum(bare.values())
    if outcomes := join_parts(run.path, settings.n or n_made):
        run.summary["draws"] = outcomes
        log.info("protostructures: %s", ", ".join(f"{count} {what}" for what, count in outcomes.items()))
    if n_bare:
        run.summary["n_without_vector"] = n_bare
    pieces = range(0, n := settings.n or n_made, settings.shard_size)
    named = (sample_names(wanted, min(settings.shard_size, n - first), first=first) for first in pieces)
    write_names(run.path, chain.from_iterable(named))
    return n_made


def _fill_crystals(
    sample: Sample, settings: GenerateSettings, wanted: CompositionRequest | None, asked: Asked, run: Run
) -> int:
    """Complete the shards of crystals, judge them, write the files that others read, and count what was made."""

    def make(first: int, n: int) -> list[Crystal]:
        return sample(first, n).crystals

    made, n_made = crystals_in_shards(run.path, settings.n or 0, settings.shard_size, make)
    places: list[Path] = []
    first = 0
    for shard in made.files:
        crystals = read_crystals(shard)
        names = sample_names(wanted, len(crystals), first=first)
        named = [crystal.replace(id=name) for crystal, name in zip(crystals, names, strict=True)]
        here = asked.of_rows(range(first, first + len(crystals)))
        judged = judge(CrystalSet(crystals=named), here, names, progress=True)
        places.append(run.path / PIECES / shard.stem)
        write_piece(places[-1], replace(judged, crystals=writable_of(judged.crystals)))
        first += len(crystals)
    judged = read_pieces(places, asked)
    failed = judged.crystals.failed
    write_structures(run.path, judged.crystals.crystals, progress=True)
    write_failed(run.path, failed)
    run.summary.update(n_crystals=len(judged.crystals.crystals), n_failed=len(failed))
    run.summary.update(write_judged(run.path, judged))
    return n_made


def _sample(
    backend: Backend, how: Mapping[str, Any], seed: int, wanted: CompositionRequest | None, first: int, n: int
) -> Samples:
    asked = {} if wanted is None else wanted.arguments(first, n)
    return backend.sample(n, seed=seed, first=first, **asked, **how)


def _label(settings: GenerateSettings, backend: str, usual: Mapping[str, Any]) -> list[str]:
    """Name steps, conditions and the options that differ from their defaults, so that such runs lie side by side.

    Args:
        settings: All of them.
        backend: Name of the system.
        usual: Settings that the model brings along, which are not named.
    """
    options = {
        leaf.path[-1]: value_at(settings, leaf)
        for leaf in leaves(type(settings))
        if leaf.key not in (*GenerateSettings.model_fields, *NAMED_RUNS)
        and value_at(settings, leaf) != usual.get(leaf.key, leaf.default)
    }
    guidance = options.pop("guidance", None)
    sampler = getattr(settings, "sampler", None) if backend == DEFAULT_BACKEND else None
    options.pop("sampler", None)
    steps = str(settings.steps or "")
    parts = [f"{sampler}{steps}"] if sampler else [f"{steps}steps"] if steps else []
    if usual and {"sampler": sampler, "steps": settings.steps}.items() <= usual.items():
        parts = []
    parts += [f"eta{options.pop('eta'):g}"] if "eta" in options else []
    if "temperature" in options:
        parts.append(f"temperature{options.pop('temperature'):g}")
    asked = (
        settings.composition,
        settings.compositions,
        settings.compositions_from,
        settings.protostructures,
    )
    parts += [f"for-{Path(str(one)).name}" for one in asked if one is not None]
    parts += [f"{name}-{value}" for name, value in [*options.items(), *settings.asked().items()]]
    parts += [] if (known := getattr(settings, "new_to", None)) is None else [f"new_to-{known.name}"]
    parts += [f"hold-{part}-{Path(str(value)).name}" for part, value in settings.hold.items()]
    parts += [f"guidance{guidance:g}"] if guidance is not None else []
    parts += [f"steer-{name}-{value}" for name, value in settings.steer.items()]
    named = ("steer_strength", "caution", "candidates")
    changed = [name for name in named if getattr(settings, name) != type(settings).model_fields[name].default]
    return [*parts, *(f"{name}{getattr(settings, name):g}" for name in changed)]
