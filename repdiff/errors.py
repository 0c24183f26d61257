"""The exception that stands for a mistake of the user, and the message for a name that nobody knows."""

from descriptors.registry import did_you_mean, unknown

__all__ = ["UserError", "did_you_mean", "unknown"]


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
