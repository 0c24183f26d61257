"""What the command line says: one line a message, with flags where the library names arguments."""

import logging
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager

PACKAGES = ("descriptors", "reconstruction", "repdiff")
COMMON = {"config", "workspace", "name", "overwrite"}  # flags of all verbs
ARGUMENT = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)(=False)?`")


def with_flags(message: str, verb: str | None) -> str:
    """Put flags where a message names arguments in backticks, such as `n`, `network.width` or `niggli=False`.

    Args:
        message: Message of the library, with argument names in backticks.
        verb: Command whose flags are substituted.
    """
    if "`" not in message:
        return message
    flags = _flags(verb)

    def flag(found: re.Match[str]) -> str:
        name = flags.get(found[1])
        if name is None:
            return found[0]
        return name.replace("--", "--no-", 1) if found[2] else name

    return ARGUMENT.sub(flag, message)


def complain(prefix: str, message: str, verb: str | None) -> int:
    """Write one line on stderr, and return the exit code of a user's mistake."""
    print(f"{prefix}: {' '.join(with_flags(message, verb).split())}", file=sys.stderr)
    return 2


@contextmanager
def messages(prefix: str, verb: str | None) -> Generator[None, None, None]:
    """Send what our packages log to stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(prefix, verb))
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


class _Formatter(logging.Formatter):
    def __init__(self, prefix: str, verb: str | None) -> None:
        super().__init__(f"{prefix}: %(message)s")
        self.verb = verb

    def format(self, record: logging.LogRecord) -> str:
        return with_flags(super().format(record), self.verb)


def _flags(verb: str | None) -> dict[str, str]:
    """Return the flag of every argument of a verb, whatever the backend."""
    from repdiff.settings import SECTIONS
    from repdiff.settings.backends import backend_names
    from repdiff.settings.compose import own_options
    from repdiff.settings.leaves import leaves

    flags = {name: f"--{name}" for name in COMMON}
    if verb in SECTIONS:
        model = SECTIONS[verb]
        parts = [model, *(part for backend in backend_names() for part in own_options(model, backend))]
        for leaf in [leaf for part in parts for leaf in leaves(part) if not leaf.extra.get("only_in_file")]:
            flags[leaf.key] = leaf.key.upper() if leaf.extra.get("positional") else f"--{leaf.flag}"
    if "condition" in flags:
        flags["conditions"] = flags["condition"]
    return flags
