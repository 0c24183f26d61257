"""What the judgement of crystals leaves in the folder of a run."""

from pathlib import Path

from repdiff.conditions.verdicts import Judged
from repdiff.crystals.crystal import write_crystals
from repdiff.runs.atomic_files import replacing

RATES, MISSED = "conditions.txt", "not_as_asked.parquet"


def write_judged(folder: Path, judged: Judged) -> dict[str, object]:
    """Write the rates, and the crystals that were made and do not count; return the summary of the run."""
    if not judged.rates:
        return {}
    with replacing(folder / RATES) as partial:
        partial.write_text("".join(f"{line}\n" for line in judged.lines()), encoding="utf-8")
    if judged.missed:
        write_crystals(folder / MISSED, judged.missed)
    return judged.summary()


def told(folder: Path) -> str:
    """Return the rates that were written, a line each; nothing where nothing was asked."""
    path = folder / RATES
    return path.read_text(encoding="utf-8") if path.is_file() else ""
