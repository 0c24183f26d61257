import errno

import pytest

from repdiff.runs.atomic_files import disk_trouble, read_json, replacing, sha256, write_json


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    file = tmp_path / "x.json"
    write_json(file, {"loss": float("nan"), "sizes": (1, 2)})
    assert read_json(file) == {"loss": None, "sizes": [1, 2]}

    def fail():
        with replacing(file) as partial:
            partial.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert read_json(file)["sizes"] == [1, 2]
    assert [path.name for path in tmp_path.iterdir()] == ["x.json"]


def test_the_hash_of_a_folder_sees_contents_and_names_but_no_times(tmp_path):
    def folder(name, files):
        for file, text in files.items():
            (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name / file).write_text(text)
        return sha256(tmp_path / name)

    first = folder("a", {"x": "1", "sub/y": "2", "manifest.json": "10:00", ".lock": ""})
    assert first == folder("b", {"x": "1", "sub/y": "2", "manifest.json": "11:00"})
    assert first != folder("c", {"x": "1", "sub/y": "3"})
    assert first != folder("d", {"x": "1", "sub/z": "2"})


def test_a_full_or_read_only_disk_is_told_from_our_own_bugs():
    assert "read-only" in str(disk_trouble(OSError(errno.EROFS, "Read-only file system", "x")))
    wrapped = RuntimeError("could not write")
    wrapped.__cause__ = OSError(errno.ENOSPC, "No space left on device", "x")
    assert "full" in str(disk_trouble(wrapped))
    assert "full" in str(disk_trouble(RuntimeError("No space left on device (os error 28)")))
    assert disk_trouble(RuntimeError("bug")) is None


@pytest.mark.parametrize(("code", "told"), [(errno.ENOENT, "no such"), (errno.ENAMETOOLONG, "too long")])
def test_a_path_that_cannot_be_is_told_in_a_line_that_names_it(code, told):
    assert str(disk_trouble(OSError(code, "trouble", "/proc/foo"))).startswith("/proc/foo: ")
    assert told in str(disk_trouble(OSError(code, "trouble", "/proc/foo")))
