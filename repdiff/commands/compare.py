"""`repdiff compare`: several systems, the same data, budget and judges → one table, and a page."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from repdiff.comparison.cells import TrialRunner
from repdiff.comparison.page import render_comparison
from repdiff.comparison.plan import BASELINE, Plan, Planner
from repdiff.comparison.results import System, group_by_settings, read_result
from repdiff.comparison.table import Comparison, gather_notes
from repdiff.errors import UserError
from repdiff.report.collect import distinct_names
from repdiff.runs.atomic_files import replacing, write_json
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import CompareSettings
from repdiff.settings.configs import find_config, shipped_configs
from repdiff.settings.load import load_settings

log = logging.getLogger(__name__)
TABLE, DATA, PAGE = "table.txt", "comparison.json", "comparison.html"


def run_compare(settings: CompareSettings, workspace: Workspace) -> Path:
    """Compare systems that a file describes, training what is not there yet, or evaluations that are.

    Returns:
        The run's folder, with `table.txt`, `comparison.json` and `comparison.html`; for a file also the settings of
        every cell and what it said.

    Raises:
        UserError: If the file or an evaluation cannot be used, or a cell failed; the others are compared then.
        KeyboardInterrupt: If the user stopped; what is finished is kept.
    """
    if (file := _described(settings.what, workspace)) is not None:
        given = {name: getattr(settings, name) for name in settings.model_fields_set}
        return _compare_systems(file, load_settings(CompareSettings, file, given), workspace)
    if len(settings.what) < 2:
        raise UserError(
            f"{len(settings.what)} runs to compare, expected a YAML file that describes a comparison, or two or more "
            "outputs of `repdiff evaluate`"
        )
    return _compare_runs(settings, workspace)


def _described(what: Sequence[Path], workspace: Workspace) -> Path | None:
    """Return the file that describes a comparison, a path or the name of a shipped one; None for evaluations."""
    if len(what) != 1:
        return None
    is_run = any((place / what[0]).is_dir() for place in (Path(), workspace.root / "evaluate"))
    is_file = what[0].suffix.lower() in (".yaml", ".yml")
    return find_config(what[0]) if is_file or (what[0].name in shipped_configs() and not is_run) else None


def _compare_systems(file: Path, settings: CompareSettings, workspace: Workspace) -> Path:
    name = plain_name(workspace.name or file.stem)
    plan = Planner(file=file, name=name, settings=settings, workspace=workspace).plan()
    with workspace.run(settings, name) as run:
        if run.state == "finished":
            sys.stdout.write((run.path / TABLE).read_text(encoding="utf-8") + "\n")
            return run.path
        runner = TrialRunner(folder=run.path, workspace=workspace, at_once=settings.at_once)
        if failed := runner.run(plan.shared):
            raise UserError(f"the data could not be encoded: {next(iter(failed.values()))}")
        failed = runner.run(plan.cells)
        comparison = _collect(name, plan, failed, workspace)
        _write(comparison, run)
        if failed:
            raise UserError(
                f"{len(failed)} of {len(plan.cells)} cells failed, the first: {next(iter(failed))}: "
                f"{next(iter(failed.values()))}; the others are compared in {run.path}; mend the cause and give the "
                "command again"
            )
    return run.path


def _collect(name: str, plan: Plan, failed: dict[str, str], workspace: Workspace) -> Comparison:
    """Read the results of all cells, by system."""
    systems = []
    for system in dict.fromkeys(cell.system for cell in plan.cells):
        cells = [cell for cell in plan.cells if cell.system == system]
        results = [read_result(cell.steps[-1].folder(workspace)) for cell in cells if cell.name not in failed]
        reasons = {cell.name: failed[cell.name] for cell in cells if cell.name in failed}
        systems.append(System(name=system, results=tuple(results), failed=reasons))
    compared = tuple(system for system in systems if system.name != BASELINE)
    baseline = next((system for system in systems if system.name == BASELINE), None)
    return Comparison(title=name, systems=compared, baseline=baseline, notes=gather_notes(compared))


def _compare_runs(settings: CompareSettings, workspace: Workspace) -> Path:
    """Compare evaluations; those that differ in their seeds alone are repeats of one system."""
    paths = list(dict.fromkeys(workspace.find("evaluate", path) for path in settings.what))
    named = dict(zip(distinct_names(paths), paths, strict=True))
    results = [replace(read_result(path), name=name) for name, path in named.items()]
    systems = tuple(System(name=group[0].name, results=group) for group in group_by_settings(results))
    comparison = Comparison(
        title=" and ".join(s.name for s in systems), systems=systems, notes=gather_notes(systems)
    )
    label = plain_name("-and-".join(system.name for system in systems[:2]))
    resolved = settings.model_copy(update={"what": tuple(paths)})
    with workspace.run(resolved, label, inputs=named) as run:
        _write(comparison, run)
    return run.path


def _write(comparison: Comparison, run: Run) -> None:
    """Write table, numbers and page, and show the table."""
    table = comparison.table()
    write_json(run.path / DATA, comparison.to_json())
    for name, text in ((TABLE, table + "\n"), (PAGE, render_comparison(comparison))):
        with replacing(run.path / name) as partial:
            partial.write_text(text, encoding="utf-8")
    sys.stdout.write(table + "\n\n")
    run.summary.update(
        n_systems=len(comparison.systems),
        n_results=sum(len(system.results) for system in comparison.systems),
        n_failed=len(comparison.failed),
    )
