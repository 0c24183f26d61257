"""A pool whose only worker is this process: real ones cost seconds, in which they import torch.

What is sent to a worker and back is pickled as for real ones, and the worker is prepared first. Real pools, and
what they leave behind, are tested in tests/repdiff/execution.
"""

import pickle
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ClassVar


class PickledPool(Executor):
    """Stands in for `ProcessPoolExecutor` in `reconstruction.process_pool`."""

    opened: ClassVar[list[int]] = []
    """Numbers of workers that were asked for."""

    def __init__(
        self, max_workers: int, *, mp_context: object, initializer: object, initargs: tuple[bytes]
    ) -> None:
        self.opened.append(max_workers)
        prepare, given = pickle.loads(initargs[0])
        if prepare is not None:
            prepare(*given)

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future:
        future: Future = Future()
        task, given, named = pickle.loads(pickle.dumps((fn, args, kwargs)))
        try:
            future.set_result(pickle.loads(pickle.dumps(task(*given, **named))))
        except Exception as error:
            future.set_exception(error)
        return future
