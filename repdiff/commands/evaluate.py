"""`repdiff evaluate`: crystals from any source → a table, `metrics.json` and `per_structure.parquet`."""

import logging
import sys
from dataclasses import replace
from pathlib import Path

from repdiff.datasets.compared import Compared, choose_compared, read_known, read_together
from repdiff.datasets.sources import CrystalSets, choose
from repdiff.energies.hull_table import locate_hull
from repdiff.energies.relaxed import RelaxedSet
from repdiff.energies.relaxed_files import read_relaxed
from repdiff.execution.jobs import workers_to_use
from repdiff.hardware import n_cores
from repdiff.metrics import Context
from repdiff.metrics.baselines import evaluate_set
from repdiff.metrics.evaluation import choose_metrics
from repdiff.metrics.funnel import find_funnel
from repdiff.metrics.kept import Kept, read_kept
from repdiff.runs.atomic_files import replacing
from repdiff.runs.manifest import Input, read_manifest
from repdiff.runs.workspace import Run, Workspace, plain_name
from repdiff.settings import EvaluateSettings
from repdiff.settings.flags import with_flags

log = logging.getLogger(__name__)
ENTRIES = {"novelty": "known_set"}  # settings that the context calls otherwise


def run_evaluate(settings: EvaluateSettings, workspace: Workspace) -> Path:
    """Judge structures, print the table to stdout, and write `metrics.json` and `per_structure.parquet`.

    What an earlier call found out about the same structures is kept, and what is new is computed.

    Returns:
        The run's folder.

    Raises:
        UserError: If there are no structures, a set cannot be read, or a metric is unknown.
    """
    choose_metrics(settings.only)
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    structures, inputs = sets.locate(settings.structures or _structures_of(settings.relaxed, workspace))
    name = Path(structures).name
    label = plain_name(f"{name}-vs-{settings.reference}" if settings.reference else name)
    settings = workspace.with_kept(settings.model_copy(update={"structures": structures}), label)
    compared = choose_compared(
        sets,
        reference=settings.reference,
        training=settings.training,
        novelty=settings.novelty,
        benchmark=settings.benchmark,
        stability=settings.relaxed is not None,
    )
    settings = settings.model_copy(update={"training": compared.training, "benchmark": compared.benchmark})
    inputs |= _known_inputs(settings, workspace, sets, compared)
    with workspace.run(settings, label, inputs=inputs) as run:
        if run.state != "finished":
            _evaluate(settings, workspace, sets, compared, run)
    table = (run.path / "table.txt").read_text(encoding="utf-8")
    sys.stdout.write(with_flags(table, settings.verb) + "\n")
    return run.path


def _evaluate(
    settings: EvaluateSettings, workspace: Workspace, sets: CrystalSets, compared: Compared, run: Run
) -> None:
    generated = choose(sets.to_judge(str(settings.structures), stored=True), settings.n, settings.seed)
    context = Context(
        reference=read_known(compared.reference, sets),
        training=read_known(compared.training, sets),
        known_set=read_together(compared.novelty, sets),
        matcher=settings.matcher,
        relaxed=_relaxed(settings.relaxed, workspace),
        hull=locate_hull(settings.hull, workspace),
        benchmark=compared.thresholds,
        cache=settings.cache or workspace.root / "cache",
        seed=settings.seed,
        subsample=settings.subsample,
        n_workers=workers_to_use(settings.n_workers, n_cores()),
        progress=True,
    )
    kept = Kept()
    if run.state == "extended":
        changed = {ENTRIES.get(key, key) for key in run.changed}
        kept = read_kept(run.path, generated.ids, summary=run.summary, changed=changed)
    evaluation = evaluate_set(
        generated,
        context,
        metrics=settings.only,
        baseline=None if settings.baseline else False,
        baseline_size=settings.baseline_size,
        halves=settings.baseline_halves,
        notes=sets.notes,
        kept=kept,
    )
    evaluation = replace(
        evaluation,
        funnel=find_funnel(
            Path(str(settings.structures)),
            evaluation.results,
            n_crystals=len(generated.crystals),
            n_failed=len(generated.failed),
        ),
    )
    with replacing(run.path / "table.txt") as partial:
        partial.write_text(evaluation.table() + "\n", encoding="utf-8")
    evaluation.write(run.path)
    run.added.extend(family for family in evaluation.results if family not in kept.results)
    run.summary.update(
        {
            f"{family}.{name}": value.value
            for family, result in evaluation.results.items()
            for name, value in result.values.items()
        }
    )


def _known_inputs(
    settings: EvaluateSettings, workspace: Workspace, sets: CrystalSets, compared: Compared
) -> dict[str, Path | Input]:
    """Say what files are read beside the structures."""
    inputs: dict[str, Path | Input] = {}
    for known in compared.names:
        inputs.update(sets.input_of(known))
    if settings.relaxed is not None:
        inputs["relaxed"] = workspace.find("relax", settings.relaxed)
    if (hull := locate_hull(settings.hull, workspace)) is not None and hull.exists():
        inputs["hull"] = hull
    return inputs


def _structures_of(relaxed: Path | None, workspace: Workspace) -> str | None:
    """Return the crystals that a run of `repdiff relax` relaxed, if its manifest says which."""
    if relaxed is None or not ((folder := workspace.find("relax", relaxed)) / "manifest.json").is_file():
        return None
    structures = read_manifest(folder).config.get("structures")
    log.info("using %s, which %s relaxed", structures, folder)
    return structures


def _relaxed(path: Path | None, workspace: Workspace) -> RelaxedSet | None:
    return None if path is None else read_relaxed(workspace.find("relax", path))
