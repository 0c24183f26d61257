"""Compilation of loops over numpy arrays, for what array operations do badly on a CPU."""

import threading
from collections.abc import Callable
from concurrent.futures import Future

import numba
import numpy as np

FAST = {
    "contract",
    "reassoc",
    "nsz",
    "arcp",
}  # liberties of the compiler; infinities and NaN keep their meaning


class Compiled:
    """A function that is compiled for each new kind of arguments.

    The compiler calls back into Python where an interrupt of the main thread (Ctrl-C, the stop button of a notebook) is
    lost. So the main thread lets another one compile, and can be interrupted while it waits.

    Args:
        function: The loops.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        self.function = function
        self._known: set[tuple[object, ...]] = set()

    def __call__(self, *arguments: object) -> None:
        """Run the loops on arrays and numbers."""
        kinds = tuple(map(_kind, arguments))
        if kinds in self._known or threading.current_thread() is not threading.main_thread():
            self.function(*arguments)
        else:
            done: Future[None] = Future()
            threading.Thread(target=self._run, args=(done, arguments)).start()
            done.result()
        self._known.add(kinds)

    def _run(self, done: "Future[None]", arguments: tuple[object, ...]) -> None:
        try:
            done.set_result(self.function(*arguments))
        except Exception as error:
            done.set_exception(error)


def compiled(function: Callable[..., None]) -> Compiled:
    """Compile on the first call, and keep the machine code on disk if there is a place for it."""
    try:
        return Compiled(numba.njit(nogil=True, cache=True, fastmath=FAST)(function))
    except RuntimeError:  # numba finds no folder that it may write to
        return Compiled(numba.njit(nogil=True, fastmath=FAST)(function))


def _kind(argument: object) -> object:
    """Return what the machine code of an argument depends on."""
    if isinstance(argument, np.ndarray):
        flags = argument.flags
        return argument.dtype, argument.ndim, flags.c_contiguous, flags.f_contiguous, flags.writeable
    return type(argument)
