"""The exception that stands for a mistake of the user, and the message for a name that nobody knows."""

from descriptors.registry import did_you_mean, unknown

__all__ = ["DamagedError", "UserError", "did_you_mean", "unknown"]

REMAKE = "make it again by the command that wrote it, with `overwrite`"


class UserError(ValueError):
    """A mistake that the user can mend: the command line prints the message as one line and exits with code 2.

    The message gives the value, the expectation and the way out. It names arguments, in backticks where the command
    line has a flag for them, and never flags: those are put in where the command line prints it.

    Example:
        >>> import repdiff as rd
        >>> try:
        ...     rd.read("no_such_file.cif")
        ... except ValueError as error:
        ...     print(type(error).__name__)
        UserError
    """


class DamagedError(UserError):
    """A file that was written by repdiff and cannot be read any more, because it was cut short or changed.

    Args:
        damage: Names the file, and says what is wrong.
        way_out: What the user can do.
    """

    def __init__(self, damage: str, way_out: str = REMAKE) -> None:
        super().__init__(f"{damage}: {way_out}")
        self.damage, self.way_out = damage, way_out

    def __reduce__(self) -> tuple[type["DamagedError"], tuple[str, str]]:
        """Go to another process as it is."""
        return type(self), (self.damage, self.way_out)
