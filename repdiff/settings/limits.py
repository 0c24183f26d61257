"""How much an input may ask for: what is beyond is refused in one line that says the value, the limit, the way out.

`SECURITY.md` states these numbers. They are far above what data sets of crystals need, and hold against files that
are small and unpack, or refer to themselves, into gigabytes. A file that is not packed may be as large as it is.
"""

from collections.abc import Iterable

KIB, MIB, GIB = 2**10, 2**20, 2**30

MAX_UNPACKED = GIB
"""Bytes that one packed file (.gz, .bz2, a file of a zip) may unpack to."""
MAX_UNPACKED_ZIP = 2 * GIB
"""Bytes that all files of a zip may unpack to together."""
MAX_RATIO = 200
"""How many times its size a packed file may unpack to; tables of crystals reach about 20."""
ANY_RATIO = 64 * MIB
"""Bytes up to which the ratio does not matter."""
MAX_ROWS = 2_000_000
"""Rows of one table or file: crystals, or lines that hold none."""
MAX_COLUMNS = 10_000
"""Columns of one table, or of the atoms of a frame of extended XYZ."""
MAX_CELLS = 20_000_000
"""Rows of a table times its columns."""
HOPELESS = 10_000
"""Rows or frames, from the first on, after which a file without any structure among them is given up."""
MAX_TABLE = 4 * GIB
"""Bytes of a parquet table in memory."""
MAX_CONFIG = MIB
"""Bytes of a YAML file, or of a setting that is written as YAML."""
MAX_YAML_VALUES = 100_000
"""Values of a YAML text, each counted as often as aliases repeat it."""
MAX_YAML_DEPTH = 50
"""Lists and mappings inside of one another in YAML."""
MAX_YAML_INTEGER = 2**63 - 1
"""Largest integer of YAML; no setting takes a larger one."""
MAX_JSON_DEPTH = 200
"""Lists and mappings inside of one another in JSON."""
MAX_ATOMS = 3000
"""Atoms of one crystal: all pairs of them are held in memory at once."""
MAX_IMAGES = 500_000
"""Images of the sites of a CIF under its operations, those that fall together included."""
MAX_HEADER = 16 * MIB
"""Bytes of the header of a safetensors file; those of repdiff take some hundred KiB at most."""
MAX_SHOWN = 200
"""Characters of a value that a message repeats."""


def shown_bytes(n_bytes: int) -> str:
    """Write a number of bytes in the unit that suits it.

    Example:
        >>> shown_bytes(MAX_UNPACKED), shown_bytes(1536), shown_bytes(12)
        ('1 GiB', '1.5 KiB', '12 bytes')
    """
    for size, unit in ((GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if n_bytes >= size:
            return f"{n_bytes / size:.4g} {unit}"
    return f"{n_bytes} bytes"


def shown(value: object) -> str:
    """Write a value for a message in one line: cut where it is long, and any number of digits.

    Example:
        >>> shown("a b"), shown("x" * 300)[195:], shown(1 << 100_000)
        ("'a b'", 'xxxx… (302 characters)', 'a number of more than 4300 digits')
    """
    try:
        text = repr(value)
    except ValueError:  # Python writes no integer of that many digits
        return "a number of more than 4300 digits"
    except RecursionError:
        return f"a {type(value).__name__} nested too deep to be shown"
    return cut(text)


def listed(names: Iterable[str]) -> str:
    """Write names for a message, cut where they are many or long; "(none)" where there are none."""
    return cut(", ".join(names)) or "(none)"


def cut(text: str) -> str:
    """Cut a long text for a message, and say how long it is."""
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}… ({len(text)} characters)"
