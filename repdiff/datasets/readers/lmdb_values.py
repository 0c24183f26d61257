"""Writes the keys or values of an LMDB to its standard output; a process of its own, as damaged files end it at once.

The library maps the file into memory and follows what it says: of a file that is cut off or damaged, the system ends
the process that reads. `lmdb_files` starts this file as a program and reads what it writes; nothing of repdiff is
imported.

    python lmdb_values.py FILE keys MOST
    python lmdb_values.py FILE values LARGEST < KEYS

`keys` writes the keys that are whole numbers as a JSON list, ascending, at most MOST and one more. `values` reads such
keys, one a line, and writes the length of each value, eight bytes, and the value: none of what has more than LARGEST.
"""

import json
import sys

TOO_LARGE, ABSENT = 2**64 - 1, 2**64 - 2  # instead of a length
REFUSED = 3  # exit status where the library refuses the file; its reason is on the standard error


def main() -> int:
    """Write what is asked for."""
    import lmdb

    path, what, limit = sys.argv[1], sys.argv[2], int(sys.argv[3])
    try:
        with (
            lmdb.open(path, subdir=False, readonly=True, lock=False, readahead=False) as opened,
            opened.begin(buffers=True) as entries,
        ):
            if what == "keys":
                _write_keys(entries, limit)
            else:
                _write_values(entries, limit)
    except lmdb.Error as error:
        sys.stderr.write(str(error))
        return REFUSED
    return 0


def _write_keys(entries, most: int) -> None:  # noqa: ANN001 (lmdb.Transaction, which is not imported here)
    found = []
    for key in entries.cursor().iternext(keys=True, values=False):
        text = bytes(key)
        if text.isdigit() and len(text) < 20:
            found.append(int(text))
            if len(found) > most:
                break
    sys.stdout.write(json.dumps(sorted(found)))


def _write_values(entries, largest: int) -> None:  # noqa: ANN001
    out = sys.stdout.buffer
    for line in sys.stdin:
        value = entries.get(line.strip().encode())
        if value is None or len(value) > largest:
            out.write((ABSENT if value is None else TOO_LARGE).to_bytes(8, "big"))
            continue
        out.write(len(value).to_bytes(8, "big"))
        out.write(value)


if __name__ == "__main__":
    sys.exit(main())
