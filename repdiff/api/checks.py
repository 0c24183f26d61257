"""Arguments that a notebook user may get wrong, refused in one line before anything is done."""

from repdiff.errors import UserError
from repdiff.settings.base import MAX_SEED


def a_count(name: str, value: object, *, least: int = 1) -> int | None:
    """Return a number of things; None stays None.

    Raises:
        UserError: If it is no whole number, or too small.

    Example:
        >>> a_count("n", 2.5)
        Traceback (most recent call last):
        repdiff.errors.UserError: n is 2.5, expected a whole number of at least 1
    """
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise UserError(f"{name} is {value!r}, expected a whole number of at least {least}")
    return value


def a_kind(name: str, value: object, kind: type | tuple[type, ...], expected: str) -> None:
    """Refuse an object of another kind.

    Raises:
        UserError: If it is one; the message says what was expected.

    Example:
        >>> a_kind("encoded", 3, str, "what rd.encode returned")
        Traceback (most recent call last):
        repdiff.errors.UserError: encoded is an int, expected what rd.encode returned
    """
    if not isinstance(value, kind):
        of = type(value).__name__
        what = "None" if value is None else f"{'an' if of[0] in 'aeiouAEIOU' else 'a'} {of}"
        raise UserError(f"{name} is {what}, expected {expected}")


def a_seed(value: object) -> int:
    """Return a seed.

    Raises:
        UserError: If it is no whole number, negative, or too large for a generator of random numbers.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_SEED:
        raise UserError(f"seed is {value!r}, expected a whole number from 0 to {MAX_SEED}")
    return value
