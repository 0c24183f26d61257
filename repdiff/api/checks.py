"""Arguments that a notebook user may get wrong, refused in one line before anything is done."""

from repdiff.errors import UserError


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
        repdiff.errors.UserError: encoded is a int, expected what rd.encode returned
    """
    if not isinstance(value, kind):
        raise UserError(f"{name} is a {type(value).__name__}, expected {expected}")
