"""`repdiff vary`: given crystals → variations of them, by any model with a diffusion."""

import logging
import sys
import time
from pathlib import Path

from reconstruction.presets import SEARCHES
from repdiff.backends import BACKENDS, Backend
from repdiff.backends.base import NO_DIFFUSION
from repdiff.backends.find_model import backend_of, find_model
from repdiff.backends.held_variations import beside_parents
from repdiff.backends.variation_columns import summary_of, training_set_of, with_columns
from repdiff.backends.variations import VariationRequest, check_request, make_variations, ready_parents
from repdiff.conditions.files import told, write_judged
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.structure_files import write_made
from repdiff.datasets.sources import CrystalSets, choose, refuse_repeated_names
from repdiff.diffusion.noise_level import check_strength
from repdiff.errors import UserError
from repdiff.execution.jobs import workers_to_use
from repdiff.hardware import choose_device, n_cores
from repdiff.representations.described_sets import Source, describe, locate, located_training_set
from repdiff.representations.layout import RepresentationSpec
from repdiff.runs.manifest import Input
from repdiff.runs.model_files import model_file, model_name, read_metadata
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import VarySettings
from repdiff.settings.leaves import leaves, value_at

log = logging.getLogger(__name__)


def run_vary(settings: VarySettings, workspace: Workspace) -> Path:
    """Vary crystals, and say how far each variation is from its parent and what known crystal is nearest.

    Returns:
        The run's folder: the files of crystals, with the columns of `repdiff.backends.variation_columns`, and
        `failed.jsonl`, which also names the given crystals that could not be varied.

    Raises:
        UserError: If there is no model, it makes no variations, or nothing that was given can be varied.
    """
    device = choose_device(settings.device)
    check_strength(settings.strength)
    path = find_model(settings.model, workspace, backend=settings.backend)
    name = backend_of(path)
    if not BACKENDS[name].varies:
        raise UserError(f"{path} is a model of {name}, which makes no variations: {NO_DIFFUSION}")
    backend = BACKENDS[name].load(path, device=device)
    file = model_file(path)
    layout = RepresentationSpec.of_file(file, read_metadata(file))
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    crystals, inputs = sets.locate(settings.crystals)
    known = _known(settings, path, layout, sets, workspace)
    settings = settings.model_copy(
        update={"crystals": crystals, "model": path, "keep": settings.keep or backend.keeps[0]}
    )
    request = _request(settings, backend)
    check_request(backend, request)
    found: dict[str, Path | Input] = {**inputs, "model": path, **(known.inputs if known else {})}
    with workspace.run(settings, _label(settings, path), inputs=found) as run:
        if run.state != "finished":
            given = choose(sets.to_judge(crystals), settings.limit, settings.seed)
            refuse_repeated_names(given.crystals)
            _vary(backend, given, request, settings, layout, known, sets, workspace, run)
    sys.stdout.write(told(run.path))
    return run.path


def _request(settings: VarySettings, backend: Backend) -> VariationRequest:
    return VariationRequest(
        n=settings.n,
        strength=settings.strength,
        keep=settings.keep,
        hold=settings.hold,
        seed=settings.seed,
        steps=settings.steps,
        options=settings.part(backend.sampling_options),
    )


def _known(
    settings: VarySettings,
    model: Path,
    layout: RepresentationSpec,
    sets: CrystalSets,
    workspace: Workspace,
) -> Source | None:
    """Find the crystals among which the nearest are looked for; None where nobody says which."""
    if settings.among is not None:
        return locate(settings.among, layout.descriptor, sets, workspace)
    encoded = training_set_of(model)
    if encoded is None:
        log.warning("the training crystals of %s are not there: name known crystals by `among`", model)
        return None
    return located_training_set(encoded, layout.descriptor)


def _vary(
    backend: Backend,
    given: CrystalSet,
    request: VariationRequest,
    settings: VarySettings,
    layout: RepresentationSpec,
    known: Source | None,
    sets: CrystalSets,
    workspace: Workspace,
    run: Run,
) -> None:
    """Do the work in the folder of a run, and fill its summary."""
    device, started = choose_device(settings.device), time.perf_counter()
    parents = ready_parents(given, backend, request, settings.crystals, layout)
    made = make_variations(
        backend,
        parents,
        request,
        folder=run.path,
        search=SEARCHES[settings.preset],
        device=device,
        shard_size=settings.shard_size,
        n_workers=settings.n_workers,
    )
    seconds = time.perf_counter() - started
    described = None if known is None else describe(known, sets, workspace.descriptors_dir, device=device)
    varied = with_columns(
        made,
        parents.crystals,
        request.n,
        descriptor=layout.descriptor,
        known=described,
        matcher=settings.matcher,
        device=device,
        n_workers=workers_to_use(settings.n_workers, n_cores()),
    )
    judged = beside_parents(varied, parents, request)
    varied = judged.crystals
    run.summary.update(write_judged(run.path, judged))
    run.summary.update(
        n_parents=len(parents.crystals),
        n_parents_left_out=len(parents.failed),
        **write_made(run.path, varied.crystals, {**varied.failed, **parents.failed}),
        **summary_of(varied),
        among=None if known is None else known.name,
        seconds_per_variation=round(seconds / (len(parents.crystals) * request.n), 6),
    )
    done = run.summary
    log.info(
        "%d variations of %d crystals; %.0f %% are the same structure as their parent, mean distance %.3g",
        done["n_crystals"],
        done["n_parents"],
        100 * (done["share_same_as_parent"] or 0),
        done["mean_parent_distance"] or 0,
    )


def _label(settings: VarySettings, model: Path) -> str:
    """Name the model, the crystals, and what differs from the defaults, so that such runs lie side by side."""
    parts = [
        model_name(model),
        Path(settings.crystals).name,
        f"strength{settings.strength:g}",
        f"n{settings.n}",
    ]
    parts += [f"keep-{settings.keep}"] + ([f"limit{settings.limit}"] if settings.limit else [])
    parts += [f"hold-{part}" for part in settings.hold]
    parts += [f"{settings.steps}steps"] if settings.steps else []
    parts += [settings.preset] if settings.preset != "default" else []
    parts += [f"among-{Path(settings.among).name}"] if settings.among else []
    options = {
        leaf.path[-1]: value_at(settings, leaf)
        for leaf in leaves(type(settings))
        if leaf.key not in VarySettings.model_fields and value_at(settings, leaf) != leaf.default
    }
    parts += [f"{name}-{value}" for name, value in options.items()]
    return plain_name("-".join([*parts, f"seed{settings.seed}"]))
