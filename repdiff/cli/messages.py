"""What the command line says: one line a message, with flags where the library names arguments."""

import logging
import sys
from collections.abc import Generator
from contextlib import contextmanager

PACKAGES = ("descriptors", "reconstruction", "repdiff")


def flagged(message: str, verb: str | None) -> str:
    """Put flags where a message names arguments; the settings are imported only if it names any."""
    if "`" not in message:
        return message
    from repdiff.settings.flags import with_flags

    return with_flags(message, verb)


def complain(prefix: str, message: str, verb: str | None) -> int:
    """Write one line on stderr, and return the exit code of a user's mistake."""
    print(f"{prefix}: {' '.join(flagged(message, verb).split())}", file=sys.stderr)
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
        return flagged(super().format(record), self.verb)
