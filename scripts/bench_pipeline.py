"""Gather what the finished runs of a workspace cost and scored into one JSON file.

Writes the timings, settings and scores that the manifests hold: run the five commands first, then for example
    python scripts/bench_pipeline.py --workspace repdiff-workspace --out benchmarks/perov_5.json
"""

import argparse
import json
from pathlib import Path

from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record
from repdiff.runs.workspace import Workspace

VERBS = ("encode", "train", "generate", "reconstruct", "evaluate")


def main() -> None:
    """Follow the inputs of the named or newest evaluation back to the encoding, and write them all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workspace", type=Path, default=Path("repdiff-workspace"))
    parser.add_argument("--evaluation", type=Path, help="folder of the evaluation; the newest without it")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    workspace = Workspace(root=arguments.workspace)
    folder = arguments.evaluation or workspace.newest("evaluate")
    chain = {}
    for verb in reversed(VERBS):
        manifest = read_manifest(folder)
        if manifest.verb != verb:
            raise SystemExit(f"{folder} is a run of {manifest.verb}, expected {verb}")
        chain[verb] = {
            "seconds": manifest.seconds,
            "peak_memory_gib": manifest.peak_memory_gib,
            "summary": manifest.summary,
            "config": {key: value for key, value in manifest.config.items() if not _is_path(value)},
        }
        following = [
            Path(entry.path)
            for entry in manifest.inputs.values()
            if (Path(entry.path) / "manifest.json").is_file() and Path(entry.path) != folder
        ]
        if following:
            folder = following[0]
    record(arguments.out, dict(reversed(chain.items())))
    for verb in VERBS:
        print(verb, json.dumps({"seconds": chain[verb]["seconds"], "summary": chain[verb]["summary"]}))


def _is_path(value: object) -> bool:
    return isinstance(value, str) and value.startswith(("/", "~"))


if __name__ == "__main__":
    main()
