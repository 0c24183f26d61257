"""What cannot be reached in a folder is named, and stops nothing; a folder that cannot be listed is refused."""

import errno
import os
from pathlib import Path

import pytest
from ase.build import bulk

import repdiff as rd
from repdiff.datasets.readers.any_path import hash_inputs
from repdiff.errors import UserError


@pytest.fixture
def folder(tmp_path):
    rd.write(tmp_path / "set" / "copper.cif", bulk("Cu"))
    rd.write(tmp_path / "set" / "sub" / "iron.cif", bulk("Fe"))
    return tmp_path / "set"


@pytest.fixture
def lock(monkeypatch):
    """Let the system refuse to list a folder, to look at what is in it, or to open a file."""
    locked = []
    scandir, stat, open_file, read_bytes = os.scandir, os.stat, Path.open, Path.read_bytes

    def refuse(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))

    def inside(path):
        return not isinstance(path, int) and any(place in Path(path).parents for place in locked)

    def listed(path="."):
        return refuse(path) if Path(path) in locked or inside(path) else scandir(path)

    def looked_at(path, **more):
        return refuse(path) if inside(path) else stat(path, **more)

    def opened(path, *words, **more):
        return refuse(path) if path in locked else open_file(path, *words, **more)

    monkeypatch.setattr(os, "scandir", listed)
    monkeypatch.setattr(os, "stat", looked_at)
    monkeypatch.setattr(Path, "open", opened)
    monkeypatch.setattr(Path, "read_bytes", lambda path: refuse(path) if path in locked else read_bytes(path))
    return locked.append


def test_a_sub_folder_that_cannot_be_listed_is_named(folder, lock):
    lock(folder / "sub")
    dataset = rd.load_dataset(folder)
    assert [crystal.formula for crystal in dataset.crystals] == ["Cu"]
    assert dataset.remarks == ("1 files not read: sub (cannot be opened: Permission denied)",)
    assert rd.read(folder).remarks == dataset.remarks


def test_links_that_lead_nowhere_or_to_folders_are_named(folder, tmp_path):
    (folder / "gone.cif").symlink_to(tmp_path / "nothing.cif")
    (folder / "there.cif").symlink_to(folder / "copper.cif")
    (folder / "elsewhere").symlink_to(folder / "sub")
    (folder / ".hidden").symlink_to(tmp_path / "nothing")
    (folder / "round").symlink_to(folder / "round")
    dataset = rd.load_dataset(folder)
    assert sorted(crystal.id for crystal in dataset.crystals) == ["copper", "sub/iron", "there"]
    (remark,) = dataset.remarks
    assert remark.startswith(
        "3 files not read: elsewhere (a link to a folder), gone.cif (a link that leads nowhere)"
    )
    assert ", round (cannot be opened: " in remark


def test_what_is_no_file_is_named(folder):
    os.mkfifo(folder / "pipe.cif")
    assert rd.load_dataset(folder).remarks == ("1 files not read: pipe.cif (neither a file nor a folder)",)


def test_a_locked_file_is_one_bad_row(folder, lock):
    lock(folder / "copper.cif")
    dataset = rd.load_dataset(folder)
    assert [crystal.id for crystal in dataset.crystals] == ["sub/iron"]
    assert [(one.id, one.reason) for one in dataset.rejected] == [
        ("copper", "cannot be opened: Permission denied")
    ]
    assert list(hash_inputs(folder)) == [str(folder)]


@pytest.mark.parametrize("read", [rd.load_dataset, rd.read])
def test_a_folder_that_cannot_be_listed_is_refused(read, folder, lock):
    lock(folder)
    with pytest.raises(UserError, match=r"set cannot be opened: Permission denied; check its permissions"):
        read(folder)
    with pytest.raises(UserError, match=r"cif cannot be opened: Permission denied; check its permissions"):
        read(folder / "copper.cif")


def test_a_folder_of_nothing_that_can_be_reached_says_so(folder, lock):
    lock(folder / "sub")
    (folder / "copper.cif").unlink()
    with pytest.raises(
        UserError, match=r"holds no structure.*; not read: sub \(cannot be opened: Permission denied\)"
    ):
        rd.load_dataset(folder)
