"""The name of a crystal inside of its CIF, for a name of a file can hold few of them."""

import re
from urllib.parse import quote, unquote

NAME = re.compile(r"^_repdiff_id\s+'id:([^'\s]*)'", re.MULTILINE)
PLACE = re.compile(r"crystal-\d+")
BLOCK = re.compile(r"^data_.*$", re.MULTILINE)


def named_cif(id: str, cif: str) -> str:
    r"""Return a CIF of one block that also states the name of its crystal, as `_repdiff_id`.

    Signs beyond letters, digits and `_.-~` are written as %XX, as in addresses of the web, for no CIF can hold all of
    them. A name that was made from a place in a list is not stated: that of the file says more.

    Example:
        >>> print(named_cif("mp-1 (a)", "data_NaCl\n_cell_length_a 4"))
        data_NaCl
        _repdiff_id 'id:mp-1%20%28a%29'
        _cell_length_a 4
    """
    if PLACE.fullmatch(id):
        return cif
    stated = f"_repdiff_id 'id:{quote(id, safe='')}'"
    return BLOCK.sub(lambda match: f"{match[0]}\n{stated}", cif, count=1)


def name_in_cif(cif: str) -> str | None:
    """Return the name that `named_cif` wrote; None where there is none, or several."""
    found = NAME.findall(cif)
    return unquote(found[0]) if len(found) == 1 else None
