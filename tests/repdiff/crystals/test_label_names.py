"""Labels on their way into our files and back: taken names are changed, values and digits are not."""

import pandas as pd
import pytest
from ase.io import read
from salt_files import CIF, load, only

import repdiff as rd
from repdiff.crystals.structure_files import read_structures, write_structures
from repdiff.datasets.load import load_dataset
from repdiff.datasets.readers.rows import STRUCTURE_COLUMNS


def test_labels_that_the_files_use_themselves_are_kept_on_writing_and_told(tmp_path, caplog):
    caplog.set_level("INFO")
    labels = {"index": 7, "n_atoms": 2, "reduced_formula": "rock salt"}
    pd.DataFrame([{"cif": CIF, **labels}]).to_csv(tmp_path / "t.csv")
    crystals = load(tmp_path / "t.csv").crystals
    write_structures(tmp_path / "out", crystals)
    own = {"index": 0, "n_atoms": 2, "reduced_formula": "NaCl"}
    kept = {"index_label": 7, "reduced_formula_label": "rock salt"}
    told = [record.getMessage() for record in caplog.records]
    assert "the label 'index' is called 'index_label' in the file: the name is taken" in told
    assert not any("'n_atoms'" in text for text in told)
    again = read_structures(tmp_path / "out")
    assert again[0].labels == own | kept
    write_structures(tmp_path / "again", again)
    assert read_structures(tmp_path / "again")[0].labels == own | kept


def test_labels_of_unlike_crystals_get_one_name_that_none_of_them_has(tmp_path):
    pd.DataFrame([{"cif": CIF}]).to_csv(tmp_path / "t.csv")
    salt = only(tmp_path / "t.csv")
    more = {"index": 9, "index_label": "mine", "stress": 1.5, "stress_label": 2}
    made = [salt.replace(id="one", labels={"index": 7}), salt.replace(id="other", labels=more)]
    write_structures(tmp_path / "out", made)
    one, other = read_structures(tmp_path / "out")
    assert (one.labels["index"], one.labels["index_label_2"], one.labels.get("index_label")) == (0, 7, None)
    assert (other.labels["index_label_2"], other.labels["index_label"]) == (9, "mine")
    info = read(tmp_path / "out" / "structures.extxyz", index=1).info
    assert (info["stress_label_2"], info["stress_label"]) == (1.5, 2)


@pytest.mark.parametrize("name", ["salt.parquet", "folder"])
def test_every_label_in_our_tables_comes_back_under_its_name_whatever_that_means_elsewhere(name, tmp_path):
    pd.DataFrame([{"cif": CIF, "material_id": "salt"}]).to_csv(tmp_path / "t.csv")
    counts = dict.fromkeys(("natoms", "nsites", "numbers", "frac", "cell"), 64)
    texts = dict.fromkeys((*STRUCTURE_COLUMNS, "pretty_formula", "material_id", "entry_id", "none"), "mine")
    labels = {**counts, **texts, "none": None}
    path = rd.write(tmp_path / name, only(tmp_path / "t.csv").replace(labels=labels))
    for again in (rd.read(path), rd.load_dataset(path, progress=False)):
        (salt,) = again.crystals
        own = {"index": 0, "n_atoms": 2, "reduced_formula": "NaCl"}
        assert (salt.id, salt.labels) == ("salt", own | labels)


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("0012", "0012"),
        ("1_2", "1_2"),
        ("9" * 20, "9" * 20),
        ("-7", -7),
        ("1e3", 1e3),
        ("0.5", 0.5),
        ("T", True),
    ],
)
def test_names_of_digits_stay_names_in_extended_xyz(said, value, quote, tmp_path):
    cell = 'Lattice="3 0 0 0 3 0 0 0 3" Properties=species:S:1:pos:R:3'
    comment = (
        f'{cell} id={quote}00{said}{quote} code={quote}{said}{quote} "a b"={quote}{said}{quote} pbc="T T T"'
    )
    (tmp_path / "one.extxyz").write_text(f"1\n{comment}\nCu 0 0 0\n")
    (crystal,) = load_dataset(str(tmp_path / "one.extxyz"), data_dir=None, progress=False).crystals
    assert crystal.id == f"00{said}"
    assert crystal.labels == {"code": value, "a b": value}
    assert type(crystal.labels["code"]) is type(value)
