"""A pool of each kind with work that never ends: `python endless_pools.py KIND`, killed or interrupted by a test."""

import os
import sys
from types import ModuleType

import numpy as np

STARTED = "started"  # said on stdout, once, by the first worker at work


def endless(*_given: object) -> None:
    """Work for nobody, with the lock of the interpreter as a computation holds it."""
    os.write(1, f"{STARTED}\n".encode())  # in one piece, whoever else writes
    while True:
        sum(range(1000))


def crystals(n: int) -> list:
    """Return crystals that all differ."""
    from repdiff.crystals.crystal import Crystal

    return [
        Crystal(
            id=str(row),
            atomic_numbers=np.array([14]),
            lattice=np.eye(3) * (3 + row / n),
            frac_coords=np.zeros((1, 3)),
        )
        for row in range(n)
    ]


def replace(module: ModuleType, **values: object) -> None:
    """Put other values into a module, for the rest of the process."""
    for name, value in values.items():
        setattr(module, name, value)


def parse() -> None:
    """Run the pool that reads texts."""
    from repdiff.crystals import parse

    replace(parse, _parse_one=endless)
    parse.parse_texts([("data_", "cif")] * 8, progress=False, processes=2)


def jobs() -> None:
    """Run the pool of matching, duplicates, symmetry and the AMD distance."""
    from repdiff.execution.jobs import map_jobs

    map_jobs(endless, range(8), n_workers=2, progress=False, label="endless")


def fingerprints() -> None:
    """Run the pool of fingerprints."""
    from repdiff.metrics import fingerprints

    replace(fingerprints, _fingerprint_chunk=endless)
    fingerprints.compute_fingerprints(crystals(300), n_workers=2)


def features() -> None:
    """Run the pool of learnt features."""
    from repdiff.metrics.features import extract

    replace(extract, _compute_batch=endless, BATCHES_PER_PROCESS=1, PER_BATCH=1)
    list(extract._compute("any", {crystal.id: crystal for crystal in crystals(8)}, 2, False))


def energies() -> None:
    """Run the pool of force fields, with one that needs no package."""
    import torch

    from repdiff.energies import workers

    replace(workers, load_force_field=load_nothing, _start_worker=load_nothing, _answer=answer_endlessly)
    list(
        workers.work_through(
            list(range(8)), endless, force_field="none", device=torch.device("cpu"), n_workers=2
        )
    )


def load_nothing(*_given: object) -> None:
    """Stand in for loading a force field."""


def answer_endlessly(work: object, job: object) -> None:
    """Stand in for the computation."""
    endless(work, job)


def reconstruction() -> None:
    """Run the pool of reconstruction."""
    import torch

    from reconstruction import parallel

    class Inversion:
        """What a pool must know of an inversion."""

        groups = ([0], [1], [2])
        device = torch.device("cpu")

        class decoded:
            """Sizes of the crystals."""

            atomic_numbers = ((1,), (1,), (1,))

    replace(parallel, _start_worker=load_nothing, _work=endless)
    replace(parallel, pickle=type("Pickle", (), {"dumps": staticmethod(lambda _: b"")}))
    list(parallel.reconstruct_groups(Inversion(), n_workers=2))


KINDS = {"parse": parse, "jobs": jobs, "fingerprints": fingerprints, "features": features} | {
    "energies": energies, "reconstruction": reconstruction,
}  # fmt: skip

if __name__ == "__main__":
    KINDS[sys.argv[1]]()
