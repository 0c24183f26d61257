"""The named benchmark sets: their published sizes, and where their files may lie."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from repdiff.crystals.crystal import SPLITS
from repdiff.datasets.readers.folders import split_tables
from repdiff.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A set that papers compare on.

    Attributes:
        name: Name in the code of papers: "mp_20".
        title: Name in the text of papers: "MP-20".
        sizes: Published number of crystals of each split.
        files: Names of a single parquet file that may hold it.
    """

    name: str
    title: str
    sizes: Mapping[str, int]
    files: tuple[str, ...]


def _benchmark(name: str, title: str, sizes: Sequence[int], *files: str) -> Benchmark:
    return Benchmark(
        name=name,
        title=title,
        sizes=dict(zip(SPLITS, sizes, strict=True)),
        files=(f"{name}.parquet", *files),
    )


# Sizes of the public splits of Xie et al., ICLR 2022, arXiv:2110.06197.
BENCHMARKS = {
    benchmark.name: benchmark
    for benchmark in (
        _benchmark("perov_5", "Perov-5", (11356, 3787, 3785)),
        _benchmark("carbon_24", "Carbon-24", (6091, 2032, 2030)),
        _benchmark("mp_20", "MP-20", (27136, 9047, 9046), "mp20.parquet"),
    )
}


def find_benchmark(name: str, places: Sequence[Path]) -> Path:
    """Find the files of a benchmark: a parquet file, or a folder of its name with the public CSV files.

    Args:
        name: A key of `BENCHMARKS`.
        places: Folders to look in, the first that has it wins. A folder that is itself the one with the CSV
            files, and bears the benchmark's name, is taken too.

    Raises:
        UserError: If it is in none of them; the message names the places and the way out.
    """
    looked: list[Path] = []
    for place in places:
        for file in BENCHMARKS[name].files:
            if (place / file).is_file():
                return place / file
            looked.append(place / file)
        for folder in (place / name, place):
            if folder.name == name and len(split_tables(folder)) == len(SPLITS):
                return folder
        looked.append(place / name / "{train,val,test}.csv")
    raise UserError(
        f"{name} is not on this machine (looked for {', '.join(map(str, looked)) or 'no folder'}): "
        f"run `repdiff download {name}`, or name the folder that has it with `data_dir`"
    )
