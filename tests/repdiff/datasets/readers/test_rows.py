import pytest
from pymatgen.core import Lattice, Structure

from repdiff.datasets.readers.rows import (
    SPLIT_NAMES,
    clean_label,
    parse_rows,
    row_of,
    split_name,
    typed_columns,
)

ALIASES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}


@pytest.mark.parametrize(("alias", "split"), ALIASES.items())
def test_every_name_of_a_split_means_one_of_three_in_any_case(alias, split):
    assert split_name(alias) == split_name(f" {alias.upper()} ") == split
    assert row_of("file", 0, None, {"split": alias}).split == split


def test_no_alias_is_left_out_of_the_table():
    assert ALIASES.keys() >= SPLIT_NAMES.keys()


@pytest.mark.parametrize("value", ["fold7", "trains", "", None, 0, float("nan")])
def test_anything_else_is_no_split(value):
    assert split_name(value) is None


@pytest.mark.parametrize("number", [2**62, 2**63 - 1, 2**63, 2**64])
@pytest.mark.parametrize("sign", [1, -1])
def test_integers_stay_numbers_as_long_as_64_bits_hold_them(number, sign):
    label = sign * number
    expected = label if number < 2**63 else str(label)
    assert clean_label(label) == expected
    assert typed_columns({"n": [str(label)]}) == {"n": [expected]}


@pytest.mark.parametrize("value", [2**53, 2**53 + 2])
def test_integers_among_decimals_stay_texts_where_a_float_would_lose_digits(value):
    (read, _) = typed_columns({"n": [str(value), "0.5"]})["n"]
    assert read == (float(value) if value <= 2**53 else str(value))


def test_a_row_without_structure_is_refused_and_takes_no_other_row_s_text():
    cif = Structure(Lattice.cubic(4), ["Na"], [[0, 0, 0]]).to(fmt="cif")
    rows = [row_of("file", number, content, {}) for number, content in enumerate([None, cif, None])]
    pairs = parse_rows(rows, progress=False, processes=1)
    assert [row.row for row, _ in pairs] == [0, 1, 2]
    assert [pairs[0][1], pairs[2][1]] == ["no structure"] * 2
    assert pairs[1][1].atomic_numbers.tolist() == [11]
