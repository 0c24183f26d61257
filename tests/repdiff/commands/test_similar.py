"""`repdiff similar`: a data set searched for what is like given crystals."""

import known_crystals
import pandas as pd
import pytest

import repdiff as rd
from repdiff.crystals.structure_files import write_file
from repdiff.representations.described_sets import DescribedCrystals
from repdiff.runs.manifest import read_manifest
from repdiff.testing.example_crystals import crystal, family, rock_salt


@pytest.fixture
def queries(tmp_path):
    """A salt of the family as a supercell, and another crystal."""
    salt = known_crystals.family()[3]
    salt.make_supercell([2, 1, 1])
    wide = rd.CrystalSet.of([salt]).crystals[0].replace(id="wide")
    return write_file(tmp_path / "queries.json.gz", [wide, rock_salt("RbCl", 37, 17, 6.6)])


def test_the_table_names_the_nearest_crystals_with_formula_space_group_and_distance(
    run, queries, tiny_file, capsys
):
    code, path, said = run("similar", str(queries), "--among", str(tiny_file), "--n", "3")
    assert code == 0, said
    table = pd.read_csv(path / "similar.csv")
    assert list(table) == [
        "query", "rank", "id", "formula", "space_group", "distance", "of_descriptor", "of_composition"
    ]  # fmt: skip
    assert table["rank"].tolist() == [1, 2, 3] * 2
    first = table.iloc[0]
    assert (first["query"], first["formula"], first["space_group"]) == ("wide", "NaI", "Fm-3m (225)")
    assert first["distance"] < 1e-4
    assert table.groupby("query")["distance"].apply(lambda one: one.is_monotonic_increasing).all()
    summary = (path / "summary.txt").read_text()
    assert "distance: that of the descriptors" in summary
    assert read_manifest(path).summary["n_queries"] == 2


def test_vectors_that_encode_left_are_taken_and_others_are_computed(run, queries, tiny_file, monkeypatch):
    sizes = []
    plain = DescribedCrystals.of.__func__

    def counted(cls, crystals, *args, **kwargs):
        sizes.append(len(crystals))
        return plain(cls, crystals, *args, **kwargs)

    monkeypatch.setattr(DescribedCrystals, "of", classmethod(counted))
    code, path, said = run("similar", str(queries), "--among", str(tiny_file))
    assert (code, sizes) == (0, [2]), said
    assert "using the vectors of" in said
    code, other, said = run("similar", str(queries), "--among", str(tiny_file), "--descriptor", "soap")
    assert (code, sizes) == (0, [2, 2, 41]), said
    code, _, said = run("similar", str(queries), "--among", "tiny-ead:train")
    assert (code, sizes) == (0, [2, 2, 41, 2]), said
    assert path != other


def test_a_file_that_has_changed_since_is_read_again(run, queries, tmp_path, workspace):
    known = write_file(tmp_path / "known.extxyz", family())
    assert run("encode", str(known), "--symprec", "none")[0] == 0
    _, path, said = run("similar", str(queries), "--among", str(known))
    assert "using the vectors of" in said
    write_file(known, family()[:5])
    code, path, said = run("similar", str(queries), "--among", str(known), "--name", "again", "--n", "20")
    assert code == 0, said
    assert "using the vectors of" not in said
    assert len(pd.read_csv(path / "similar.csv")) == 10
    assert len(list((workspace / "descriptors").glob("*.safetensors"))) == 1


def test_the_splits_of_a_set_are_searched_apart(run, queries, tiny_file):
    found = {}
    for split in ("train", "test"):
        code, path, said = run("similar", str(queries), "--among", f"{tiny_file}:{split}", "--n", "50")
        assert code == 0, said
        found[split] = set(pd.read_csv(path / "similar.csv")["id"])
    assert found["train"]
    assert found["test"]
    assert not found["train"] & found["test"]


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["{queries}"], "--among is missing: name the crystals to search"),
        (["{queries}", "--among", "mp_21"], "mp_21"),
        (["{queries}", "--among", "{tiny}", "--n", "0"], "--n is 0, expected at least 1"),
        (["{queries}", "--among", "{tiny}", "--descriptor", "eda"], "unknown descriptor 'eda'"),
        (
            ["{queries}", "--among", "tiny-ead", "--descriptor", "soap"],
            "is encoded with the descriptor ead, expected soap: name the data set itself, or leave --descriptor out",
        ),
        (["{queries}", "--among", "tiny-ead:trian"], "tiny-ead:trian"),
        (["nothing.cif", "--among", "{tiny}"], "nothing.cif: no such path"),
    ],
)
def test_mistakes_are_told_in_one_line(argv, told, run, queries, tiny_file):
    words = [word.format(queries=queries, tiny=tiny_file) for word in argv]
    code, _, said = run("similar", *words)
    assert code == 2
    assert told in said.splitlines()[-1]
    assert "Traceback" not in said


def test_what_cannot_be_encoded_is_named_and_a_set_without_any_other_refused(run, tmp_path, tiny_file):
    bad = crystal("bad", [11, 11], [[4, 0, 0], [0, 4, 0], [0, 0, 4]], [[0, 0, 0], [0, 0, 0.001]])
    file = write_file(tmp_path / "some.parquet", [bad, rock_salt()])
    code, path, said = run("similar", str(file), "--among", str(tiny_file))
    assert code == 0, said
    assert "1 of 2 crystals left out; the first: overlapping atoms" in said
    assert "overlapping atoms" in (path / "failed.jsonl").read_text()
    file = write_file(tmp_path / "none.parquet", [bad])
    code, _, said = run("similar", str(file), "--among", str(tiny_file))
    assert code == 2
    assert "no crystal can be encoded, expected one or more; overlapping atoms" in said


def test_python_finds_what_the_command_line_finds(run, queries, tiny_file):
    _, path, _ = run("similar", str(queries), "--among", str(tiny_file), "--n", "4")
    table = pd.read_csv(path / "similar.csv")
    encoded = rd.encode(rd.load_dataset(str(tiny_file)), device="cpu", progress=False)
    for among in (str(tiny_file), encoded, rd.load_dataset(str(tiny_file))):
        found = rd.similar(rd.read(queries), among, n=4, device="cpu", progress=False)
        frame = found.to_frame()
        assert frame["id"].tolist() == table["id"].tolist()
        assert frame["distance"].tolist() == pytest.approx(table["distance"].tolist(), abs=1e-4)
    assert "2 crystals" in repr(found)
    assert "Fm-3m" in found._repr_html_()
    with pytest.raises(rd.UserError, match=r"^among is encoded with the descriptor ead, expected soap"):
        rd.similar(rd.read(queries), encoded, descriptor="soap")
    with pytest.raises(rd.UserError, match=r"^among holds nothing, expected at least one crystal"):
        rd.similar(rd.read(queries), [])
    with pytest.raises(rd.UserError, match=r"^n is 0, expected"):
        rd.similar(rd.read(queries), encoded, n=0)
