"""`repdiff phases`: a chemical system → its phases, relaxed and placed on the convex hull, as table, CIFs and page."""

import logging
from pathlib import Path

from repdiff.backends import BACKENDS
from repdiff.backends.find_model import backend_of, find_model
from repdiff.datasets.sources import CrystalSets, each_name
from repdiff.energies.hull_table import locate_hull
from repdiff.energies.relax import Limits
from repdiff.hardware import choose_device
from repdiff.phase_search.enumerate import name_of, system_name
from repdiff.phase_search.find import Question, find_phases, known_crystals, prepare, write_phases
from repdiff.phase_search.plan import read_wanted
from repdiff.phase_search.result import ON_HULL, Phases
from repdiff.representations.inversion import named_search
from repdiff.runs.manifest import Input
from repdiff.runs.model_files import model_name
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import PhasesSettings

N_NAMED = 5  # phases on the log
log = logging.getLogger(__name__)


def run_phases(settings: PhasesSettings, workspace: Workspace) -> Path:
    """Find the phases of a system; an interrupted run goes on where it was.

    Returns:
        The run's folder: `phases.html`, `phases.csv`, `funnel.json`, the relaxed crystals as `cif.zip`,
        `structures.extxyz` and their like, `failed.jsonl` and `force_field.json`.

    Raises:
        UserError: If there is no model, or the model, the force field or the hull lacks what is asked for.
    """
    elements, formulas = read_wanted(settings.system, settings.formulas)
    path = find_model(settings.model, workspace)
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    hull = locate_hull(settings.hull, workspace)
    named = None if formulas is None else ",".join(name_of(dict(formula)) for formula in formulas)
    system = system_name(elements)
    settings = settings.model_copy(update={"model": path, "system": system, "formulas": named})
    question = _question(settings, hull)
    inputs: dict[str, Path | Input] = {"model": path}
    for known in each_name(settings.known) if settings.known else ():
        inputs |= sets.input_of(known)
    if hull is not None and hull.exists():
        inputs["hull"] = hull
    chosen = "" if formulas is None else f"-{len(formulas)}-formulas"
    label = plain_name(f"{system}{chosen}-n{settings.n}-{model_name(path)}-seed{settings.seed}")
    with workspace.run(settings, label, inputs=inputs) as run:
        if run.state != "finished":
            backend = BACKENDS[backend_of(path)].load(path, device=question.device)
            prepared = prepare(question, backend, model_name=model_name(path))
            phases = find_phases(prepared, run.path, known=known_crystals(settings.known, path, sets))
            write_phases(run.path, phases, settings.model_dump(mode="json"))
            run.summary.update(_summary(phases))
    return run.path


def _question(settings: PhasesSettings, hull: Path | None) -> Question:
    limits = Limits(fmax=settings.fmax, max_steps=settings.max_steps, max_seconds=settings.max_seconds)
    return Question(
        system=settings.system,
        formulas=settings.formulas,
        n=settings.n,
        scope=settings.scope,
        max_atoms=settings.max_atoms,
        formula_units=settings.formula_units,
        force_field=settings.force_field,
        hull=hull,
        limits=limits,
        search=named_search(settings.search),
        steps=settings.steps,
        sampling=settings.sampling_options,
        likeliest_share=settings.likeliest_share,
        seed=settings.seed,
        max_minutes=settings.max_minutes,
        n_workers=settings.n_workers,
        device=choose_device(settings.device),
    )


def _summary(phases: Phases) -> dict[str, object]:
    """Say what was found, on the log and for the manifest."""
    log.info("%s", ", ".join(f"{stage} {n}" for stage, n in phases.funnel.items()))
    for row in phases.best()[:N_NAMED]:
        status = row.status or "not compared"
        log.info("%s: %+.3f eV/atom from the hull, %s", row.id, row.e_above_hull, status)
    return {
        "funnel": dict(phases.funnel),
        "failures": phases.reasons(),
        "n_out_of_time": phases.relaxed.n_out_of_time,
        "on_the_hull": [f"{row.id} ({row.status or 'not compared'})" for row in phases.best(ON_HULL)],
        "hull": phases.hull_name,
        "force_field": str(phases.relaxed.force_field),
        "notes": list(phases.notes),
    }
