"""Samples made on the workers of a cluster, several pieces at a time."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, contextmanager

from repdiff.backends.base import Samples
from repdiff.execution.jobs import Cluster, engine_in_force, run_jobs, workers_to_use

Sample = Callable[[int, int], Samples]
"""Makes samples: number of the first, and how many."""
Piece = tuple[int, int]


@contextmanager
def side_by_side(sample: Sample, pieces: Sequence[Piece]) -> Generator[Sample, None, None]:
    """Let the cluster in force make pieces ahead, for the length of a `with` block.

    The model goes to the workers as it is in memory, so that they need no file of it. Without a cluster, or for other
    pieces, the samples are made in this process, as they are asked for.

    Args:
        sample: What makes samples; it is sent to the workers with all that it holds.
        pieces: What it will be asked for, in this order: number of the first sample, and how many.
    """
    if not isinstance(engine_in_force(), Cluster) or not pieces:
        yield sample
        return
    made = run_jobs(
        _make,
        pieces,
        n_workers=workers_to_use(None, 1),
        initializer=_start_worker,
        initargs=(sample,),
        in_order=True,
    )
    expected = set(pieces)

    def take(first: int, n: int) -> Samples:
        if (first, n) not in expected:
            return sample(first, n)
        piece, samples = next(made)
        assert piece == (first, n)
        return samples

    with closing(made):
        yield take


_SAMPLE: list[Sample] = []  # the one of this worker process


def _start_worker(sample: Sample) -> None:
    _SAMPLE[:] = [sample]


def _make(piece: Piece) -> Samples:
    return _SAMPLE[0](*piece)
