"""The one exception that stands for a mistake of the user."""


class UserError(Exception):
    """A mistake that the user can mend: the command line prints the message as one line and exits with code 2.

    The message gives the value, the expectation and the way out.
    """
