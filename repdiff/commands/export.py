"""`repdiff export`: crystals for the evaluators of others, in the files that these take."""

import logging
from pathlib import Path

from repdiff.crystals.exports import chosen_for_lemat, write_for_lemat, write_for_mattergen
from repdiff.crystals.structure_files import writable_of
from repdiff.datasets.sources import CrystalSets
from repdiff.errors import UserError
from repdiff.runs.failures import write_failed
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import ExportSettings

log = logging.getLogger(__name__)


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
        made = writable_of(sets.to_judge(crystals))
        if not made.crystals:
            raise UserError(f"{crystals}: none of {len(made)} crystals can be written, expected one or more")
        chosen = chosen_for_lemat(made.crystals, seed=settings.seed, what=crystals) if settings.lemat else []
        if made.failed:
            log.warning(
                "%d of %d crystals left out; the first: %s",
                len(made.failed), len(made), next(iter(made.failed.values())),
            )  # fmt: skip
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
