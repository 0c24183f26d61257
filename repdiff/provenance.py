"""Where a result came from: versions of everything that computed it, and the machine."""

import importlib.metadata
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import repdiff
from repdiff.cores import n_cores
from repdiff.files import write_json

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


def hardware() -> dict[str, str | int | float]:
    """Describe the machine: system, processor, usable cores, memory in GiB, and GPU if torch has found one.

    Torch is asked only if it is loaded already, because loading it takes seconds.
    """
    usable = n_cores()
    found: dict[str, str | int | float] = {
        "system": platform.platform(),
        "processor": _processor(),
        "cores": usable,
    }
    if sys.platform == "linux":
        found["memory_gib"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    if "torch" in sys.modules:
        import torch

        found["torch_threads"] = torch.get_num_threads()
        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
            found["n_gpus"] = torch.cuda.device_count()
    return found


def record(path: Path, measured: Mapping[str, object]) -> None:
    """Write what a script measured as JSON, with the versions and the machine that it was measured with."""
    write_json(path, {**measured, "versions": versions(), "hardware": hardware()})


def forget_peak_memory() -> None:
    """Let `peak_memory_gib` count from here on, where the system can (Linux); elsewhere nothing changes."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak_memory_gib() -> float | None:
    """Return the largest memory this process has held, GiB; None where the system does not tell.

    It counts from the last `forget_peak_memory`, or from the start of the process.
    """
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 2**20, 3)
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**30 if sys.platform == "darwin" else 2**20), 3)


def _processor() -> str:
    table = Path("/proc/cpuinfo")
    if table.exists():
        for line in table.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
