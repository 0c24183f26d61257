"""The page of the families of metrics and the constants of their protocols.

Families come from the registry. Names of values and constants come from recorded evaluations in benchmarks/,
because some depend on what was given; a test compares them with what the code says now.
"""

import json
import re
from pathlib import Path
from typing import Any

from repdiff.metrics import METRICS
from repdiff.metrics.base import NEEDS

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
RECORDS = (
    "evaluate_perov_5.json",
    "evaluate_mp_20.json",
    "relaxed_mp_20.json",
    "coverage_mp_20.json",
    "floors_perov_5.json",
)
OF_A_RUN = re.compile(r"n_|version$|pymatgen$|package$|weights|novelty_sets")
"""Constants that say what was compared with, or by which version of a library: not those of the protocol."""


def pages() -> dict[str, str]:
    """Write the page, by path."""
    needs = "\n".join(f"* `{need}`: {sentence.removeprefix('needs ')}" for need, sentence in NEEDS.items())
    parts = [
        "# Constants of the protocols",
        "Every value of an evaluation names its protocol, and values of different protocols do not compare. "
        "`metrics.json` holds the constants of each, and beside these the versions of libraries and the sizes of the "
        "sets of that run. What the values mean, with formulas: [metrics](evaluation.md).",
        "Some families need more than crystals:",
        needs,
        *(_family(name) for name in METRICS),
    ]
    return {"reference/protocols.md": "\n\n".join(parts) + "\n"}


def constants() -> dict[str, dict[str, Any]]:
    """Collect the constants of every protocol that a record names, without those of the run."""
    found: dict[str, dict[str, Any]] = {}
    for family in METRICS:
        for protocol, values in _recorded(family).get("protocols", {}).items():
            found[protocol] = {key: value for key, value in values.items() if not OF_A_RUN.match(key)}
    return found


def _family(name: str) -> str:
    metric, known = METRICS[name], _recorded(name)
    lines = [f"## {name}", "", f"{metric.description[0].upper()}{metric.description[1:]}.", ""]
    if metric.needs or metric.takes:
        needed = ", ".join(f"`{one}`" for one in sorted(metric.needs)) or "nothing"
        used = ", ".join(f"`{one}`" for one in sorted(metric.takes - metric.needs)) or "nothing more"
        lines += [f"Needs {needed}; uses {used} where it is given.", ""]
    if not known:
        return "\n".join(
            [*lines, "What was asked and what was obtained, for each [condition](../how-to/conditions.md)."]
        )
    lines += ["| value | unit | protocol |", "|---|---|---|"]
    lines += [
        f"| `{name}.{key}` | {value['unit']} | `{value['protocol']}` |"
        for key, value in known["values"].items()
    ]
    for protocol in known["protocols"]:
        lines += ["", f"**`{protocol}`**", "", "| constant | |", "|---|---|"]
        lines += [f"| `{key}` | {_shown(value)} |" for key, value in constants()[protocol].items()]
    return "\n".join(lines)


def _recorded(family: str) -> dict[str, Any]:
    for record in RECORDS:
        document = json.loads((BENCHMARKS / record).read_text(encoding="utf-8"))
        if family in document["metrics"]:
            return document["metrics"][family]
    return {}


def _shown(value: object) -> str:
    return {True: "yes", False: "no"}.get(value, str(value)) if isinstance(value, bool) else str(value)
