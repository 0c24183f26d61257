"""What the command line says: one line a message, with flags where the library names arguments."""

import logging
import re
import sys
from collections.abc import Generator
from contextlib import contextmanager

CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2028\u2029\u2066-\u2069]")
LONGEST = 10_000  # characters of a message
PACKAGES = ("descriptors", "reconstruction", "repdiff")


def flagged(message: str, verb: str | None) -> str:
    """Put flags where a message names arguments; the settings are imported only if it names any."""
    if "`" not in message:
        return message
    from repdiff.settings.flags import with_flags

    return with_flags(message, verb)


def complain(prefix: str, message: str, verb: str | None) -> int:
    """Write one line on stderr, and return the exit code of a user's mistake."""
    print(one_line(f"{prefix}: {flagged(message, verb)}"), file=sys.stderr)
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
        return "\n".join(
            CONTROL.sub(_escape, line)
            for line in flagged(super().format(record), self.verb).replace("\r", " ").split("\n")
        )


def one_line(message: str) -> str:
    r"""Put a message in one line; what would act on a terminal, such as colours and bells, is written as \xhh.

    Example:
        >>> print(one_line("a name\nlike \x1b[31mthis"))
        a name like \x1b[31mthis
    """
    text = CONTROL.sub(_escape, " ".join(message.split()))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text)} characters)"


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()
