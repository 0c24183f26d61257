"""Measure drawn protostructures by themselves, for several temperatures and shares of known prototypes.

    python scripts/bench_prototype_share.py --model RUN --encoded repdiff-workspace/encode/mp_20-ead \
        --setting 0.75,0.75,0 --setting 0.9,0.75,0.75 --out benchmarks/prototype_share.json

Each setting is temperature, temperature of the elements, share of the samples that begin with a prototype of the
training set. As in `configs/mp20_cpu.yaml` what training crystals have is drawn again. Densities are those of cells as
large as these elements take in the training crystals; distributions are compared with those of the test crystals, over
samples with a valid composition. Milliseconds a draw are those of the processor, scoring included. The last line on
stdout is JSON.
"""

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from scipy.spatial.distance import jensenshannon
from scipy.stats import wasserstein_distance

from descriptors.symmetry.labels import prototype_label
from descriptors.symmetry.protostructure import Protostructure
from descriptors.symmetry.symbols import MAX_ATOMIC_NUMBER
from repdiff.backends.structrepdiff_model import GenerativeModel
from repdiff.crystals.masses import GRAMS_PER_DALTON, atomic_masses
from repdiff.crystals.volumes import atomic_volumes
from repdiff.metrics.charge_balance import check_composition
from repdiff.metrics.distributions import densities
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.provenance import record


class Judge:
    """What test and training crystals of an encoded data set say of draws.

    Args:
        encoded: With protostructures.
    """

    def __init__(self, encoded: EncodedSet) -> None:
        assert encoded.symmetry is not None
        known = encoded.symmetry.protostructures
        rows = {split: [row for row in encoded.rows(split) if known[row]] for split in ("train", "test")}
        crystals = {split: [encoded.crystals[row] for row in rows[split]] for split in rows}
        self.protostructures = {split: [p for row in rows[split] if (p := known[row])] for split in rows}
        self.volumes = atomic_volumes(
            np.stack([_counts(one) for one in self.protostructures["train"]]),
            np.array([crystal.volume for crystal in crystals["train"]]),
        )
        self.masses = np.nan_to_num(atomic_masses())
        self.prototypes = set(map(prototype_label, self.protostructures["train"]))
        self.density = densities(crystals["test"])

    def score(self, drawn: Sequence[Protostructure]) -> dict[str, float]:
        """Compare draws with the test crystals."""
        counts = np.stack([_counts(one) for one in drawn])
        valid = np.array([check_composition(one.composition()).valid for one in drawn])
        test = self.protostructures["test"]
        density = GRAMS_PER_DALTON * (counts @ self.masses) / (counts @ self.volumes)
        chosen = [one for one, is_valid in zip(drawn, valid, strict=True) if is_valid]
        return {
            "composition_valid": float(valid.mean()),
            "p1": float(np.mean([one.number == 1 for one in drawn])),
            "js_space_groups": float(jensenshannon(_groups(chosen), _groups(test), base=2) ** 2),
            "emd_density": float(wasserstein_distance(density[valid], self.density)),
            "emd_n_elements": float(
                wasserstein_distance(
                    [len(one.elements) for one in chosen], [len(one.elements) for one in test]
                )
            ),
            "emd_n_atoms": float(
                wasserstein_distance([one.n_atoms() for one in chosen], [one.n_atoms() for one in test])
            ),
            "new_prototypes": float(np.mean([prototype_label(one) not in self.prototypes for one in chosen])),
        }


def _counts(protostructure: Protostructure) -> np.ndarray:
    counts = np.zeros(MAX_ATOMIC_NUMBER + 1)
    for element, count in protostructure.composition().items():
        counts[element] = count
    return counts


def _groups(protostructures: Sequence[Protostructure]) -> np.ndarray:
    counts = np.bincount([one.number for one in protostructures], minlength=231)
    return counts / counts.sum()


def main() -> None:
    """Draw and score every setting, writing each as it comes."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--encoded", type=Path, required=True)
    parser.add_argument("--setting", action="append", required=True)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    model = GenerativeModel.load(arguments.model, device=torch.device("cpu"))
    judge = Judge(EncodedSet.read(arguments.encoded))
    test = judge.protostructures["test"]
    subset = np.random.default_rng(arguments.seed).choice(
        len(test), min(len(test), arguments.n), replace=False
    )
    result = {
        "n": arguments.n,
        "seed": arguments.seed,
        "test": judge.score([test[row] for row in subset]),
        "draws": [],
    }
    for text in arguments.setting:
        temperature, of_elements, share = map(float, text.split(","))
        began = time.process_time()
        drawn = model.draw_protostructures(
            arguments.n,
            seed=arguments.seed,
            temperature=temperature,
            element_temperature=of_elements,
            prototype_share=share,
            new_only=True,
        )
        row = {"temperature": temperature, "element_temperature": of_elements, "prototype_share": share}
        row |= {"not_drawn": sum(one is None for one in drawn)}
        row |= judge.score([one for one in drawn if one is not None])
        row |= {"milliseconds": round(1000 * (time.process_time() - began) / arguments.n, 2)}
        result["draws"].append(row)
        print(json.dumps(row), flush=True)
        if arguments.out:
            record(arguments.out, result)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
