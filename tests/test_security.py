"""SECURITY.md says what the code does."""

import re
from pathlib import Path

import pytest

from repdiff.crystals import checks
from repdiff.settings import limits

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \| ([^|]+) \|", TEXT, re.MULTILINE))
NOT_SAID = {"MAX_SHOWN", "MAX_YAML_INTEGER"}  # of messages, and of 64 bits


def test_every_limit_is_stated():
    named = {name for name in vars(limits) if name.startswith(("MAX_", "ANY_", "HOPELESS"))}
    assert set(ROWS) == named - NOT_SAID


@pytest.mark.parametrize("name", ROWS)
def test_limits_are_stated_as_they_are(name):
    number, _, unit = ROWS[name].partition(" ")
    assert int(number) * {"": 1, "MiB": 2**20, "GiB": 2**30}[unit] == getattr(limits, name)


def test_limits_of_crystals_are_stated_as_they_are():
    text = (ROOT / "docs" / "reference" / "inputs.md").read_text(encoding="utf-8")
    low, high = checks.MIN_ATOM_VOLUME, checks.MAX_ATOM_VOLUME
    assert f"less than {low:g} Å³ an atom, or more than {high:,.0f} Å³".replace("0,0", "0 0") in text
    assert f"a cell vector of more than {checks.MAX_LENGTH:,.0f} Å".replace("0,0", "0 0") in text
    assert checks.MIN_VOLUME == checks.MIN_DISTANCE == pytest.approx(0.1)  # "a tenth"
    assert f"more than {limits.MAX_ATOMS} atoms" in text


UNPICKLES = re.compile(
    r"\bimport (dill|joblib|shelve|marshal)\b|\bfrom (pickle|dill|joblib)\b|pickle\.(load\(|Unpickler)"
    r"|torch\.load\(|allow_pickle=True|yaml\.(unsafe_load|full_load|UnsafeLoader|FullLoader)|(?<![.\w])(eval|exec)\("
)


@pytest.mark.parametrize("package", ["descriptors", "reconstruction", "repdiff"])
def test_nothing_is_unpickled_or_evaluated(package):
    found = {
        f"{file.relative_to(ROOT)}: {match[0]}"
        for file in (ROOT / package).rglob("*.py")
        for match in UNPICKLES.finditer(file.read_text(encoding="utf-8"))
    }
    assert found == set()
