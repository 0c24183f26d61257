"""Arguments in messages: the library names them in backticks, and the command line shows flags in their place.

Files that commands write keep the names in backticks, which are those of Python and of config files too.
"""

import re

from repdiff.settings import SECTIONS
from repdiff.settings.backends import backend_names
from repdiff.settings.compose import own_options
from repdiff.settings.leaves import leaves

COMMON = {"config", "workspace", "name", "overwrite"}  # flags of all verbs
ARGUMENT = re.compile(r"`([a-z_]+(?:\.[a-z_]+)*)(=False)?`")


def with_flags(message: str, verb: str | None) -> str:
    """Put flags where a message names arguments in backticks, such as `n`, `network.width` or `niggli=False`.

    Args:
        message: Message of the library, with argument names in backticks.
        verb: Command whose flags are substituted.

    Example:
        >>> with_flags("`n` is 0: raise `n_workers`", "evaluate")
        '--n is 0: raise --n-workers'
    """
    flags = _flags(verb)

    def flag(found: re.Match[str]) -> str:
        name = flags.get(found[1])
        if name is None:
            return found[0]
        return name.replace("--", "--no-", 1) if found[2] else name

    return ARGUMENT.sub(flag, message)


def _flags(verb: str | None) -> dict[str, str]:
    """Return the flag of every argument of a verb, whatever the backend."""
    flags = {name: f"--{name}" for name in COMMON}
    if verb in SECTIONS:
        model = SECTIONS[verb]
        parts = [model, *(part for backend in backend_names() for part in own_options(model, backend))]
        for leaf in [leaf for part in parts for leaf in leaves(part) if not leaf.extra.get("only_in_file")]:
            flags[leaf.key] = leaf.key.upper() if leaf.extra.get("positional") else f"--{leaf.flag}"
    if "condition" in flags:
        flags["conditions"] = flags["condition"]
    return flags
