"""Folders of results, however deep: the one file with all crystals of each is read, the copies beside it are not."""

import zipfile
from pathlib import Path

import pytest

from repdiff.datasets.load import load_dataset
from repdiff.datasets.readers.any_path import input_files
from repdiff.datasets.readers.folders import contents_of
from repdiff.errors import UserError

FRAME = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 0\nCl 2 2 2\n'
BAD = FRAME.replace('pbc="T T T"', 'pbc="F F F"')


def load(path: Path):
    return load_dataset(str(path), data_dir=None, progress=False)


def write_mattergen(folder: Path, *, whole: bool = True) -> None:
    """Write what MatterGen writes: all crystals as frames, each in a zip, and the steps of the sampling."""
    folder.mkdir(parents=True)
    if whole:
        (folder / "generated_crystals.extxyz").write_text(3 * FRAME)
    with zipfile.ZipFile(folder / "generated_crystals_cif.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"gen_{number}.extxyz", FRAME)
    with zipfile.ZipFile(folder / "generated_trajectories.zip", "w") as archive:
        archive.writestr("gen_0.extxyz", BAD + FRAME)


@pytest.mark.parametrize("whole", [True, False])
@pytest.mark.parametrize("depth", [[""], ["a"], ["a", "b/c"]])
def test_crystals_of_mattergen_are_read_once_at_any_depth(depth, whole, tmp_path):
    for place in depth:
        write_mattergen(tmp_path / "results" / place, whole=whole)
    dataset = load(tmp_path / "results")
    assert len(dataset.crystals) == 3 * len(depth)
    assert not dataset.rejected
    assert "generated_trajectories.zip" in dataset.remarks[0]
    names = {file.name for file in input_files(tmp_path / "results")}
    assert names == {"generated_crystals.extxyz" if whole else "generated_crystals_cif.zip"}


def test_a_zip_of_results_is_read_like_the_folder(tmp_path):
    write_mattergen(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for file in (tmp_path / "a").iterdir():
            archive.write(file, f"a/{file.name}")
    dataset = load(tmp_path / "all.zip")
    assert (len(dataset.crystals), dataset.rejected) == (3, [])


def test_other_files_beside_folders_of_results_are_read_too(tmp_path):
    write_mattergen(tmp_path / "a")
    (tmp_path / "own.xyz").write_text(FRAME)
    assert len(load(tmp_path).crystals) == 4


def test_steps_of_a_sampling_alone_are_no_crystals(tmp_path):
    write_mattergen(tmp_path / "a", whole=False)
    (tmp_path / "a" / "generated_crystals_cif.zip").unlink()
    with pytest.raises(UserError, match="holds no structure"):
        load(tmp_path)


def test_results_of_this_tool_need_their_mark_in_the_same_folder():
    names = ["a/table.parquet", "a/structures.extxyz", "b/table.parquet", "structures.extxyz", "a/x/y.cif"]
    contents = contents_of(names)
    assert contents.read == ("a/table.parquet", "b/table.parquet", "structures.extxyz")
    assert set(contents.left) == {"a/structures.extxyz", "a/x/y.cif"}


def test_a_run_whose_table_was_lost_counts_each_crystal_once():
    written = ("manifest.json", "structures.extxyz", "structures.csv", "structures.json.gz", "cif.zip")
    for folder in ("", "runs/one/"):
        names = [folder + name for name in written]
        assert contents_of(names).read == (f"{folder}structures.extxyz",)
        assert contents_of([*names, f"{folder}table.parquet"]).read == (f"{folder}table.parquet",)
