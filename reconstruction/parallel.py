"""Groups of a reconstruction one after another, or side by side in worker processes."""

import os
import pickle
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import active_children, get_context, parent_process

from reconstruction.inversion import Inversion
from reconstruction.result import ReconstructionResult


def reconstruct_groups(
    inversion: Inversion, groups: Sequence[Sequence[int]] | None = None, *, n_workers: int = 1
) -> Iterator[tuple[list[int], ReconstructionResult]]:
    """Yield groups of rows with their crystals as they are finished; they begin with the largest cells.

    Closing the generator drops the groups that are not finished. The results do not depend on the number of workers.

    Args:
        inversion: From `prepare`.
        groups: Some of its groups; None for all.
        n_workers: Processes; more than one for a CPU alone. They are started afresh, so the calling script must guard
            its main part by `if __name__ == "__main__":`.

    Raises:
        TooLargeError: If the memory is not enough for one crystal alone.
    """
    chosen = [list(rows) for rows in (inversion.groups if groups is None else groups)]
    chosen.sort(key=lambda rows: -len(inversion.decoded.atomic_numbers[rows[0]]))
    if n_workers == 1 or len(chosen) <= 1 or inversion.device.type != "cpu":
        for rows in chosen:
            yield rows, inversion.run(rows)
        return
    context = get_context("spawn")  # a fork after torch has started its threads may hang
    others = active_children()
    with ProcessPoolExecutor(
        min(n_workers, len(chosen)),
        mp_context=context,
        initializer=_start_worker,
        initargs=(pickle.dumps(inversion),),
    ) as pool:
        futures = {pool.submit(_work, rows): rows for rows in chosen}
        workers = [process for process in active_children() if process not in others]
        try:
            for future in as_completed(futures):
                rows = futures.pop(future)
                yield rows, pickle.loads(future.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for worker in workers:  # which would finish their groups first, and others that they have fetched
                worker.terminate()
            raise


_INVERSION: list[Inversion] = []  # the one of this worker process


def _start_worker(inversion: bytes) -> None:
    _INVERSION.append(pickle.loads(inversion))
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    """End this worker when its parent has been killed; otherwise it would compute on for nobody."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _work(rows: list[int]) -> bytes:
    """Search for one group; packed here, since the pool would send each tensor as an open file."""
    return pickle.dumps(_INVERSION[0].run(rows))
