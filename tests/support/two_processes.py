"""Run a script in two processes that train together."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run_in_two_processes(script: Path, *words: object, beside: Path) -> None:
    """Start a script by torch, which imports what lies in the folder `beside`, and expect it to end well."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    paths = os.pathsep.join([str(beside), str(ROOT), *sys.path])
    done = subprocess.run(
        [*command, str(script), *map(str, words)],
        env={**os.environ, "PYTHONPATH": paths, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
