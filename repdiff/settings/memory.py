"""The setting of how much memory a command may take."""

import re
from typing import Any

from pydantic import ByteSize, TypeAdapter, ValidationError, model_validator

from repdiff.errors import UserError
from repdiff.settings.base import Options, setting

GIGABYTE = 10**9
AMOUNT = re.compile(r"\s*[0-9]+(\.[0-9]+)?\s*[kmgtp]i?b\s*", re.IGNORECASE)


class MemorySettings(Options):
    """What every verb has that computes."""

    memory: str | None = setting(
        None,
        "Memory that the command and its workers on this machine may take together, such as 4GB or 512MiB; default: "
        "that of the container or the machine, which is not enforced; see docs/how-to/memory.md",
        role="speed",
        group="workers",
    )

    @model_validator(mode="after")
    def _check_memory(self) -> Any:  # noqa: ANN401 (of the subclass)
        if self.memory is not None:
            parse_memory(self.memory)
        return self


def parse_memory(memory: str | int) -> int:
    """Return an amount of memory in bytes.

    Args:
        memory: A number with a unit, of powers of 1000 (4GB) or of 1024 (512MiB); an integer is bytes.

    Raises:
        UserError: If it has no unit, another, or is not positive.

    Example:
        >>> parse_memory("1.5GB")
        1500000000
    """
    told = f"`memory` is {memory}, expected a number with a unit, such as 4GB or 512MiB"
    if not isinstance(memory, int) and not (isinstance(memory, str) and AMOUNT.fullmatch(memory)):
        raise UserError(" ".join(told.split()))
    try:
        n_bytes = int(TypeAdapter(ByteSize).validate_python(memory))
    except (ValidationError, OverflowError) as error:
        raise UserError(told) from error
    if n_bytes <= 0:
        raise UserError(told)
    return n_bytes
