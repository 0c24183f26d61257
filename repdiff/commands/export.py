"""`repdiff export`: crystals for the evaluators of others, in the files that these take."""

from pathlib import Path

from repdiff.crystals.exports import (
    chosen_for_lemat,
    writable_for_others,
    write_for_lemat,
    write_for_mattergen,
)
from repdiff.datasets.sources import CrystalSets
from repdiff.runs.failures import write_failed
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ExportSettings


def run_export(settings: ExportSettings, workspace: Workspace) -> Path:
    """Write crystals for LeMat-GenBench, for MatterGen's evaluator, or for both.

    Returns:
        The run's folder: `cifs/` and `cifs.csv`; `generated_crystals.extxyz`; `failed.jsonl` with what is left out.

    Raises:
        UserError: If there are no crystals, or too few for LeMat-GenBench.
    """
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    crystals, inputs = sets.locate(settings.crystals)
    settings = settings.model_copy(update={"crystals": crystals})
    readers = [name for name in ("lemat", "mattergen") if getattr(settings, name)]
    with workspace.run(settings, plain_name("-".join([Path(crystals).name, *readers])), inputs=inputs) as run:
        if run.state == "finished":
            return run.path
        made = writable_for_others(sets.to_judge(crystals), what=crystals)
        chosen = chosen_for_lemat(made.crystals, seed=settings.seed, what=crystals) if settings.lemat else []
        if settings.lemat:
            write_for_lemat(run.path, chosen, progress=True)
        if settings.mattergen:
            write_for_mattergen(run.path, made.crystals)
        write_failed(run.path, made.failed)
        run.summary.update(
            n_crystals=len(made.crystals),
            n_failed=len(made.failed),
            n_lemat=len(chosen),
            n_mattergen=len(made.crystals) if settings.mattergen else 0,
        )
    return run.path
