"""Are crystals that were asked for a property as valid, new and stable as those that were not?

From one model that learnt a label, as many crystals are drawn of each way: without a wish; with the label as a
condition, at quantiles of the training labels from 5 to 95 %; and, with `--head`, steered by that head to the same
values. All are relaxed by CHGNet and judged like any set: validity, and the share that is stable (within 0.1 eV/atom of
the shipped hull), unique and novel to MP-20. Each share comes with the difference from the samples without a wish and
the 95 % interval of that difference by bootstrap over crystals of both. The last line on stdout is JSON. Example:
    python scripts/bench_conditional_stability.py --model RUN --data-dir DIR --label formation_energy_per_atom \
        --head HEAD --n 12 --n-values 8 --guidance 3 --pieces DIR --out benchmarks/conditional_stability.json
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from bench_guidance import asked_values, asking, made  # beside this file
from jaxtyping import Bool

import repdiff as rd
from repdiff.crystals.crystal import Crystal, read_crystals, write_crystals
from repdiff.datasets.load import load_dataset
from repdiff.latent_space.property_head import read_labels
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.provenance import record

SHARES = ("structure_valid", "composition_valid", "stable", "sun", "sun_symmetric")
N_RESAMPLES = 2000


def drawn(arguments: argparse.Namespace, way: str, values: Sequence[float]) -> list[Crystal]:
    """Draw the crystals of one way, or read those that an earlier call drew."""
    file = arguments.pieces / f"{way}.parquet"
    if file.is_file():
        return read_crystals(file)
    model = rd.load_model(arguments.model, device="cpu")
    heads = [rd.load_head(arguments.head)] if way == "steered" else []
    strength = arguments.candidates if heads else arguments.guidance
    ask = asking(arguments.label, heads)
    crystals: list[Crystal] = []
    if way == "unconditional":
        crystals = made(model, {}, arguments.n * len(values), arguments.steps, arguments.seed)
    else:
        for number, value in enumerate(values):
            found = made(model, ask(value, strength), arguments.n, arguments.steps, arguments.seed + number)
            crystals += [one.replace(id=f"{number}-{one.id}") for one in found]
    write_crystals(file, crystals)
    return crystals


def judged(arguments: argparse.Namespace, way: str, values: Sequence[float]) -> dict[str, list[bool]]:
    """Relax and evaluate the crystals of one way: for each crystal, whether it has what is counted."""
    file = arguments.pieces / f"{way}.json"
    if file.is_file():
        return read_json(file)
    crystals = drawn(arguments, way, values)
    n_asked = arguments.n * len(values)
    relaxed = rd.relax(crystals, max_steps=arguments.relax_steps, device="cpu", n_workers=arguments.n_workers)
    mp_20 = load_dataset("mp_20", data_dir=arguments.data_dir)
    found = rd.evaluate(
        crystals,
        [one for one in mp_20.crystals if one.split == "test"],
        training=[one for one in mp_20.crystals if one.split == "train"],
        novelty=mp_20.crystals,
        relaxed=relaxed,
        metrics=["validity", "stability"],
        baseline=False,
        n_workers=arguments.n_workers,
    )
    table = {name: one for result in found.results.values() for name, one in result.columns.items()}
    missing = [False] * (n_asked - len(crystals))
    flags = {name: [bool(one) for one in table[name]] + missing for name in SHARES}
    write_json(file, flags)
    return flags


def compared(
    own: Mapping[str, Bool[np.ndarray, " n"]], free: Mapping[str, Bool[np.ndarray, " n"]], seed: int
) -> dict[str, Any]:
    """Give shares and their differences from those without a wish."""
    random = np.random.default_rng(seed)
    rows = {}
    for name, flags in own.items():
        other = free[name]
        draws = [
            random.choice(flags, len(flags)).mean() - random.choice(other, len(other)).mean()
            for _ in range(N_RESAMPLES)
        ]
        rows[name] = {
            "share": float(flags.mean()),
            "difference": float(flags.mean() - other.mean()),
            "interval": np.quantile(draws, [0.025, 0.975]).round(4).tolist(),
        }
    return rows


def main() -> None:
    """Draw, relax, judge and compare."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True, help="run of repdiff train or finetune")
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--label", default="formation_energy_per_atom")
    parser.add_argument("--head", type=Path, help="run of repdiff head fit for the label")
    parser.add_argument("--n", type=int, default=12, help="samples of each value")
    parser.add_argument("--n-values", type=int, default=8)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--candidates", type=int, default=16)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--relax-steps", type=int, default=300)
    parser.add_argument("--n-workers", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--pieces", type=Path, required=True, help="folder of what is done already")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.pieces.mkdir(parents=True, exist_ok=True)
    training = [
        one
        for one in load_dataset("mp_20", data_dir=arguments.data_dir).crystals
        if one.split == "train" and one.labels.get(arguments.label) is not None
    ]
    values = asked_values(read_labels(arguments.label, training)[1], arguments.n_values)
    ways = ["unconditional", "conditional", *(["steered"] if arguments.head else [])]
    flags = {
        way: {name: np.array(one) for name, one in judged(arguments, way, values).items()} for way in ways
    }
    result = {
        "label": arguments.label,
        "values": values,
        "n_of_each": arguments.n * len(values),
        "guidance": arguments.guidance,
        "candidates": arguments.candidates if arguments.head else None,
        "steps": arguments.steps,
        "relax_steps": arguments.relax_steps,
        "seed": arguments.seed,
        "ways": {way: compared(own, flags["unconditional"], arguments.seed) for way, own in flags.items()},
    }
    if arguments.out is not None:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
