"""A chemical system and a trained model → phases: all steps in one folder, resumable, and the files of the result."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from reconstruction.presets import Search
from repdiff.backends import Backend
from repdiff.conditions import typed
from repdiff.crystals.crystal import read_crystals
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.compared import read_together
from repdiff.datasets.sources import CrystalSets, each_name
from repdiff.energies.hull import Hull
from repdiff.energies.relax import Limits
from repdiff.energies.relaxed_files import write_relaxed
from repdiff.errors import UserError
from repdiff.phase_search.campaign import Methods, run_campaign
from repdiff.phase_search.candidates import LIKELIEST_SHARE, Drawing, draw_candidates
from repdiff.phase_search.enumerate import Scope
from repdiff.phase_search.judge import judge
from repdiff.phase_search.page import render_phases
from repdiff.phase_search.plan import Plan, make_plan, open_reference, read_wanted
from repdiff.phase_search.result import Phases
from repdiff.representations.encoded_set import CRYSTALS
from repdiff.runs.atomic_files import replacing, write_json
from repdiff.runs.csv_text import escaped_frame
from repdiff.runs.manifest import read_manifest

TABLE, PAGE, FUNNEL = "phases.csv", "phases.html", "funnel.json"


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked.

    Attributes:
        system: Elements, such as "Li-Fe-O"; None for those of the formulas.
        formulas: Formulas, or a file of them, see `read_formulas`; None to list those of the system.
        n: Candidates in all.
        scope: Which formulas belong to the system, see `enumerate_formulas`.
        max_atoms: Atoms of the primitive cell at most.
        formula_units: Formula units of the primitive cell, such as "1-4".
        force_field: Name of a registered one.
        hull: Table of reference energies; None for the largest that is shipped.
        limits: When a relaxation ends.
        search: How hard vectors are inverted.
        steps: Denoising steps.
        sampling: Further options of the backend's sampling.
        seed: Seed of the samples, and of the search.
        max_minutes: Minutes after which no further batch begins; None for no limit.
        n_workers: Processes on a CPU; None takes one per core.
        device: Where to compute.
        likeliest_share: Share of the candidates that the model names instead of drawing them, see `draw_candidates`.
    """

    system: str | None
    formulas: str | None = None
    n: int
    scope: Scope = "system"
    max_atoms: int
    formula_units: str
    force_field: str
    hull: Path | None = None
    limits: Limits
    search: Search
    steps: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    seed: int
    max_minutes: float | None = None
    n_workers: int | None = None
    device: torch.device
    likeliest_share: float = LIKELIEST_SHARE


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A question that can be answered: the model, the force field and the hull have what it needs.

    Attributes:
        question: What is asked.
        drawing: How candidates are drawn.
        hull: Reference energies.
        plan: Formulas, and the candidates of each.
    """

    question: Question
    drawing: Drawing
    hull: Hull
    plan: Plan


def prepare(
    question: Question, backend: Backend, *, model_name: str, known_formulas: Sequence[str] | None = None
) -> Prepared:
    """Check and decide what can be before anything is drawn.

    Args:
        question: What is asked.
        backend: Trained model.
        model_name: Name of the model, for messages.
        known_formulas: Those of known compounds, by which the formulas of the system are ranked; None for all of the
            reference energies.

    Raises:
        UserError: If the model, the force field or the hull lacks what is asked for.
    """
    elements, formulas = read_wanted(question.system, question.formulas)
    typed({"formula_units": question.formula_units})
    drawing = Drawing(
        backend=backend,
        formula_units=question.formula_units,
        max_atoms=question.max_atoms,
        seed=question.seed,
        steps=question.steps,
        options=question.sampling,
        likeliest_share=question.likeliest_share,
    )
    drawing.check_model(elements, name=model_name)
    hull = open_reference(
        elements, force_field=question.force_field, hull=question.hull, device=question.device
    )
    known = hull.table.formulas if known_formulas is None else known_formulas
    plan = make_plan(elements, formulas, n=question.n, scope=question.scope, drawing=drawing, known=known)
    return Prepared(question=question, drawing=drawing, hull=hull, plan=plan)


def find_phases(prepared: Prepared, folder: Path, *, known: CrystalSet | None) -> Phases:
    """Draw, build, relax and judge; what is done lies in the folder, so that a later call goes on.

    Args:
        prepared: What is asked, checked.
        folder: Keeps rounds and batches.
        known: Known crystals; None if there are none to compare with.

    Raises:
        UserError: If nothing could be drawn.
    """
    question, plan = prepared.question, prepared.plan
    candidates = draw_candidates(prepared.drawing, plan.shares, folder)
    methods = Methods(
        force_field=question.force_field,
        limits=question.limits,
        search=question.search,
        seed=question.seed,
        device=question.device,
        n_workers=question.n_workers,
        max_minutes=question.max_minutes,
    )
    outcome = run_campaign(candidates, methods, folder)
    return judge(outcome, candidates, plan.elements, hull=prepared.hull, known=known, notes=plan.notes)


def write_phases(folder: Path, phases: Phases, settings: Mapping[str, Any]) -> None:
    """Write the table, the relaxed crystals in all formats, what failed, the funnel and the page.

    Args:
        folder: Where to.
        phases: What was found.
        settings: What it was made with, as plain JSON values, for the page.

    Raises:
        UserError: If the disk refuses.
    """
    write_relaxed(folder, phases.labelled())
    with replacing(folder / TABLE) as partial:
        escaped_frame(phases.to_frame()).to_csv(partial, float_format="%.6f")
    write_json(
        folder / FUNNEL,
        {
            "system": phases.system,
            "funnel": dict(phases.funnel),
            "hull": phases.hull_name,
            "notes": list(phases.notes),
        },
    )
    with replacing(folder / PAGE) as partial:
        partial.write_text(render_phases(phases, settings), encoding="utf-8")


def known_crystals(named: str | None, model: Path, sets: CrystalSets) -> CrystalSet | None:
    """Read the crystals that count as known: those that are named, or the data set that the model was trained on.

    The latter is the run of `repdiff encode` that the manifest beside the model names, if it is still there.

    Args:
        named: Data sets, separated by commas; None for that of the model.
        model: The model, a run's folder or a file.
        sets: Where names are looked up.

    Raises:
        UserError: If a set that is named cannot be read.
    """
    if named is not None:
        return read_together(each_name(named), sets)
    try:
        manifest = read_manifest(model if model.is_dir() else model.parent)
    except UserError:
        return None
    encoded = manifest.inputs.get("encoded")
    if encoded is None or not (file := Path(encoded.path) / CRYSTALS).is_file():
        return None
    return CrystalSet(crystals=read_crystals(file), name=f"the data set of {model.name}")
