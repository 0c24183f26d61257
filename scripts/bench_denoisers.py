"""Which denoiser for a CPU: train the MLP and the U-Net for the same minutes, one core each, and compare.

Writes benchmarks/denoisers.json. Example:
    python scripts/bench_denoisers.py --encoded repdiff-workspace/encode/perov_5-ead --minutes 10
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.shards import read_generated
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record

CANDIDATES = {
    "mlp": ["--denoiser", "mlp"],
    "unet1d": ["--denoiser", "unet1d", "--denoiser-options", "dim=32", "--batch-size", "64"],
}
BLOCKS = ("descriptor", "min_distance", "lattice")


def start(name: str, options: list[str], arguments: argparse.Namespace) -> subprocess.Popen[bytes]:
    """Train one candidate in a process of its own, on one core."""
    command = [sys.executable, "-m", "repdiff", "train", "--encoded", str(arguments.encoded)]
    command += [
        "--max-epochs",
        "none",
        "--max-minutes",
        str(arguments.minutes),
        "--seed",
        str(arguments.seed),
    ]
    command += ["--name", f"bench-{name}", "--workspace", str(arguments.workspace), *options]
    return subprocess.Popen(command, env={**os.environ, "OMP_NUM_THREADS": "1"})


def score(name: str, encoded: EncodedSet, arguments: argparse.Namespace) -> dict[str, object]:
    """Sample a trained candidate and compare the columns of each block with those of the test set."""
    place = ["--workspace", str(arguments.workspace)]
    model = arguments.workspace / "train" / f"bench-{name}"
    command = [sys.executable, "-m", "repdiff", "generate", "--model", str(model), "--n", str(arguments.n)]
    command += ["--sampler", "ddim", "--steps", "100", "--name", f"bench-{name}", "--overwrite", *place]
    started = time.perf_counter()
    subprocess.run(command, check=True)
    seconds = time.perf_counter() - started
    batch = read_generated(arguments.workspace / "generate" / f"bench-{name}")
    generated, layout = batch.vectors, batch.layout
    test = encoded.representations[encoded.rows("test")]
    spread = test.std(0).clamp(min=1e-6)
    blocks = layout.representation().blocks
    levels = torch.linspace(0.01, 0.99, 99)
    gaps = (generated.quantile(levels, dim=0) - test.quantile(levels, dim=0)).abs().mean(0) / spread
    summary = read_manifest(model).summary
    return {
        "steps": summary["steps"],
        "validation_loss": summary["validation_loss"],
        "sampling_seconds": seconds,
        "wasserstein_over_std": {block: float(gaps[blocks[block]].mean()) for block in BLOCKS},
    }


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--encoded", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--n", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/denoisers.json"))
    arguments = parser.parse_args()
    processes = [start(name, options, arguments) for name, options in CANDIDATES.items()]
    if any(process.wait() for process in processes):
        raise SystemExit("a training failed")
    encoded = EncodedSet.read(arguments.encoded)
    result = {
        "dataset": encoded.layout.dataset,
        "minutes": arguments.minutes,
        "cores_each": 1,
        "seed": arguments.seed,
        "n_generated": arguments.n,
        "candidates": {name: score(name, encoded, arguments) for name in CANDIDATES},
    }
    record(arguments.out, result)
    print(json.dumps(result["candidates"], indent=1))


if __name__ == "__main__":
    main()
