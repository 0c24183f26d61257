import pytest

from repdiff.datasets.readers.rows import SPLIT_NAMES, row_of, split_name

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
