"""Judge the samples of other programs by `repdiff evaluate`, with baselines at their number of crystals.

What is judged, and what it cost, stands in scripts/peers.yaml. An evaluation that is in the workspace already is kept.

Example:
    python scripts/judge_peers.py FOLDER_OF_SAMPLES --data-dir DIR --workspace peers --out benchmarks/peers.json
"""

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from repdiff.runs.atomic_files import read_json, sha256
from repdiff.runs.provenance import record

PEERS = Path(__file__).with_name("peers.yaml")
OF_INTEREST = (
    "validity.structure_valid", "validity.composition_valid", "symmetry.p1", "distributions.js_space_groups",
    "distributions.emd_density", "distributions.emd_n_elements", "coverage.cov_recall", "coverage.cov_precision",
    "matching.match_rate", "matching.rmse", "uniqueness.unique", "uniqueness.novel",
)  # fmt: skip


def judge(name: str, peer: dict[str, Any], file: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Evaluate one file, and return its metrics with intervals and baselines."""
    command = [sys.executable, "-m", "repdiff", "evaluate", str(file), "--baseline", "--n-workers", "1"]
    command += [word for key, value in peer["evaluate"].items() for word in (f"--{key}", value)]
    command += [
        "--name",
        name,
        "--workspace",
        str(arguments.workspace),
        "--data-dir",
        str(arguments.data_dir),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    document = read_json(arguments.workspace / "evaluate" / name / "metrics.json")
    values = {
        f"{family}.{key}": value
        for family, found in document["metrics"].items()
        for key, value in found["values"].items()
    }
    said = {key: value for key, value in peer.items() if key not in ("evaluate", "file")}
    return said | {
        "n": document["n_generated"],
        "sha256": sha256(file),
        "reference": peer["evaluate"]["reference"],
        "seed": document["seed"],
        "metrics": {key: values[key] for key in OF_INTEREST if key in values},
    }


def main() -> None:
    """Judge all, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="folder with the files of samples")
    parser.add_argument("--data-dir", type=Path, required=True, help="folder with the benchmark files")
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace/peers"))
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    peers = yaml.safe_load(PEERS.read_text(encoding="utf-8"))
    found = {
        name: judge(name, peer, arguments.folder / peer["file"], arguments) for name, peer in peers.items()
    }
    record(arguments.out, {"peers": found})


if __name__ == "__main__":
    main()
