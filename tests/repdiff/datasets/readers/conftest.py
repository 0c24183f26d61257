"""Files as repdiff writes them, to be damaged."""

import pytest
from hostile_files import SALT

from repdiff.crystals.structure_files import write_file


@pytest.fixture(scope="module")
def cif(tmp_path_factory) -> str:
    path = write_file(tmp_path_factory.mktemp("cif") / "a.cif", [SALT.replace(id="crystal-0")])
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def csv_bytes(tmp_path_factory) -> bytes:
    many = [SALT.replace(id=f"mp-{number}", labels={"e": 1.0 * number}) for number in range(20)]
    return write_file(tmp_path_factory.mktemp("csv") / "a.csv", many).read_bytes()
