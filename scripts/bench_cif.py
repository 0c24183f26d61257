"""Measure how long CIFs of MP-20 take to read, beside pymatgen's parser, in CPU time of one process.

Usage: python scripts/bench_cif.py --data ../shared/data [--n 2000] [--output benchmarks/read_cif.json]
"""

import argparse
import json
import platform
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pymatgen.core import Structure
from pymatgen.io.cif import CifParser, CifWriter

from repdiff.crystals.parse import parse_text


def cifs_of(path: Path, n: int, seed: int) -> list[str]:
    """Write `n` random crystals of a parquet file as CIFs."""
    table = pq.read_table(path, columns=["numbers", "lattice", "frac"])
    rows = np.random.default_rng(seed).choice(table.num_rows, n, replace=False)
    texts = []
    for row in table.take(rows).to_pylist():
        lattice, frac = np.array(row["lattice"]).reshape(3, 3), np.array(row["frac"]).reshape(-1, 3)
        texts.append(str(CifWriter(Structure(lattice, row["numbers"], frac))))
    return texts


def main() -> None:
    """Time both parsers on the same texts and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--n", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/read_cif.json"))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    texts = cifs_of(options.data / "mp20.parquet", options.n, options.seed)
    parse_text(texts[0])
    start = time.process_time()
    refused = sum(isinstance(parse_text(text, "cif")[0], str) for text in texts)
    middle = time.process_time()
    for text in texts:
        CifParser.from_str(text).parse_structures(primitive=False)
    end = time.process_time()
    result = {
        "n": options.n,
        "seed": options.seed,
        "refused": refused,
        "repdiff_ms_per_cif": 1000 * (middle - start) / options.n,
        "pymatgen_ms_per_cif": 1000 * (end - middle) / options.n,
        "ratio": (end - middle) / (middle - start),
        "versions": {name: version(name) for name in ("gemmi", "pymatgen-core", "numpy")},
        "hardware": platform.processor() or platform.machine(),
    }
    options.output.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
