"""Where the numbers of a page come from: every run behind it, with settings, versions, machine and inputs."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from repdiff.errors import UserError
from repdiff.report.collect import EvaluatedRun
from repdiff.runs.manifest import Manifest, read_manifest

MAX_STEPS = 8
Rows = list[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a verb as it is shown."""

    verb: str
    name: str
    seed: int | None
    time: str
    tables: list[tuple[str, Rows]]


@dataclass(frozen=True, kw_only=True)
class Chain:
    """An evaluation and the runs that led to it, the last first."""

    name: str
    steps: list[Step]


def chain_of(run: EvaluatedRun) -> Chain:
    """Follow the inputs of an evaluation back as far as the folders are still there."""
    first = [run.manifest, *([] if run.made_by is None else [run.made_by])]
    return Chain(name=run.name, steps=[_step(manifest) for manifest in behind(first)])


def behind(first: Sequence[Manifest]) -> Iterator[Manifest]:
    """Yield runs and those that their inputs came from, each once, as far as the folders are still there."""
    waiting, seen = list(first), set()
    while waiting and len(seen) < MAX_STEPS:
        manifest = waiting.pop(0)
        if (key := (manifest.verb, manifest.name, manifest.created)) in seen:
            continue
        seen.add(key)
        yield manifest
        for found in manifest.inputs.values():
            folder = Path(found.path)
            if (folder / "manifest.json").is_file():
                try:
                    waiting.append(read_manifest(folder))
                except UserError:  # a damaged manifest further up does not concern this page
                    continue


def flat(values: Mapping[str, Any], before: str = "") -> Rows:
    """Write nested settings one a row, keys joined by dots."""
    rows: Rows = []
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            rows += flat(value, f"{before}{key}.")
        else:
            rows.append((f"{before}{key}", _text(value)))
    return rows


def _step(manifest: Manifest) -> Step:
    tables = [
        ("Settings", flat(manifest.config)),
        ("Versions", flat(manifest.versions)),
        ("Machine", [*flat(manifest.hardware), ("peak memory", f"{manifest.peak_memory_gib or '?'} GiB")]),
        (
            "Inputs",
            [
                row
                for key, found in manifest.inputs.items()
                for row in ((key, found.path), ("sha256", found.sha256))
            ],
        ),
        (
            "Command",
            [("as given", " ".join(manifest.command)), ("finished", manifest.finished or manifest.status)],
        ),
    ]
    return Step(
        verb=manifest.verb,
        name=manifest.name,
        seed=manifest.seed,
        time=f"{manifest.seconds:.3g} s" if manifest.seconds < 120 else f"{manifest.seconds / 60:.3g} min",
        tables=[(title, rows) for title, rows in tables if rows],
    )


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "–"
    return str(value)
