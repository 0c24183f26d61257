"""Read what a report shows: evaluations, the crystals they judged, and the sets they were compared with."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.sources import CrystalSets, split_name
from repdiff.datasets.splits import draw_rows
from repdiff.errors import UserError
from repdiff.metrics.evaluation import ROWS, SUMMARY, read_summary
from repdiff.report.theme import Role
from repdiff.runs.manifest import Manifest, read_manifest
from repdiff.runs.parquet_files import read_own_table
from repdiff.runs.workspace import Workspace

log = logging.getLogger(__name__)
Record = dict[str, Any]
SHOWN = 20_000  # structures of a run in plots and lists; of larger ones as many, drawn at random


@dataclass(frozen=True, kw_only=True)
class KnownSet:
    """Known crystals that generated ones are compared with; `name` is for people."""

    name: str
    role: Role
    crystals: Sequence[Crystal]


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """One output of `repdiff evaluate`, with the crystals behind it as far as they are still there.

    Attributes:
        name: Name in legends and tables, distinct from the others.
        path: Its folder.
        title: Name in headings.
        metrics: What `metrics.json` holds.
        records: What is known of each structure: labels of its reconstruction, columns of the metrics.
        crystals: Crystals by their index in `records`; structures that failed or are gone have none.
        manifest: Manifest of the evaluation.
        made_by: Manifest of the run that made the crystals; None if they are from elsewhere.
        failed: Reason by name, of structures that do not exist or could not be read.
        reference: Name of the known crystals that it was compared with.
        training: Name of the training crystals.
        n_structures: Structures that were evaluated; `records` has some of them where there are very many.
        messages: What could not be read or is not shown, one line each.
    """

    name: str
    path: Path
    title: str
    metrics: dict[str, Any]
    records: list[Record]
    crystals: dict[int, Crystal]
    manifest: Manifest
    made_by: Manifest | None
    failed: dict[str, str]
    reference: str | None
    training: str | None
    n_structures: int
    messages: list[str] = field(default_factory=list)

    def column(self, name: str) -> Float[np.ndarray, " n"]:
        """Return a number for each structure that exists, NaN where there is none."""
        values = [_number(record.get(name)) for record in self.records if not record.get("failure")]
        return np.array(values, dtype=np.float64)

    def has(self, name: str) -> bool:
        """Tell whether any structure has a value of that name."""
        return any(record.get(name) is not None for record in self.records)


def find_runs(given: Sequence[Path], workspace: Workspace) -> list[Path]:
    """Find the evaluations that a user means, by path or by name; without any the newest.

    Raises:
        UserError: If one does not exist, is no evaluation, or is not finished.
    """
    paths = [workspace.find("evaluate", path) for path in given] or [workspace.newest("evaluate")]
    for path in paths:
        _check(path)
    return list(dict.fromkeys(path.resolve() for path in paths))


def read_run(
    path: Path, name: str, title: str, workspace: Workspace, *, data_dir: Path | None
) -> EvaluatedRun:
    """Read one evaluation and its crystals; crystals that are gone are a message, not an error.

    Args:
        path: Folder of the evaluation.
        name: What to call it in legends; "" for what it is: generated, reconstructed, a set of known crystals.
        title: What to call it in headings.
        workspace: Where data sets and reconstructions are looked for.
        data_dir: Folder of the benchmark files; None for that of the evaluation.

    Raises:
        UserError: If the folder is damaged.
    """
    manifest = read_manifest(path)
    metrics = read_summary(path)
    rows, n_structures = _read_rows(path / ROWS)
    messages: list[str] = []
    given = str(manifest.config.get("structures") or "")
    sets = CrystalSets(data_dir=data_dir or _path(manifest.config.get("data_dir")), workspace=workspace)
    judged, made_by = _judged(manifest, path, sets, messages)
    name = name or _kind(given, made_by)
    failed = {str(key): str(reason) for key, reason in (metrics.get("failed") or {}).items()}
    failed |= {str(row["id"]): str(row["failure"]) for row in rows if row.get("failure")}
    if not rows:
        n_structures = len(judged)
        shown = draw_rows(n_structures, SHOWN, 0)
        rows = [{"index": place, "id": judged[place].id} for place in shown]
    if len(rows) < n_structures:
        messages.append(
            f"{name}: plots, reasons and the gallery show {len(rows)} of {n_structures} structures, drawn at random"
        )
    crystals = _pair(rows, judged)
    if judged and len(crystals) < sum(not row.get("failure") for row in rows):
        messages.append(f"{name}: the structures are not those that were judged; some are left out")
    labels = {place: dict(crystal.labels) for place, crystal in crystals.items()}
    records = [
        {**labels.get(place, {}), **{key: value for key, value in row.items() if value is not None}}
        for place, row in enumerate(rows)
    ]
    reference = manifest.config.get("reference")
    return EvaluatedRun(
        name=name,
        path=path,
        title=title,
        metrics=metrics,
        records=records,
        crystals=crystals,
        manifest=manifest,
        made_by=made_by,
        failed=failed,
        reference=reference,
        training=manifest.config.get("training"),
        n_structures=n_structures,
        messages=messages,
    )


def read_known(
    runs: Sequence[EvaluatedRun], workspace: Workspace, *, training: str | None, data_dir: Path | None
) -> tuple[list[KnownSet], list[str]]:
    """Read the training sets and references of all runs, each once, and what could not be read.

    Args:
        runs: The evaluations.
        workspace: Where downloads are.
        training: Training crystals instead of those that the runs name.
        data_dir: Folder of the benchmark files; None for that of each run.
    """
    readers: dict[Path | None, CrystalSets] = {}
    found: dict[tuple[Role, str], KnownSet] = {}
    messages: list[str] = []
    for run in runs:
        place = data_dir or _path(run.manifest.config.get("data_dir"))
        sets = readers.setdefault(place, CrystalSets(data_dir=place, workspace=workspace))
        try:
            seen = training or run.training or sets.training_of(run.reference)
        except UserError:  # told below, where the reference itself is read
            seen = None
        for role, name in (("training", seen), ("reference", run.reference)):
            if name is None or (role, name) in found:
                continue
            try:
                found[role, name] = KnownSet(name=known_name(name), role=role, crystals=sets.known(name))
            except UserError as error:
                if (message := f"{name} is not shown: {error}") not in messages:
                    messages.append(message)
        messages += [note for note in sets.notes if note not in messages]
    order = ("training", "reference")
    return sorted(found.values(), key=lambda known: order.index(known.role)), messages


def distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by their folders, as short as tells them apart: no reference, no parents unless needed."""
    names = [path.name.partition("-vs-")[0] for path in paths]
    if len(set(names)) < len(names):
        names = [path.name for path in paths]
    for depth in range(2, 6):
        if len(set(names)) == len(names):
            break
        names = ["/".join(path.parts[-depth:]) for path in paths]
    return names


def known_name(source: str) -> str:
    """Write a set of known crystals for people: "perov_5 test" of "perov_5:test", the last part of a path.

    Example:
        >>> known_name("perov_5:test"), known_name("/data/mine.csv")
        ('perov_5 test', 'mine.csv')
    """
    name, split = split_name(source)
    return " ".join(filter(None, (Path(name).name, split)))


def _check(path: Path) -> None:
    if path.is_dir() and (path / "manifest.json").is_file():
        manifest = read_manifest(path)
        if manifest.verb != "evaluate":
            raise UserError(
                f"{path} is an output of `repdiff {manifest.verb}`, expected one of `repdiff evaluate`: "
                f"run `repdiff evaluate {path}` first"
            )
        if manifest.status != "finished":
            raise UserError(
                f"{path} is {manifest.status}, expected a finished evaluation: give its command again to go on"
            )
        if (path / SUMMARY).is_file():
            return
    raise UserError(f"{path} holds no {SUMMARY}, expected the folder of an output of `repdiff evaluate`")


def _judged(
    manifest: Manifest, path: Path, sets: CrystalSets, messages: list[str]
) -> tuple[Sequence[Crystal], Manifest | None]:
    """Read the crystals that an evaluation judged, wherever they are now."""
    given = str(manifest.config.get("structures") or "")
    places = [given, *(found.path for key, found in manifest.inputs.items() if key == "structures")]
    if given:
        moved = Path("reconstruct") / Path(given).name
        places += [str(root / moved) for root in (path.parent.parent, sets.workspace.root)]
    reasons = []
    for place in dict.fromkeys(filter(None, places)):
        try:
            judged = sets.to_judge(place, stored=True)
        except UserError as error:
            reasons.append(str(error))
            continue
        maker = Path(place) / "manifest.json"
        return judged.crystals, read_manifest(maker.parent) if maker.is_file() else None
    why = reasons[0] if reasons else "the evaluation does not name them"
    messages.append(f"{path.name}: its structures cannot be read, so only numbers are shown: {why}")
    return [], None


def _kind(structures: str, made_by: Manifest | None) -> str:
    """Say in a word what the structures of an evaluation are."""
    if split_name(structures)[1]:
        return known_name(structures)
    return "reconstructed" if made_by is not None and made_by.config.get("dataset") else "generated"


def _read_rows(path: Path) -> tuple[list[Record], int]:
    """Read what the metrics say of each structure, or of some where there are very many; and count them all."""
    if not path.is_file():
        return [], 0
    try:
        table = read_own_table(path)
        n = table.num_rows
        return (table if n <= SHOWN else table.take(draw_rows(n, SHOWN, 0))).to_pylist(), n
    except (UserError, OSError) as error:
        why = str(error).splitlines()[0]
        raise UserError(
            f"{path} cannot be read ({why}): evaluate the structures again with `overwrite`"
        ) from error


def _pair(rows: Sequence[Record], crystals: Sequence[Crystal]) -> dict[int, Crystal]:
    """Give each row its crystal by name; of equal names the first row takes the first crystal."""
    names = {str(row.get("id")) for row in rows}
    waiting: dict[str, list[Crystal]] = {}
    for crystal in reversed(crystals):
        if crystal.id not in names:
            continue
        waiting.setdefault(crystal.id, []).append(crystal)
    pairs = {}
    for place, row in enumerate(rows):
        if not row.get("failure") and (left := waiting.get(str(row.get("id")))):
            pairs[place] = left.pop()
    return pairs


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else float("nan")


def _path(value: object) -> Path | None:
    return Path(str(value)) if value else None
