"""What finished evaluations say, with what it cost to get there, gathered by system."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from repdiff.errors import UserError
from repdiff.metrics.evaluation import read_summary
from repdiff.runs.manifest import Manifest, read_manifest

COSTS = {
    "n_parameters": "",
    "training_seconds": "s",
    "training_steps": "",
    "samples_seen": "",
    "sampling_seconds": "s",
    "seconds_per_structure": "s",
    "training_memory_gib": "GiB",
    "sampling_memory_gib": "GiB",
}
"""What is told of the way to an evaluation, with units; see `read_costs`."""
CHAIN = {
    "evaluate": "structures",
    "reconstruct": "generated",
    "generate": "model",
    "latents": "model",
    "finetune": "from_run",
}
"""The input of each verb that leads one step back."""


@dataclass(frozen=True, kw_only=True)
class Result:
    """One evaluation.

    Attributes:
        name: Name of the folder of the evaluation.
        seeds: Seed of every step that led to the evaluation, by command.
        metrics: What `metrics.json` holds.
        costs: Known costs, by the names in `COSTS`.
        settings: Settings of every step that led to the evaluation, by command, without paths of files.
        hardware: Machine of the training, or of the first step there is.
    """

    name: str
    seeds: Mapping[str, int | None]
    metrics: Mapping[str, Any]
    costs: Mapping[str, float]
    settings: Mapping[str, Mapping[str, Any]]
    hardware: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Spread:
    """One quantity of a system over its seeds.

    Attributes:
        values: One for each seed that has it.
        unit: "fraction", "" or a unit.
        protocol: Protocol that the metric was computed with; "" for costs.
    """

    values: tuple[float, ...]
    unit: str
    protocol: str = ""

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return statistics.fmean(self.values)

    @property
    def std(self) -> float | None:
        """Sample standard deviation over the seeds; None for a single one."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None

    @property
    def shown_in(self) -> tuple[float, str]:
        """Return what to multiply a value by for people, and its unit."""
        return (100.0, "%") if self.unit == "fraction" else (1.0, self.unit)


@dataclass(frozen=True, kw_only=True)
class System:
    """All results of one system.

    Attributes:
        name: Name shown in the table.
        results: One for each seed.
        failed: Reason by name, of cells that came to no result.
    """

    name: str
    results: tuple[Result, ...]
    failed: Mapping[str, str] = field(default_factory=dict)

    def metric(self, family: str, name: str, protocol: str) -> Spread | None:
        """Return a metric by one protocol over the seeds; None if none has it."""
        found = [
            value
            for result in self.results
            if (value := _value(result, family, name)) and _has_number(value) and _protocol(value) == protocol
        ]
        if not found:
            return None
        values = tuple(float(value["value"]) for value in found)
        return Spread(values=values, unit=str(found[0].get("unit") or ""), protocol=protocol)

    def cost(self, name: str) -> Spread | None:
        """Return a cost over the seeds; None if it is not known of any."""
        values = tuple(result.costs[name] for result in self.results if name in result.costs)
        return Spread(values=values, unit=COSTS[name]) if values else None


def read_result(folder: Path) -> Result:
    """Read an evaluation, and follow its inputs back as far as the folders are still there.

    Raises:
        UserError: If it is no finished evaluation, or damaged.
    """
    last = read_manifest(folder)
    if last.verb != "evaluate" or last.status != "finished":
        raise UserError(
            f"{folder} is {last.status} and of `repdiff {last.verb}`, expected a finished evaluation"
        )
    steps = {last.verb: last}
    manifest = last
    while (key := CHAIN.get(manifest.verb)) is not None:
        path = Path(str(manifest.config.get(key) or ""))
        if not (path / "manifest.json").is_file():
            break
        manifest = read_manifest(path)
        steps[manifest.verb] = manifest
    first = list(steps.values())[-1]
    return Result(
        name=folder.name,
        seeds={verb: found.seed for verb, found in steps.items()},
        metrics=read_summary(folder),
        costs=read_costs(steps),
        settings={verb: _comparable(found.config) for verb, found in steps.items()},
        hardware=first.hardware,
    )


def _wall_seconds(run: Manifest) -> float:
    """Return how long a training took; where it was killed and resumed, its own clock alone knows all sessions."""
    if run.config.get("clock") == "processor":
        return run.seconds
    return max(run.seconds, float(run.summary.get("training_seconds") or 0))


def read_costs(steps: Mapping[str, Manifest]) -> dict[str, float]:
    """Say what the runs behind an evaluation cost.

    `training_seconds` and `sampling_seconds` are the wall-clock of the whole runs, loading included; training is that
    of the model and of its adapters together, sampling is generation and reconstruction together, and
    `seconds_per_structure` is that over the number of structures. `samples_seen` counts a crystal each time it is in
    a batch. Memory is the peak of the process, libraries included.
    """
    trained = [steps[verb] for verb in ("train", "finetune") if verb in steps]
    making = [steps[verb] for verb in ("generate", "latents", "reconstruct") if verb in steps]
    costs: dict[str, float] = {}
    if trained:
        costs["training_seconds"] = sum(map(_wall_seconds, trained))
        if (n_parameters := trained[-1].summary.get("n_parameters")) is not None:
            costs["n_parameters"] = float(n_parameters)
        if all("steps" in run.summary for run in trained):
            costs["training_steps"] = float(sum(run.summary["steps"] for run in trained))
            costs["samples_seen"] = float(
                sum(run.summary["steps"] * run.config["batch_size"] for run in trained)
            )
    if making:
        costs["sampling_seconds"] = sum(run.seconds for run in making)
        if n := making[0].summary.get("n") or making[0].summary.get("n_crystals"):
            costs["seconds_per_structure"] = costs["sampling_seconds"] / n
    for name, runs in {"training": trained, "sampling": making}.items():
        if found := [run.peak_memory_gib for run in runs if run.peak_memory_gib is not None]:
            costs[f"{name}_memory_gib"] = max(found)
    return costs


def group_by_settings(results: Sequence[Result]) -> list[tuple[Result, ...]]:
    """Put results together that differ in their seeds alone, in the order of the first of each."""
    groups: list[list[Result]] = []
    for result in results:
        for group in groups:
            if group[0].settings == result.settings and all(one.seeds != result.seeds for one in group):
                group.append(result)
                break
        else:
            groups.append([result])
    return [tuple(group) for group in groups]


def metric_names(systems: Sequence[System]) -> list[tuple[str, str, str]]:
    """List family, name and protocol of all metrics that any system has a value of, in the order of the first."""
    names: dict[tuple[str, str, str], None] = {}
    for system in systems:
        for result in system.results:
            for family, found in (result.metrics.get("metrics") or {}).items():
                names |= {
                    (family, name, _protocol(value)): None
                    for name, value in (found.get("values") or {}).items()
                    if _has_number(value)
                }
    places = {key[:2]: place for place, key in reversed(list(enumerate(names)))}
    return sorted(names, key=lambda key: places[key[:2]])


def _has_number(value: Mapping[str, Any]) -> bool:
    return value.get("value") is not None and math.isfinite(value["value"])


def _protocol(value: Mapping[str, Any]) -> str:
    return str(value.get("protocol") or "")


def _value(result: Result, family: str, name: str) -> Mapping[str, Any] | None:
    return ((result.metrics.get("metrics") or {}).get(family, {}).get("values") or {}).get(name)


def _comparable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the seed and paths, which differ between runs that are repeats of one another."""
    left_out = {"seed", "encoded", "model", "generated", "structures", "relaxed", "hull", "data_dir", "cache"}
    left_out |= {"n_workers", "device", "from_run"}
    return {key: value for key, value in config.items() if key not in left_out}
