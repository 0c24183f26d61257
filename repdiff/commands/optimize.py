"""`repdiff optimize`: given crystals → crystals nearer to a goal of a property, and the way there."""

import logging
import sys
import time
from pathlib import Path

from reconstruction.presets import SEARCHES
from repdiff.backends import BACKENDS, Backend
from repdiff.backends.find_heads import find_heads
from repdiff.backends.find_model import backend_of, find_model
from repdiff.backends.goals import read_goal
from repdiff.backends.optimization import Walk, WalkRequest, check_optimizable
from repdiff.backends.optimized_columns import end_crystals, in_words, path_crystals, summary_of_walk
from repdiff.backends.property_head import Head
from repdiff.backends.steering import HeadObjective, SteeringRequest, head_request
from repdiff.backends.variations import ready_parents
from repdiff.crystals.structure_files import write_made, write_structures
from repdiff.datasets.sources import CrystalSets, choose, refuse_repeated_names
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.atomic_files import replacing
from repdiff.runs.model_files import model_file, model_name, read_metadata
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings.leaves import leaves, value_at
from repdiff.settings.steering import OptimizeSettings

PATH, TOLD = "path", "changes.txt"
log = logging.getLogger(__name__)


def run_optimize(settings: OptimizeSettings, workspace: Workspace) -> Path:
    """Walk crystals towards a goal, round by round; an interrupted run goes on where it was.

    Returns:
        The run's folder: the files of the end crystals, with the columns of `repdiff.backends.optimized_columns`, those
        of the way in `path/`, a line for each in `changes.txt`, and `failed.jsonl`.

    Raises:
        UserError: If there is no model or head, they do not suit each other, or nothing can be started from.
    """
    choose_device(settings.device)
    name, start = _required("property", settings.property), _required("start", settings.start)
    goal = read_goal(name, _required("goal", settings.goal))
    path = find_model(settings.model, workspace, backend=settings.backend)
    plain = BACKENDS[backend_of(path)].load(path, device=choose_device(settings.device))
    check_optimizable(plain, backend_of(path))
    (head,) = find_heads([name], [] if settings.head is None else [settings.head], workspace)
    steering = head_request(
        [goal],
        [Head.load(head)],
        strength=settings.steer_strength,
        caution=settings.caution,
        n_candidates=settings.candidates,
    )
    backend = plain.steered(steering)
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    crystals, inputs = sets.locate(start)
    settings = settings.model_copy(update={"start": crystals, "model": path, "head": head})
    request = _request(settings, backend, steering)
    backend.check_variation([], **request.variation().how)
    with workspace.run(
        settings, _label(settings, path), inputs={**inputs, "model": path, "head": head}
    ) as run:
        if run.state != "finished":
            given = choose(sets.to_judge(crystals), settings.limit, settings.seed)
            refuse_repeated_names(given.crystals)
            file = model_file(path)
            layout = RepresentationSpec.of_file(file, read_metadata(file))
            starts = ready_parents(given, backend, request.variation(), crystals, layout)
            _work(Walk.begin(backend, layout, request, starts), settings, run)
    sys.stdout.write((run.path / TOLD).read_text(encoding="utf-8"))
    return run.path


def _required(name: str, value: object) -> str:
    """Return a setting that there must be.

    Raises:
        UserError: If it is missing.
    """
    if value is None:
        raise UserError(f"`{name}` is missing: `repdiff optimize` needs `property`, `goal` and `start`")
    return str(value)


def _request(settings: OptimizeSettings, backend: Backend, steering: SteeringRequest) -> WalkRequest:
    (objective,) = steering.objectives
    assert isinstance(objective, HeadObjective)
    names = ("keep", "n", "n_variations", "n_built", "n_best", "strength", "seed", "steps")
    return WalkRequest(
        objective=objective,
        n_rounds=settings.n_steps,
        options=settings.part(backend.sampling_options),
        **{name: getattr(settings, name) for name in names},
    )


def _work(walk: Walk, settings: OptimizeSettings, run: Run) -> None:
    """Do the work in the folder of a run, and fill its summary."""
    started = time.perf_counter()
    walk.run(
        run.path,
        search=SEARCHES[settings.preset],
        device=choose_device(settings.device),
        n_workers=settings.n_workers,
    )
    ends = end_crystals(walk)
    seconds = time.perf_counter() - started
    with replacing(run.path / TOLD) as partial:
        partial.write_text(in_words(walk, ends), encoding="utf-8")
    write_structures(run.path / PATH, path_crystals(walk))
    run.summary.update(
        **write_made(run.path, ends.crystals, ends.failed),
        **summary_of_walk(walk, ends),
        seconds_per_start=round(seconds / len(walk.starts.crystals), 6),
    )


def _label(settings: OptimizeSettings, model: Path) -> str:
    """Name the model, the crystals, the goal, and what differs from the defaults."""
    parts = [model_name(model), Path(str(settings.start)).name, f"{settings.property}-{settings.goal}"]
    parts += [f"keep-{settings.keep}"]
    apart = (
        "property",
        "goal",
        "start",
        "head",
        "model",
        "backend",
        "keep",
        "data_dir",
        "seed",
        "device",
        "n_workers",
    )
    options = {
        leaf.path[-1]: value_at(settings, leaf)
        for leaf in leaves(type(settings))
        if leaf.key not in apart and value_at(settings, leaf) != leaf.default
    }
    parts += [f"{name}-{value}" for name, value in options.items()]
    return plain_name("-".join([*parts, f"seed{settings.seed}"]))
