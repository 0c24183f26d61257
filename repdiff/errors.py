"""The exception that stands for a mistake of the user, and the message for a name that nobody knows."""

from collections.abc import Iterable


class UserError(ValueError):
    """A mistake that the user can mend: the command line prints the message as one line and exits with code 2.

    The message gives the value, the expectation and the way out. It names arguments, in backticks where the command
    line has a flag for them, and never flags: those are put in where the command line prints it.
    """


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Write that a name is unknown, which ones are known, in their order, and the nearest of them."""
    import difflib

    names = list(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"unknown {kind} {name!r}; known: {', '.join(names)}.{hint}"
