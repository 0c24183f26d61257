"""Folders named from Python: what lies there is neither taken for something else nor lost."""

import dataclasses

import pytest
from ase.build import bulk

import repdiff as rd
from repdiff.api.folders import MARK
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.locks import locked

TRAINING = {"backend": "retrieval", "device": "cpu", "progress": False}
SMALL = {
    "max_steps": 2,
    "batch_size": 8,
    "timesteps": 20,
    "compositions": "joint",
    "denoiser_options": {"width": 32, "n_blocks": 1},
    "device": "cpu",
    "progress": False,
}


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("options", [SMALL, TRAINING], ids=["trained in steps", "fitted at once"])
def test_a_folder_keeps_its_training_and_refuses_any_other(options, encoded, tmp_path):
    folder = tmp_path / "mm"
    rd.train(encoded, folder=folder, **options)
    before = files(folder)
    first = encoded.crystals[0]
    moved = first.replace(frac_coords=first.frac_coords + 0.01)
    other = dataclasses.replace(encoded, crystals=[moved, *encoded.crystals[1:]])
    with pytest.raises(UserError, match=r"holds a training on other crystals: choose another `folder`"):
        rd.train(other, folder=folder, **options)
    backend = "dpcdvae" if options is TRAINING else "retrieval"
    with pytest.raises(UserError, match=f"`backend` was .*, now '{backend}'"):
        rd.train(encoded, folder=folder, **TRAINING | {"backend": backend})
    with pytest.raises(UserError, match="in which `seed` was 0, now 1"):
        rd.train(encoded, folder=folder, seed=1, **options)
    assert files(folder) == before
    rd.train(encoded, folder=folder, **options)


def test_a_folder_in_which_another_process_trains_is_refused(encoded, tmp_path):
    folder = tmp_path / "mm"
    with (
        locked(folder, file=folder / ".lock"),
        pytest.raises(UserError, match="in use by another process: wait for it, or choose another `folder`"),
    ):
        rd.train(encoded, folder=folder, **TRAINING)
    rd.train(encoded, folder=folder, **TRAINING)


@pytest.mark.parametrize("text", ["[]", "null", "{"])
def test_a_damaged_mark_is_told_in_one_line(text, encoded, tmp_path):
    rd.train(encoded, folder=tmp_path / "mm", **TRAINING)
    (tmp_path / "mm" / MARK).write_text(text)
    with pytest.raises(UserError, match=f"{MARK}: damaged"):
        rd.train(encoded, folder=tmp_path / "mm", **TRAINING)


def test_a_training_that_is_refused_leaves_its_folder_free(encoded, tmp_path):
    with pytest.raises(UserError, match="wdth"):
        rd.train(encoded, folder=tmp_path / "mm", **SMALL | {"denoiser_options": {"wdth": 64}})
    assert rd.train(encoded, folder=tmp_path / "mm", **TRAINING).backend_name == "retrieval"


def test_a_set_that_was_kept_is_the_same_training_data(encoded, tmp_path):
    encoded.write(str(tmp_path / "new" / "encoded"))
    assert EncodedSet.read(str(tmp_path / "new" / "encoded")).content_hash() == encoded.content_hash()


@pytest.mark.parametrize("name", ["mine.cif", "structures.csv", "table.parquet"])
def test_a_folder_of_other_files_is_left_alone(name, encoded, tmp_path):
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"holds {name} and no training"):
        rd.train(encoded, folder=tmp_path, **TRAINING)
    with pytest.raises(UserError, match=f"holds {name}, expected an empty folder"):
        rd.write(tmp_path, bulk("Cu"))
    assert files(tmp_path) == {tmp_path / name: b"mine"}


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("mm", "a part of this path is a file, expected a folder"),
        ("mm/new", "a part of this path is a file, expected a folder"),
        ("x" * 300, "a name in this path is too long: choose a shorter one"),
        ("/proc/new", "no such file or folder, and it cannot be made: choose another path"),
    ],
)
def test_a_folder_that_the_disk_refuses_is_refused_as_everywhere(name, why, encoded, tmp_path):
    (tmp_path / "mm").write_text("mine")
    with pytest.raises(UserError, match=f"{name}: {why}$"):
        rd.train(encoded, folder=tmp_path / name, **TRAINING)
    assert files(tmp_path) == {tmp_path / "mm": b"mine"}


def test_crystals_written_before_are_replaced(tmp_path):
    for element in ("Cu", "Fe"):
        rd.write(tmp_path / "metals", bulk(element))
    assert rd.read(tmp_path / "metals").to_frame()["formula"].tolist() == ["Fe"]


def test_an_empty_folder_name_is_not_the_folder_here(encoded, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="the path is empty"):
        rd.train(encoded, folder="", **TRAINING)
    assert not files(tmp_path)
