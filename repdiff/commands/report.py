"""`repdiff report`: read evaluations, draw, and write the page."""

import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import repdiff
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.report import sections
from repdiff.report.asked import conditions
from repdiff.report.cards import Card, cards_of
from repdiff.report.collect import (
    EvaluatedRun,
    KnownSet,
    distinct_names,
    find_runs,
    known_name,
    read_known,
    read_run,
)
from repdiff.report.html import origin_of, render
from repdiff.report.landing import LANDING, landing_page, read_judged
from repdiff.report.provenance import chain_of, flat
from repdiff.report.relaxation import relaxation
from repdiff.report.sections import Section
from repdiff.report.summary import summarize
from repdiff.report.symmetries import add_space_groups
from repdiff.runs.atomic_files import replacing, sha256
from repdiff.runs.leftovers import remove_leftovers
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ReportSettings

log = logging.getLogger(__name__)


def run_report(settings: ReportSettings, workspace: Workspace) -> Path:
    """Make one page of one or several evaluations, or one of each and a page that lists them.

    A page of the same runs and settings that is there already is kept; plots that were not asked for then are added.

    Returns:
        Path of the page.

    Raises:
        UserError: If a run is no finished evaluation, the page exists already, or it cannot be written.
    """
    if settings.all:
        return _report_all(settings, workspace)
    paths = find_runs(settings.runs, workspace)
    origin = _origin(settings, workspace, paths)
    output, is_there = _output(settings, workspace, paths, origin)
    if is_there:
        log.info("%s is there already, of the same runs and settings: it is kept", output)
        if settings.png is None:
            return output
    runs = [
        read_run(path, title if len(paths) > 1 else "", title, workspace, data_dir=settings.data_dir)
        for path, title in zip(paths, distinct_names(paths), strict=True)
    ]
    tolerance, notes = add_space_groups(runs)
    known, messages = read_known(runs, workspace, training=settings.training, data_dir=settings.data_dir)
    cards = [
        card
        for run in runs
        for card in cards_of(run, settings.gallery, seed=settings.seed, alone=len(runs) == 1)
    ]
    tabs = make_sections(settings, runs, known, cards, messages, tolerance=tolerance, symmetry_notes=notes)
    if not is_there:
        page = render(
            title=workspace.name or _title(runs),
            lead=_lead(runs, known),
            runs=runs,
            summary=summarize({run.name: run.metrics for run in runs}),
            sections=tabs,
            cards=cards,
            provenance=[chain_of(run) for run in runs],
            settings=flat(settings.model_dump(mode="json")),
            origin=origin,
        )
        _write(output, page)
        log.info("%.1f MB, complete in one file", output.stat().st_size / 1e6)
    if settings.png is not None:
        from repdiff.report.png import write_pngs

        plots = [plot for section in tabs for plot in section.plots]
        write_pngs(plots, settings.png)
        log.info("%d plots as PNG, with their numbers, in %s", len(plots), settings.png)
    return output


def _report_all(settings: ReportSettings, workspace: Workspace) -> Path:
    """Make a page of every finished evaluation, and the one that lists them; what cannot be shown is named there."""
    finished = [path for path, found in workspace.runs("evaluate").items() if found.status == "finished"]
    if not finished:
        raise UserError(f"{workspace.root} holds no finished evaluation: run `repdiff evaluate` first")
    folder, made, lost = workspace.root / "report", [], {}
    with progress_bar(total=len(finished), desc="pages", unit="page") as bar:
        for path in sorted(finished):
            alone = settings.model_copy(update={"all": False, "runs": (path,)})
            try:
                page = run_report(alone, replace(workspace, name=None))
                made.append(read_judged(path, page, folder))
            except UserError as error:
                lost[path.name] = str(error)
                log.warning("%s: left out: %s", path.name, error)
            bar.update()
    if not made:
        raise UserError(
            f"no page could be made of {len(finished)} evaluations; the first: {next(iter(lost.values()))}"
        )
    landing = folder / LANDING
    _write(landing, landing_page(workspace.name or workspace.root.resolve().name, made, lost))
    return landing


def make_sections(
    settings: ReportSettings,
    runs: Sequence[EvaluatedRun],
    known: Sequence[KnownSet],
    cards: Sequence[Card],
    messages: Sequence[str],
    *,
    tolerance: float,
    symmetry_notes: Sequence[str],
) -> list[Section]:
    """Draw all tabs, in the order of the page."""
    told = [message for run in runs for message in run.messages]
    told += [str(note) for run in runs for note in run.metrics.get("notes") or () if note not in messages]
    told += [f"{run.name} is compared with {sets}" for run in runs if (sets := _compared(run))]
    n_there = sum(len(run.crystals) for run in runs)
    gallery = (
        f"{len(cards)} of {n_there} structures, chosen at random with seed {settings.seed}, good and bad alike. "
        "A click on one turns it in space; – stands for what was not computed."
    )
    return [
        Section(id="summary", title="Summary", messages=list(dict.fromkeys([*told, *messages]))),
        sections.distributions(runs, known),
        sections.representations(
            runs,
            known,
            descriptor=settings.descriptor,
            method=settings.embedding,
            samples=settings.samples,
            seed=settings.seed,
        ),
        sections.elements(runs, known),
        sections.symmetry(runs, known, tolerance=tolerance, notes=symmetry_notes, seed=settings.seed),
        sections.reconstruction(runs),
        *conditions(runs),
        *relaxation(runs),
        *sections.funnel(runs),
        Section(id="structures", title="Structures", text=gallery if cards else ""),
        Section(
            id="provenance",
            title="Provenance",
            text="Every run behind this page, with its settings, versions, machine and inputs, the last first.",
        ),
    ]


def _compared(run: EvaluatedRun) -> str:
    """Name the sets that a run was compared with; "" of runs that do not say."""
    sets = run.metrics.get("compared") or {}
    return "; ".join(f"{role}: {one['name']} ({one['n']} crystals)" for role, one in sets.items())


def _origin(settings: ReportSettings, workspace: Workspace, paths: Sequence[Path]) -> str:
    """Hash what decides over the content of the page: runs, settings, title and version."""
    chosen = settings.model_dump(mode="json", exclude={"runs", "output", "png", "data_dir"})
    parts = {"settings": chosen, "title": workspace.name, "version": repdiff.__version__}
    parts["runs"] = [[str(path), sha256(path)] for path in paths]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _output(
    settings: ReportSettings, workspace: Workspace, paths: Sequence[Path], origin: str
) -> tuple[Path, bool]:
    """Decide where the page goes, before any work is done, and whether it is there already."""
    name = plain_name(workspace.name or "-and-".join(path.name for path in paths[:2]))
    output = settings.output or workspace.root / "report" / f"{name}.html"
    if output.is_dir():
        raise UserError(f"`output` is {output}, a folder, expected a file such as {output / 'report.html'}")
    if not output.exists() or workspace.overwrite:
        return output, False
    if origin_of(output) != origin:
        raise UserError(
            f"{output} exists, of other runs or settings: choose another `output`, or replace it with `overwrite`"
        )
    return output, True


def _write(output: Path, page: str) -> None:
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(output.parent)
        with replacing(output) as partial:
            partial.write_text(page, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"{output}: cannot write the page ({error.strerror or error}), expected a writable folder with room"
        ) from error


def _title(runs: Sequence[EvaluatedRun]) -> str:
    return runs[0].title if len(runs) == 1 else f"{len(runs)} evaluations side by side"


def _lead(runs: Sequence[EvaluatedRun], known: Sequence[KnownSet]) -> str:
    n = sum(run.n_structures for run in runs)
    sizes = {one.name: len(one.crystals) for one in known}
    against = list(dict.fromkeys(known_name(run.reference) for run in runs if run.reference))
    text = f"{n} structures"
    if against:
        text += " against " + " and ".join(
            f"{name} ({sizes[name]} structures)" if name in sizes else name for name in against
        )
    seen = [one.name for one in known if one.role == "training"]
    return text + (f"; trained on {', '.join(seen)}" if seen else "") + "."
