"""Groups of a reconstruction one after another, or side by side in worker processes."""

import pickle
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial

import torch

from reconstruction.inversion import Inversion
from reconstruction.jobs import Cluster, engine_in_force, run_jobs, runs_here
from reconstruction.process_pool import Engine
from reconstruction.result import ReconstructionResult, join_results

USABLE = 0.9  # of the memory of a GPU; the rest is for what each process needs besides its tensors


def reconstruct_groups(
    inversion: Inversion,
    groups: Sequence[Sequence[int]] | None = None,
    *,
    n_workers: int = 1,
    engine: Engine | None = None,
) -> Iterator[tuple[list[int], ReconstructionResult]]:
    """Yield groups of rows with their crystals as they are finished; they begin with the largest cells.

    Closing the generator drops the groups that are not finished. The results do not depend on the number of workers,
    unless there is too little memory for a group. A group that ended several workers one after the other is refused,
    and so is a crystal that does not fit into the memory alone, when no other is searched for.
    On a GPU one process leaves most of the time unused, in which it prepares the next operation; several share the GPU
    and its memory.

    Args:
        inversion: What `prepare` returned.
        groups: Some of its groups; None for all.
        n_workers: Processes. They are started afresh, so the calling script must guard its main part by
            `if __name__ == "__main__":`.
        engine: What opens the executor of the workers, if there are several; None takes the one in force, see
            `reconstruction.jobs.using`.
    """
    chosen = [list(rows) for rows in (inversion.groups if groups is None else groups)]
    chosen.sort(key=lambda rows: -len(inversion.decoded.atomic_numbers[rows[0]]))
    engine = engine or engine_in_force()
    if runs_here(engine, n_workers, len(chosen)):
        for rows in chosen:
            yield rows, inversion.run(rows)
        return
    finished = run_jobs(
        _work,
        chosen,
        n_workers=n_workers,
        initializer=_start_worker,
        initargs=(
            pickle.dumps(inversion),
            1.0 if isinstance(engine, Cluster) else 1 / min(n_workers, len(chosen)),
        ),
        engine=engine,
        instead=partial(_refused, inversion),
    )
    large: list[tuple[list[int], ReconstructionResult]] = []
    with closing(finished):
        for rows, packed in finished:
            found: ReconstructionResult = pickle.loads(packed)
            if any(reason == inversion.too_large(row) for row, reason in found.refused.items()):
                large.append((rows, found))
            else:
                yield rows, found
    for rows, found in large:
        yield rows, _again(inversion, found)


def _again(inversion: Inversion, found: ReconstructionResult) -> ReconstructionResult:
    """Search again, in this process, for what was too large for the memory of a worker beside others."""
    rows = [row for row, reason in found.refused.items() if reason == inversion.too_large(row)]
    others = {row: reason for row, reason in found.refused.items() if row not in rows}
    return join_results([replace(found, refused=others), *(inversion.run([row]) for row in rows)])


_INVERSION: list[Inversion] = []  # the one of this worker process


def _start_worker(inversion: bytes, share: float) -> None:
    """Take what is to be done, and this worker's share of the memory of a GPU."""
    _INVERSION[:] = [pickle.loads(inversion)]
    device = _INVERSION[0].device
    if device.type == "cuda":
        torch.set_num_threads(1)
        torch.cuda.set_per_process_memory_fraction(USABLE * share, device.index)


def _refused(inversion: Inversion, rows: list[int], reason: str) -> bytes:
    """Answer for a group that was set aside."""
    return pickle.dumps(inversion.refused(rows, reason))


def _work(rows: list[int]) -> bytes:
    """Search for one group; packed here, since the pool would send each tensor as an open file."""
    return pickle.dumps(_INVERSION[0].run(rows))
