"""What a check does when something is not as it must be."""

from collections.abc import Generator
from contextlib import contextmanager

from repdiff.errors import UserError


def require(condition: bool, message: str) -> None:
    """Fail a check; `assert` would be gone under `python -O`.

    Raises:
        AssertionError: If the condition does not hold.
    """
    if not condition:
        raise AssertionError(message)


@contextmanager
def refused(what: str, contains: str = "") -> Generator[None, None, None]:
    """Require that the block raises a UserError of one line that contains some text.

    Raises:
        AssertionError: If it does not.

    Example:
        >>> with refused("an unknown name"):
        ...     raise UserError("no such name")
    """
    try:
        yield
    except UserError as error:
        require("\n" not in str(error), f"{what} is refused in several lines: {error}")
        require(contains in str(error), f"{what} is refused by {str(error)!r}, expected {contains!r} in it")
        return
    raise AssertionError(f"{what} is not refused, expected a UserError")


def one_line(description: str, least: int = 10) -> None:
    """Require that something describes itself in one line of 10 to 100 characters.

    Raises:
        AssertionError: If it does not.
    """
    fits = least < len(description) <= 100 and "\n" not in description
    require(fits, f"the description is {description!r}, expected one line of {least} to 100 characters")
