"""How large `pip install repdiff` is: the sizes of the packages that it needs, as they are installed here.

A build of PyTorch for the processor brings neither the packages of CUDA and Triton nor the libraries of PyTorch that
are named after CUDA; what is left without these is counted as its size.

Example:
    python scripts/measure_install.py --out benchmarks/install.json
"""

import argparse
import json
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

from repdiff.runs.provenance import record

MEGABYTE = 1e6
N_SHOWN = 12
OF_GPU = ("nvidia-", "triton", "cuda-")


def needed(name: str, seen: dict[str, Distribution], extras: frozenset[str] = frozenset()) -> None:
    """Gather a distribution and all that it requires, without extras that nobody asks for."""
    try:
        found = distribution(name)
    except PackageNotFoundError:
        return
    key = found.metadata["Name"].lower().replace("_", "-")
    if key in seen and not extras:
        return
    seen[key] = found
    for text in found.requires or ():
        requirement = Requirement(text)
        wanted = requirement.marker is None or any(
            requirement.marker.evaluate({"extra": extra}) for extra in (*extras, "")
        )
        if wanted and requirement.name.lower() != name.lower():
            needed(requirement.name, seen, frozenset(requirement.extras))


def sizes(found: Distribution) -> Iterator[tuple[str, int]]:
    """Yield the files of a distribution and their bytes."""
    for file in found.files or ():
        path = Path(str(found.locate_file(file)))
        if path.is_file():
            yield path.name, path.stat().st_size


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    seen: dict[str, Distribution] = {}
    needed("repdiff", seen)
    weights = Path(__file__).parents[1] / "repdiff" / "weights"
    of_weights = sum(file.stat().st_size for file in weights.iterdir())
    by_package = {
        name: sum(size for _, size in sizes(one)) for name, one in seen.items() if name != "repdiff"
    }
    of_gpu = sum(size for name, size in by_package.items() if name.startswith(OF_GPU))
    of_gpu += sum(size for name, size in sizes(seen["torch"]) if "cuda" in name or "nvshmem" in name)
    total = sum(by_package.values()) + of_weights
    largest = sorted(by_package, key=by_package.__getitem__, reverse=True)[:N_SHOWN]
    content = {
        "n_packages": len(by_package),
        "gigabytes": round(total / 1e9, 2),
        "gigabytes_without_gpu": round((total - of_gpu) / 1e9, 2),
        "megabytes_of_weights": round(of_weights / MEGABYTE, 1),
        "largest_megabytes": {name: round(by_package[name] / MEGABYTE) for name in largest},
    }
    record(arguments.out, content)
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
