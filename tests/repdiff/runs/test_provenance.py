from repdiff.hardware import hardware
from repdiff.runs.atomic_files import read_json
from repdiff.runs.provenance import record, versions


def test_a_record_says_what_was_measured_and_with_what(tmp_path):
    record(tmp_path / "speed.json", {"seconds": 1.5})
    found = read_json(tmp_path / "speed.json")
    assert found == {"seconds": 1.5, "versions": versions(), "hardware": hardware()}
