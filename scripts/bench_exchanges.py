"""How far a DP-CDVAE encoder tells a perovskite from the same with its A and B exchanged.

The distance between the means of the two latent distributions is counted in standard deviations of the first, all
dimensions together: well below 1 they cannot be told apart. Crystals are of the validation split, and those of five
atoms with three of one element and one each of two others, Perov-5's ABX3.

Example:
    python scripts/bench_exchanges.py --data-dir DIR --model repdiff-workspace/train/NAME --out benchmarks/FILE.json
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.crystals.crystal import Crystal
from repdiff.datasets.load import load_dataset
from repdiff.runs.provenance import record


def exchanged(crystal: Crystal) -> Crystal | None:
    """Exchange the two elements that occur once; None for another formula than ABX3."""
    elements, counts = np.unique(crystal.atomic_numbers, return_counts=True)
    if sorted(counts.tolist()) != [1, 1, 3]:
        return None
    one, other = elements[counts == 1].tolist()
    other_of = {one: other, other: one}
    numbers = [other_of.get(number, number) for number in crystal.atomic_numbers.tolist()]
    return replace(crystal, atomic_numbers=np.array(numbers, dtype=crystal.atomic_numbers.dtype))


def distances(backend: DpCdvae, pairs: Sequence[tuple[Crystal, Crystal]]) -> torch.Tensor:
    """Return the distance of each pair, in standard deviations of the first."""
    here = backend.encode_distributions([one for one, _ in pairs])
    there = backend.encode_crystals([other for _, other in pairs])
    return ((there - here.mean) * (-here.log_variance / 2).exp()).norm(dim=1)


def main() -> None:
    """Measure one model or several."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--model", type=Path, action="append", required=True, help="a run of train; repeatable"
    )
    parser.add_argument("--n", type=int, default=400)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    crystals = [
        one for one in load_dataset("perov_5", data_dir=arguments.data_dir).crystals if one.split == "val"
    ]
    pairs = [(one, other) for one in crystals if (other := exchanged(one)) is not None][: arguments.n]
    result: dict[str, object] = {"n": len(pairs)}
    for model in arguments.model:
        backend = DpCdvae.load(model / "model.safetensors", device=torch.device("cpu"))
        found = distances(backend, pairs)
        result[model.name] = {f"quantile_{q}": float(found.quantile(q)) for q in (0.1, 0.5, 0.9)}
    if arguments.out:
        record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
