"""`repdiff similar`: the crystals of a data set that are most like given ones, by their vectors."""

import logging
import sys
from pathlib import Path

from repdiff.crystals.checks import check_crystals
from repdiff.datasets.sources import CrystalSets
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.described_sets import describe, locate
from repdiff.representations.similar_crystals import MEANING, SimilarCrystals
from repdiff.representations.similarity import DescribedCrystals
from repdiff.runs.atomic_files import replacing
from repdiff.runs.csv_text import escaped_frame
from repdiff.runs.failures import write_failed
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import SimilarSettings

TABLE, SUMMARY = "similar.csv", "summary.txt"
N_SHOWN = 20  # rows of the table on the terminal
log = logging.getLogger(__name__)


def run_similar(settings: SimilarSettings, workspace: Workspace) -> Path:
    """Search a data set for each of some crystals, and print the table, the first rows of a long one.

    Returns:
        The run's folder: `similar.csv`, `summary.txt`, and `failed.jsonl` with the crystals that cannot be encoded.

    Raises:
        UserError: If there is nothing to look for or to search, or the descriptor is not that of an encoded set.
    """
    device = choose_device(settings.device)
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    crystals, inputs = sets.locate(settings.crystals)
    known = locate(str(settings.among), settings.descriptor, sets, workspace)
    settings = settings.model_copy(update={"crystals": crystals, "descriptor": known.descriptor})
    label = f"{Path(crystals).name}-among-{Path(known.name).name}-n{settings.n}-{known.descriptor}"
    found: dict[str, Path | Input] = {**inputs, **known.inputs}
    with workspace.run(settings, plain_name(label), inputs=found) as run:
        if run.state != "finished":
            given = sets.to_judge(crystals)
            reasons = check_crystals(given.crystals)
            pairs = list(zip(given.crystals, reasons, strict=True))
            failed = {**{one.id: why for one, why in pairs if why is not None}, **given.failed}
            sound = [one for one, why in pairs if why is None]
            if not sound:
                first = next(iter(failed.values()), "there are none")
                raise UserError(f"{crystals}: no crystal can be encoded, expected one or more; {first}")
            if failed:
                log.warning(
                    "%d of %d crystals left out; the first: %s",
                    len(failed), len(given), next(iter(failed.values())),
                )  # fmt: skip
            similar = SimilarCrystals.find(
                DescribedCrystals.of(sound, known.descriptor, device=device, progress=len(sound) > 1),
                describe(known, sets, workspace.descriptors_dir, device=device),
                settings.n,
                among=known.name,
                descriptor=known.descriptor,
                failed=failed,
            )
            frame = similar.to_frame()
            with replacing(run.path / TABLE) as partial:
                escaped_frame(frame).to_csv(partial, index=False, float_format="%.6g")
            write_failed(run.path, failed)
            more = [f"{N_SHOWN} of {len(frame)} rows; all of them in {TABLE}"] if len(frame) > N_SHOWN else []
            shown = frame.head(N_SHOWN).to_string(index=False, float_format=lambda number: f"{number:.4f}")
            with replacing(run.path / SUMMARY) as partial:
                partial.write_text("\n".join([shown, *more, MEANING]) + "\n", encoding="utf-8")
            run.summary.update(
                n_queries=len(similar), n_failed=len(failed), among=known.name, descriptor=known.descriptor
            )
    sys.stdout.write((run.path / SUMMARY).read_text(encoding="utf-8"))
    return run.path
