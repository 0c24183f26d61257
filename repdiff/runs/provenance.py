"""Where a result came from: versions of everything that computed it, and the machine."""

import importlib.metadata
import platform
from collections.abc import Mapping
from pathlib import Path

import repdiff
from repdiff.hardware import hardware
from repdiff.runs.atomic_files import write_json

LIBRARIES = (
    "torch",
    "numpy",
    "scipy",
    "pymatgen",
    "ase",
    "smact",
    "spglib",
    "moyopy",
    "matminer",
    "chgnet",
    "sevenn",
    "denoising-diffusion-pytorch",
    "diffusers",
    "accelerate",
    "ema-pytorch",
    "safetensors",
    "pyarrow",
    "pydantic",
)


def versions() -> dict[str, str]:
    """Return the versions of Python, of this project and of the libraries that shape results."""
    found = {"python": platform.python_version(), "repdiff": repdiff.__version__}
    for library in LIBRARIES:
        try:
            found[library] = importlib.metadata.version(library)
        except importlib.metadata.PackageNotFoundError:
            found[library] = "absent"
    return found


def record(path: Path, measured: Mapping[str, object]) -> None:
    """Write what a script measured as JSON, with the versions and the machine that it was measured with."""
    write_json(path, {**measured, "versions": versions(), "hardware": hardware()}, checksum=False)
