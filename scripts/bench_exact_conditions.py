"""Measure how often exact conditions are obeyed by a trained model, and what they cost.

    python scripts/bench_exact_conditions.py --model repdiff-workspace/train/RUN --out benchmarks/exact_conditions.json

For each condition 1000 protostructures are drawn, with one thread, and judged by what they are: formula, elements,
space group, atoms. The cost is the processor time beside that of as many free draws, the median of `--rounds` seeds.
With `--crystals N` the first N samples of each condition are also made into crystals (`--search`), and judged by what
is measured on them. Chemical system, composition and group are those of the most frequent kind of the free draws, or of
`--system`, `--composition` and `--group`.
"""

import argparse
import statistics
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

import repdiff as rd
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.conditions import typed
from repdiff.conditions.kinds import FormulaUnits, system_text
from repdiff.crystals.formula import formula_text, parse_formula, reduced_formula
from repdiff.runs.provenance import record

N = 1000


def main() -> None:
    """Draw, judge, and write what came of it."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--draws", type=int, default=N)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--crystals", type=int, default=0)
    parser.add_argument("--search", default="fast")
    parser.add_argument("--system")
    parser.add_argument("--composition")
    parser.add_argument("--group", type=int)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = rd.load_model(arguments.model, device="cpu")
    backend = model.backend
    assert isinstance(backend, StructRepDiff)
    draw(backend, {}, 50, seed=0)  # what is done once
    free = [draw(backend, {}, arguments.draws, seed=seed) for seed in range(arguments.rounds)]
    seconds = statistics.median(took for _, took in free)
    results = {}
    for name, asked in conditions(arguments, [one for drawn, _ in free for one in drawn if one]).items():
        results[name] = measure(backend, asked, seconds, arguments)
        if arguments.crystals:
            results[name]["crystals"] = make(model, asked, arguments)
        print(name, results[name], flush=True)
    record(
        arguments.out,
        {
            "n_draws": arguments.draws,
            "rounds": arguments.rounds,
            "seeds": list(range(arguments.rounds)),
            "n_crystals": arguments.crystals,
            "seconds_of_free_draws": round(seconds, 3),
            "conditions": results,
        },
    )
    print(arguments.out.read_text(encoding="utf-8"))


def conditions(arguments: argparse.Namespace, drawn: list[Any]) -> dict[str, dict[str, Any]]:
    """Choose what to ask for, the commonest of its kind where nothing is named."""
    several = [one for one in drawn if len(one.elements) > 1] or drawn
    system = arguments.system or most([system_text(one.elements) for one in several])
    formula = arguments.composition or most(
        [formula_text(dict(reduced_formula(one.composition()))) for one in several]
    )
    group = arguments.group or int(most([str(one.number) for one in drawn]))
    excluded = most([system_text([one.elements[-1]]) for one in drawn])
    return {
        "composition": {"composition": formula, "formula_units": "1-4"},
        "chemical_system": {"chemical_system": system},
        "elements_excluded": {"elements_excluded": excluded},
        "space_group": {"space_group": str(group)},
        "n_atoms": {"n_atoms": "2-6"},
        "hhi_production": {"hhi_production": "..3000"},
        "several": {"crystal_system": "cubic,tetragonal", "elements_excluded": excluded, "n_atoms": "2-12"},
    }


def most(names: list[str]) -> str:
    """Return the most frequent name."""
    return Counter(sorted(names)).most_common(1)[0][0]


def measure(
    backend: StructRepDiff, asked: Mapping[str, Any], free: float, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Draw under conditions, and count those that obey and those that were not made."""
    rounds = [draw(backend, asked, arguments.draws, seed=seed) for seed in range(arguments.rounds)]
    drawn = [one for some, _ in rounds for one in some]
    made = [one for one in drawn if one is not None]
    wanted = list(typed({name: one for name, one in asked.items() if name not in SEPARATE}).values())
    if "composition" in asked:
        counts = tuple(sorted(parse_formula(asked["composition"]).items()))
        wanted.append(FormulaUnits(name="composition", counts=counts, units=frozenset(range(1, 5))))
    obey = [
        all(rule.allows_formula(one.composition()) and rule.allows_group(one.number) for rule in wanted)
        for one in made
    ]
    seconds = statistics.median(took for _, took in rounds)
    return {
        "asked": {name: str(one) for name, one in asked.items()},
        "n": len(drawn),
        "n_made": len(made),
        "n_obey": sum(obey),
        "share_of_made_that_obey": sum(obey) / len(made) if made else None,
        "cost_beside_free_draws": round(seconds / free, 3),
    }


SEPARATE = ("composition", "formula_units")


def draw(backend: StructRepDiff, asked: Mapping[str, Any], n: int, *, seed: int) -> tuple[list[Any], float]:
    """Draw protostructures, and measure the processor time, s."""
    conditions = {name: one for name, one in asked.items() if name != "composition"}
    formulas = [parse_formula(asked["composition"])] * n if "composition" in asked else None
    began = time.process_time()
    drawn = backend.draw(n, seed=seed, compositions=formulas, conditions=conditions or None)
    return drawn, time.process_time() - began


def make(model: rd.Model, asked: Mapping[str, Any], arguments: argparse.Namespace) -> dict[str, Any]:
    """Make crystals, and count what is within what was asked, and what counts as not made."""
    named = {name: one for name, one in asked.items() if name != "composition"}
    formula = asked.get("composition")
    made = model.sample(
        arguments.crystals, composition=formula, conditions=named, search=arguments.search, progress=False
    )
    within = [
        all(value for label, value in crystal.labels.items() if label.endswith("_within")) for crystal in made
    ]
    return {
        "n_made": len(within),
        "n_within": sum(within),
        "not_made": dict(Counter(map(why, made.failed.values()))),
    }


def why(reason: str) -> str:
    """Return what a crystal failed at, without the values."""
    return ", ".join(sorted(part.split(" is ")[0] for part in reason.split("; ")))


if __name__ == "__main__":
    main()
