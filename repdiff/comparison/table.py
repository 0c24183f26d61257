"""The comparison as a table: rows of metrics and costs, a column for each system, the baseline last."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from repdiff.comparison.results import COSTS, Spread, System, metric_names
from repdiff.hardware import hardware
from repdiff.metrics.evaluation_views import aligned
from repdiff.runs.provenance import versions


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity: `cells` by system, None where there is none; `baseline` of real crystals."""

    family: str
    name: str
    cells: tuple[Spread | None, ...]
    baseline: Spread | None = None

    @property
    def known(self) -> list[Spread]:
        """All that there is."""
        return [cell for cell in (*self.cells, self.baseline) if cell is not None]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Systems side by side.

    Attributes:
        title: Title of the table.
        systems: Each with its results.
        baseline: Real crystals judged in the same way; None if there are none.
        notes: What must be said of the data.
    """

    title: str
    systems: tuple[System, ...]
    baseline: System | None = None
    notes: tuple[str, ...] = field(default=())

    def metrics(self) -> list[Row]:
        """Return the metrics that any system has; a row holds what was measured by one protocol."""
        return [
            Row(
                family=family,
                name=name,
                cells=tuple(system.metric(family, name, protocol) for system in self.systems),
                baseline=None if self.baseline is None else self.baseline.metric(family, name, protocol),
            )
            for family, name, protocol in metric_names(self.systems)
        ]

    def costs(self) -> list[Row]:
        """Return what the systems cost."""
        rows = [
            Row(family="cost", name=name, cells=tuple(system.cost(name) for system in self.systems))
            for name in COSTS
        ]
        return [row for row in rows if row.known]

    @property
    def parts(self) -> tuple[System, ...]:
        """The systems, and the baseline if there is one."""
        return self.systems if self.baseline is None else (*self.systems, self.baseline)

    @property
    def protocols(self) -> dict[str, Mapping[str, Any]]:
        """Return the constants of every protocol."""
        found: dict[str, Mapping[str, Any]] = {}
        for system in self.parts:
            for result in system.results:
                for family in (result.metrics.get("metrics") or {}).values():
                    found |= family.get("protocols") or {}
        return found

    def table(self) -> str:
        """Write everything for people."""
        names = [f"{system.name} (n = {len(system.results)})" for system in self.systems]
        head = ("metric", *names, *(["baseline"] if self.baseline else []), "protocol")
        rows: list[tuple[str, ...]] = [head]
        for row in [*self.costs(), *self.metrics()]:
            cells = [*row.cells, *([row.baseline] if self.baseline else [])]
            protocol = row.known[0].protocol
            rows.append((f"{row.family}.{row.name}", *(show(cell) for cell in cells), protocol))
        lines = aligned(rows)
        lines += ["", "mean ± sample standard deviation over the seeds"]
        if self.baseline:
            lines.append(
                f"baseline: real crystals of the training set judged like generated ones, "
                f"{len(self.baseline.results)} draws"
            )
        for protocol, constants in self.protocols.items():
            lines.append(f"{protocol}: " + ", ".join(f"{key} = {value}" for key, value in constants.items()))
        lines += [f"note: {note}" for note in self.notes]
        lines += [f"failed: {name}: {reason}" for name, reason in self.failed.items()]
        return "\n".join(lines)

    @property
    def failed(self) -> dict[str, str]:
        """Reason by name of all cells that came to no result."""
        return {name: reason for system in self.parts for name, reason in system.failed.items()}

    def to_json(self) -> dict[str, Any]:
        """Return all numbers, those of each seed included."""
        return {
            "title": self.title,
            "systems": [_system_to_json(system) for system in self.systems],
            "baseline": None if self.baseline is None else _system_to_json(self.baseline),
            "metrics": [
                {"protocol": row.known[0].protocol, **self._row_to_json(f"{row.family}.{row.name}", row)}
                for row in self.metrics()
            ],
            "costs": [self._row_to_json(row.name, row) for row in self.costs()],
            "protocols": self.protocols,
            "failed": self.failed,
            "notes": list(self.notes),
            "versions": versions(),
            "hardware": hardware(),
        }

    def _row_to_json(self, name: str, row: Row) -> dict[str, Any]:
        cells = row.cells if self.baseline is None else (*row.cells, row.baseline)
        found = zip(self.parts, cells, strict=True)
        return {
            "name": name,
            "unit": row.known[0].unit,
            "systems": {system.name: _spread_to_json(cell) for system, cell in found if cell is not None},
        }


def show(spread: Spread | None) -> str:
    """Write mean and spread with the digits that the spread allows; "-" if there is nothing."""
    if spread is None:
        return "-"
    factor, unit = spread.shown_in
    mean, std = factor * spread.mean, None if spread.std is None else factor * spread.std
    if std is None or std == 0:
        whole = spread.unit == "" and mean == round(mean)
        text = f"{mean:.2f}" if spread.unit == "fraction" else f"{mean:.0f}" if whole else f"{mean:.4g}"
    elif max(abs(mean), std) >= 1e5:
        text = f"{mean:.3g} ± {std:.2g}"
    else:
        decimals = 0
        while decimals < 6 and std * 10**decimals < 1:
            decimals += 1
        decimals += 1 if std * 10**decimals < 3 else 0
        text = f"{mean:.{decimals}f} ± {std:.{decimals}f}"
    return f"{text} {unit}".rstrip()


def gather_notes(systems: Sequence[System]) -> tuple[str, ...]:
    """Collect what the evaluations say about their data, each once."""
    found = [
        str(note)
        for system in systems
        for result in system.results
        for note in result.metrics.get("notes") or ()
    ]
    return tuple(dict.fromkeys(found))


def _system_to_json(system: System) -> dict[str, Any]:
    return {
        "name": system.name,
        "runs": [
            {
                "name": result.name,
                "seeds": result.seeds,
                "settings": result.settings,
                "hardware": result.hardware,
            }
            for result in system.results
        ],
        "failed": dict(system.failed),
    }


def _spread_to_json(spread: Spread) -> dict[str, Any]:
    return {"mean": spread.mean, "std": spread.std, "values": list(spread.values)}
