"""The header of a safetensors file, measured before it is parsed."""

from pathlib import Path

from repdiff.errors import DamagedError, UserError
from repdiff.settings.limits import MAX_HEADER, shown_bytes


def check_header(file: Path) -> None:
    """Refuse a header that is longer than its file, or longer than any of repdiff.

    Raises:
        OSError: If the file cannot be opened.
        UserError: If the header is too long or, as DamagedError, longer than the file.
    """
    with file.open("rb") as stream:
        start, size = stream.read(8), file.stat().st_size
    length = int.from_bytes(start, "little")
    if len(start) < 8 or length > size - 8:
        raise DamagedError(
            f"{file} cannot be read: its header would have {length} bytes, the file has {size}: it is truncated or no "
            "safetensors file"
        )
    if length > MAX_HEADER:
        raise UserError(
            f"{file} has a header of {shown_bytes(length)}, expected at most {shown_bytes(MAX_HEADER)}: it is no file "
            "of repdiff; name another file"
        )
