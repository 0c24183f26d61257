import pytest

from repdiff.representations.shards import NAMES, read_names, write_names
from repdiff.runs.atomic_files import write_json


@pytest.mark.parametrize("names", [[], ["gen-000000"], ["a", "b\n", "é", '"', ""]])
def test_names_are_written_one_after_the_other_as_json_is(names, tmp_path):
    write_names(tmp_path, iter(names))
    write_json(tmp_path / "whole.json", names)
    assert (tmp_path / NAMES).read_bytes() == (tmp_path / "whole.json").read_bytes()
    assert read_names(tmp_path, len(names)) == names
