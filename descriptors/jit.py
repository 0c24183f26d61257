"""Compilation of loops over numpy arrays, for what array operations do badly on a CPU."""

from collections.abc import Callable

import numba

FAST = {
    "contract",
    "reassoc",
    "nsz",
    "arcp",
}  # liberties of the compiler; infinities and NaN keep their meaning


def compiled(function: Callable[..., None]) -> Callable[..., None]:
    """Compile on the first call, and keep the machine code on disk if there is a place for it."""
    try:
        return numba.njit(nogil=True, cache=True, fastmath=FAST)(function)
    except RuntimeError:  # numba finds no folder that it may write to
        return numba.njit(nogil=True, fastmath=FAST)(function)
