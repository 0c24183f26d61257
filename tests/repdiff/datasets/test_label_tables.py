import gzip
import logging

import numpy as np
import pytest

from repdiff.crystals.crystal import Crystal
from repdiff.datasets.label_tables import read_label_table, with_labels
from repdiff.errors import UserError

CSV = "id,gap,kind,note\na,1.5,salt,x\nb,,metal,y\nz,2,salt,\n"


def crystal(name, **labels):
    return Crystal(
        id=name,
        atomic_numbers=np.array([3]),
        lattice=np.eye(3),
        frac_coords=np.zeros((1, 3)),
        labels=labels,
    )


@pytest.fixture(params=["csv", "csv.gz", "parquet"])
def table(request, tmp_path):
    path = tmp_path / f"mine.{request.param}"
    if request.param == "csv":
        path.write_text(CSV, encoding="utf-8-sig")
    elif request.param == "csv.gz":
        path.write_bytes(gzip.compress(CSV.encode()))
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = {"id": ["a", "b", "z"], "gap": [1.5, None, 2.0], "kind": ["salt", "metal", "salt"]}
        pq.write_table(pa.table(columns), path)
    return path


def test_labels_are_joined_by_id_and_what_is_missing_is_counted(table, caplog):
    crystals = [crystal("b", gap=9.0, other=1), crystal("c", gap=7.0), crystal("a")]
    with caplog.at_level(logging.WARNING):
        found = with_labels(crystals, read_label_table(table, ["gap", "kind"]), source="mine")
    assert [one.labels for one in found] == [
        {"gap": None, "kind": "metal", "other": 1},
        {"gap": None, "kind": None},
        {"gap": 1.5, "kind": "salt"},
    ]
    assert "1 of 3 crystals are not in mine, the first: c" in caplog.text
    assert "1 rows of mine name no crystal of the data set, the first: z" in caplog.text


def test_numbers_that_name_crystals_are_texts(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("material_id,gap\n7,1\n08,2\n")
    assert read_label_table(path, ["gap"]) == {"7": {"gap": 1}, "08": {"gap": 2}}


@pytest.mark.parametrize(
    ("text", "names", "message"),
    [
        ("name,gap\na,1\n", ["gap"], "has the columns name, gap, expected one of material_id, id"),
        ("id,gap\na,1\n", ["gpa"], "unknown column 'gpa'.*Did you mean 'gap'"),
        ("id,gap\n", ["gap"], "has no rows"),
        ("id,gap\na,1\na,2\n", ["gap"], "2 rows for 'a'"),
        ("", ["gap"], "expected one of material_id, id"),
        (
            "id,gap\na,1\nb,1.5\nc,n/a\nd,\n",
            ["gap"],
            r"gap of c \(row 3\) is 'n/a', and 2 of 3 values are numbers, expected numbers alone",
        ),
    ],
)
def test_tables_that_do_not_serve_are_refused(text, names, message, tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_label_table(path, names)


def test_classes_may_hold_a_number_among_texts(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,kind\na,salt\nb,metal\nc,12\n")
    assert read_label_table(path, ["kind"])["c"] == {"kind": "12"}


def test_other_files_are_refused(tmp_path):
    (tmp_path / "broken.parquet").write_text("no table")
    (tmp_path / "mine.xlsx").write_text("x")
    for name, message in {
        "broken.parquet": "cannot be read as parquet",
        "mine.xlsx": "expected .csv",
        "none.csv": "no such file",
    }.items():
        with pytest.raises(UserError, match=message):
            read_label_table(tmp_path / name, ["gap"])


def test_a_table_of_other_crystals_is_refused():
    with pytest.raises(
        UserError, match=r"mine has none of the 1 crystals: it names 'a', they are called 'c'"
    ):
        with_labels([crystal("c")], {"a": {"gap": 1.0}}, source="mine")
