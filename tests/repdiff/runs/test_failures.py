import pytest

from repdiff.errors import UserError
from repdiff.runs.failures import FAILED, read_failed, read_records, write_failed, write_records


def test_reasons_come_back_by_name(tmp_path):
    reasons = {"a": "volume below 0.5 Å³", "b": "no formula"}
    write_failed(tmp_path, reasons)
    assert read_failed(tmp_path) == reasons
    assert (tmp_path / FAILED).read_bytes().startswith(b'{"id": "a", "reason": "volume below 0.5 \\u00c5')


def test_a_run_without_the_file_misses_nothing(tmp_path):
    assert read_failed(tmp_path) == {}


def test_a_damaged_line_is_named_with_its_file(tmp_path):
    path = tmp_path / FAILED
    write_records(path, [{"id": "a", "reason": "x"}])
    path.write_text(path.read_text() + "{")
    with pytest.raises(UserError, match=FAILED):
        read_records(path)
