"""Any id comes back from every format as it was written, and no spreadsheet takes one for a formula."""

import csv
import io

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repdiff.crystals.cif_names import name_in_cif, named_cif
from repdiff.crystals.extxyz_texts import exact_texts
from repdiff.crystals.structure_files import write_file
from repdiff.datasets.load import load_dataset
from repdiff.runs.csv_text import escaped, escaped_frame, unescaped
from repdiff.testing.example_crystals import crystal

FORMULAS = ["=cmd|' /C calc'!A0", "@SUM(A1)", "+1", "-1", "\t=1", "\r=1", "\n=1", "'=1", "''-x"]
STRANGE = [
    *FORMULAS, "", "'", "''", "1.0", "0012", "1e5", "T", "F", "nan", "inf", "None", "true", "a\nb", "a\r\nb", "a\\b",
    'a"b', "a'b", "a=b", " a ", "a  b", "{1}", "[1]", "a,b", "a;b:c", "%20", "é", "日本", "../up", "a/b", "\x00",
    "\x1b[31m", "_JSON [1]", "<script>", "id#2", "\u2028", "x" * 3000,
]  # fmt: skip
FORMATS = [".extxyz", ".json.gz", ".csv", ".parquet", ".zip", ".cif"]
IDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def salt(id: str, **labels):
    found = crystal(id, [55, 17], 4.1 * np.eye(3), [[0, 0, 0], [0.5, 0.5, 0.5]])
    return found.replace(labels=labels)


def written_and_read(folder, suffix, crystals):
    path = write_file(folder / f"a{suffix}", crystals)
    dataset = load_dataset(str(path), data_dir=None, progress=False, processes=1)
    assert dataset.rejected == []
    return dataset.crystals


@pytest.mark.parametrize("suffix", FORMATS[:-1])
def test_strange_ids_survive_every_format(tmp_path, suffix):
    found = written_and_read(tmp_path, suffix, [salt(id) for id in STRANGE])
    assert [one.id for one in found] == STRANGE


@pytest.mark.parametrize("suffix", FORMATS)
@settings(max_examples=40, deadline=None)
@given(id=IDS)
@example(id="1.0")
def test_any_id_survives_every_format(tmp_path_factory, suffix, id):
    (found,) = written_and_read(tmp_path_factory.mktemp("ids"), suffix, [salt(id)])
    assert found.id == id


@pytest.mark.parametrize("suffix", [".extxyz", ".csv", ".parquet", ".json.gz"])
def test_labels_that_are_formulas_or_look_like_numbers_keep_their_values(tmp_path, suffix):
    labels = {"a": "=1+2", "b": "-1", "c": "0012", "d": "-x", "e": -1.5}
    (found,) = written_and_read(tmp_path, suffix, [salt("one", **labels)])
    assert {name: found.labels[name] for name in labels} == labels


def test_no_cell_of_a_csv_begins_like_a_formula(tmp_path):
    write_file(tmp_path / "a.csv", [salt(id, note=id, **{"=x": 1}) for id in STRANGE])
    text = (tmp_path / "a.csv").read_text(encoding="utf-8")
    for row in csv.reader(io.StringIO(text, newline="")):
        assert not [cell for cell in row if cell[:1] in tuple("=+-@\t\r\n")]


@given(text=st.text() | st.sampled_from(STRANGE))
def test_escaping_is_undone_exactly_and_leaves_ordinary_texts_alone(text):
    assert unescaped(escaped(text)) == text
    if text[:1].isalnum():
        assert escaped(text) == text


def test_a_table_of_others_is_read_as_it_stands(tmp_path):
    path = write_file(tmp_path / "a.csv", [salt("=1")])
    path.write_text(path.read_text().replace("material_id,formula,", "formula,material_id,", 1))
    path.write_text(path.read_text().replace("'=1,CsCl", "CsCl,'=1", 1))
    (found,) = load_dataset(str(path), data_dir=None, progress=False).crystals
    assert found.id == "'=1"


@given(id=IDS)
def test_a_cif_states_the_id_in_one_line_of_ascii(id):
    text = named_cif(id, "data_x\n_cell_length_a 4\n")
    assert text.isascii()
    if text.count("\n") == 3:
        assert name_in_cif(text) == id


@pytest.mark.parametrize("written", [None, 3, "", ":", "a", ";;", "%zz:%", "a:b;c"])
def test_a_damaged_list_of_texts_is_no_error(written):
    assert isinstance(exact_texts(written), dict)


@pytest.mark.parametrize("id", ["1.0", "a\nb", "", 'a"b'])
def test_other_readers_of_extxyz_still_find_one_frame(tmp_path, id):
    from ase.io import read

    path = write_file(tmp_path / "a.extxyz", [salt(id), salt("b")])
    assert [len(atoms) for atoms in read(path, ":")] == [2, 2]


@pytest.mark.parametrize("id", [*FORMULAS, "mp-1", ""])
def test_tables_of_results_hold_no_formula(id):
    frame = pd.DataFrame(
        {"known": [id, None], "energy": [-1.5, np.nan]}, index=pd.Index([id, "b"], name="id")
    )
    text = escaped_frame(frame).to_csv()
    (_, first, second) = csv.reader(io.StringIO(text, newline=""))
    written = escaped(id).replace("\r", " ") if id else ""
    assert first == [written, written, "-1.5"]
    assert second == ["b", "", ""]
    assert frame.index[0] == id
