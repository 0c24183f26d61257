"""What settings of sampling change: the same trained models, sampled with each of several sets of options.

Every model samples crystals for the compositions of the first test crystals (match rate and RMSE, each against its own
target) and, without --given-only, as many of its own. Space groups are compared with those of those test crystals or of
all test crystals. Reported: mean and standard deviation over the models. Models of other trainings, for comparison, go
under another --label in the same file; further options of the same models are added to the rows of their label.

Example:
    python scripts/bench_sampling.py --label default --models RUN RUN --options step=posterior --options step=renoise \
        --dataset perov_5 --data-dir DIR --n 300 --steps 200 --out benchmarks/sampling_dpcdvae_perov_5.json
"""

import argparse
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import yaml

from repdiff.backends import BACKENDS, Backend, backend_of
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.crystals.formula import count_elements
from repdiff.datasets.load import load_dataset
from repdiff.metrics import Context
from repdiff.metrics.evaluation import evaluate_crystals
from repdiff.metrics.targets import MARK
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record

SHARES = ("p1", "cubic")


def for_targets(
    backend: Backend, targets: Sequence[Crystal], how: Mapping[str, Any], context: Context
) -> dict[str, float]:
    """Sample a crystal for the composition of each target, and compare it with that."""
    compositions = [count_elements(target) for target in targets]
    made, seconds = _timed(backend, len(targets), how, compositions)
    named = [crystal.replace(id=f"{target.id}{MARK}0") for crystal, target in zip(made, targets, strict=True)]
    found = _judge(named, targets, context, "matching")
    return {"cpu_seconds_per_crystal": seconds / len(made), **found}


def free(
    backend: Backend, known: Sequence[Crystal], n: int, how: Mapping[str, Any], context: Context
) -> dict[str, float]:
    """Sample crystals of the model's own choice."""
    made, _ = _timed(backend, n, how, None)
    return _judge(made, known, context)


def _timed(
    backend: Backend, n: int, how: Mapping[str, Any], compositions: Sequence[dict[int, int]] | None
) -> tuple[list[Crystal], float]:
    started = time.process_time()
    made = backend.sample(n, compositions=compositions, **how).crystals
    return made, time.process_time() - started


def _judge(
    made: Sequence[Crystal], known: Sequence[Crystal], context: Context, *more: str
) -> dict[str, float]:
    """Compute validity, symmetry and the distances of distributions, and what else is named."""
    compared = Context(reference=CrystalSet(crystals=known), cache=context.cache, seed=context.seed)
    families = ["validity", "symmetry", "distributions", *more]
    results = evaluate_crystals(CrystalSet(crystals=made), compared, metrics=families).results
    found = {
        "structure_valid": results["validity"].values["structure_valid"].value,
        **{name: results["symmetry"].values[name].value for name in SHARES},
        "js_space_groups": results["distributions"].values["js_space_groups"].value,
        "emd_density": results["distributions"].values["emd_density"].value,
    }
    for family in more:
        found |= {name: value.value for name, value in results[family].values.items()}
    return {name: float(value) for name, value in found.items() if value is not None}


def summary(rows: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return mean and standard deviation of each number over models, where all have it."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    columns = {name: [row[name] for row in rows] for name in names}
    return {
        name: {"mean": mean(column), "sd": stdev(column) if len(column) > 1 else 0.0}
        for name, column in columns.items()
    }


def measure(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Sample every model with each set of options in turn."""
    test = [
        crystal
        for crystal in load_dataset(arguments.dataset, data_dir=arguments.data_dir).crystals
        if crystal.split == "test"
    ]
    context = Context(cache=arguments.cache, seed=0)
    for options in arguments.options:
        parsed = dict(pair.split("=", 1) for pair in options.split(",") if pair)
        how: dict[str, Any] = {
            "steps": arguments.steps,
            "options": {name: yaml.safe_load(value) for name, value in parsed.items()},
        }
        targeted, own = [], []
        for path in arguments.models:
            backend = BACKENDS[backend_of(path)].load(path, device=torch.device("cpu"))
            backend.check(**how)
            targeted.append(for_targets(backend, test[: arguments.n], how, context))
            if not arguments.given_only:
                own.append(free(backend, test, arguments.n, how, context))
        row = {"options": options, "for_targets": summary(targeted), "seeds": targeted}
        row |= {"free": summary(own), "free_seeds": own} if own else {}
        print(json.dumps(row), flush=True)
        yield row


def rows_to_keep(before: Mapping[str, Any], result: Mapping[str, Any], options: Sequence[str]) -> list[Any]:
    """Return the rows that a label has already, but for the options that are measured now.

    Raises:
        SystemExit: If they were measured with other models, another data set, or other numbers of crystals or steps.
    """
    other = [
        name for name, value in json.loads(json.dumps(result)).items() if before.get(name, value) != value
    ]
    if other:
        raise SystemExit(f"the rows of this label differ in {', '.join(other)}: take another --label")
    return [row for row in before.get("rows", []) if row["options"] not in options]


def main() -> None:
    """Measure, and add the result to a file under its label."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--label", required=True, help="name of these trainings in the file")
    parser.add_argument("--models", type=Path, nargs="+", required=True, help="runs of repdiff train")
    parser.add_argument("--options", action="append", required=True, help="NAME=VALUE,... of sampling")
    parser.add_argument("--dataset", default="perov_5")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--n", type=int, default=300, help="crystals of each")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--given-only", action="store_true", help="sample for given compositions alone")
    parser.add_argument("--cache", type=Path, default=Path("repdiff-workspace/cache"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    manifests = [read_manifest(path) for path in arguments.models]
    result = {
        "dataset": arguments.dataset,
        "n": arguments.n,
        "steps": arguments.steps,
        "trainings": [
            {"settings": manifest.config, "seed": manifest.seed, "summary": manifest.summary}
            for manifest in manifests
        ],
    }
    before = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.exists() else {}
    rows = rows_to_keep(before.get(arguments.label, {}), result, arguments.options)
    for row in measure(arguments):  # written as they come: an interrupted run leaves what it has
        rows.append(row)
        record(arguments.out, {**before, arguments.label: {**result, "rows": rows}})


if __name__ == "__main__":
    main()
