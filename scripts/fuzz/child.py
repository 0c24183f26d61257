"""Read files whose paths come on stdin, a JSON a line, and write on stdout what came of each.

Usage: python child.py GIB, where GIB is the address space that reading may take beyond that of the libraries.
"""

import contextlib
import json
import logging
import os
import resource
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

from repdiff.datasets.label_tables import read_label_table
from repdiff.datasets.load import load_dataset
from repdiff.datasets.readers.ase_files import read_extxyz
from repdiff.errors import UserError
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.settings import EncodeSettings, TrainSettings
from repdiff.settings.load import load_settings

KIND = "fuzzed"  # of the checkpoint
MUCH = 1.0  # GiB by which a small file may make the process grow
PAGE = os.sysconf("SC_PAGE_SIZE")


def read_structures(path: Path) -> int:
    """Read a data set as `repdiff encode` does; return how many rows failed."""
    dataset = load_dataset(str(path), data_dir=None, progress=False, processes=1)
    return len(dataset.rejected)


def read_config(path: Path) -> int:
    """Read the settings of two verbs."""
    load_settings(EncodeSettings, path)
    load_settings(TrainSettings, path)
    return 0


def read_labels(path: Path) -> int:
    """Read a table of labels."""
    read_label_table(path, ["energy"])
    return 0


def read_model(path: Path) -> int:
    """Read weights."""
    load_checkpoint(path, kind=KIND)
    return 0


READERS: dict[str, Callable[[Path], int]] = {
    "config": read_config,
    "labels": read_labels,
    "weights": read_model,
}


def verdict(path: Path, kind: str) -> dict[str, object]:
    """Read a file and say what came of it."""
    try:
        n_failed = READERS.get(kind, read_structures)(path)
    except UserError as error:
        if "MemoryError" in str(error):
            return {"verdict": "MEMORY", "why": str(error)[:300]}
        if len(str(error)) > 3000:
            return {"verdict": "TRACEBACK", "why": f"a message of {len(str(error))} characters"}
        return {"verdict": "refused in one line"}
    except MemoryError:
        return {"verdict": "MEMORY", "why": traceback.format_exc()[-1500:]}
    except BaseException:
        return {"verdict": "TRACEBACK", "why": traceback.format_exc()[-1500:]}
    return {"verdict": "named failures" if n_failed else "read"}


def address_space() -> int:
    """Return the bytes of address space that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * PAGE


def peak_gib() -> float:
    """Return the most memory that this process has held, GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Answer until stdin ends."""
    out = os.fdopen(os.dup(1), "w", buffering=1)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    logging.disable(logging.CRITICAL)
    with contextlib.suppress(Exception):  # what the first call imports
        read_extxyz(Path(os.devnull))
    limit = address_space() + int(float(sys.argv[1]) * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    out.write("ready\n")
    for line in sys.stdin:
        asked, before = json.loads(line), peak_gib()
        found = verdict(Path(asked["file"]), asked["kind"])
        peak = peak_gib()
        if peak > before + MUCH:
            found = {"verdict": "MEMORY", "why": f"{found['verdict']}, and {peak:.2f} GiB"}
        out.write(json.dumps({**found, "peak_gib": peak}) + "\n")


if __name__ == "__main__":
    main()
