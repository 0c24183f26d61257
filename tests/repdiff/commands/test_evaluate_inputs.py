"""What people hand to `repdiff evaluate`: files of peers, parts of data sets, and things that are no crystals."""

import json
import zipfile

import numpy as np
import pytest

from repdiff.cli.main import main
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.structure_files import read_structures
from repdiff.datasets.sources import choose
from repdiff.metrics import CrystalSet

BOX = "3\nProperties=species:S:1:pos:R:3\nO 0 0 0\nH 0 0 1\nH 0 1 0\n"
OVERLAPPING = (
    '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 0\nCl 0 0 0.05\n'
)
DISORDERED = """data_x
_cell_length_a 4
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Fe1 Fe 0 0 0 0.5
Ni1 Ni 0 0 0 0.5
"""


def salt(id):
    return Crystal(
        id=id,
        atomic_numbers=np.array([11, 17]),
        lattice=np.eye(3) * 4,
        frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    )


@pytest.fixture
def judge(tmp_path):
    """Evaluate the validity of something: returns exit code and, on success, the document of metrics."""

    def call(*argv):
        code = main(["evaluate", *argv, "--n-workers", "1", "--workspace", str(tmp_path / "judged")])
        runs = list((tmp_path / "judged" / "evaluate").glob("*/metrics.json"))
        return code, json.loads(runs[0].read_text()) if runs else None

    return call


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["prototypes:tset"],
            "prototypes:tset: unknown split 'tset'; known: train, val, test. Did you mean 'test'?",
        ),
        (["prototypes", "--reference", "mp_20:foo"], "mp_20:foo: unknown split 'foo'"),
        (
            ["prototypes:val", "--only", ""],
            "no metric is named, expected some of composition, conditions, coverage",
        ),
    ],
)
def test_a_split_or_metric_that_is_none_is_refused_with_what_there_is(judge, words, message, capsys):
    assert judge(*words)[0] == 2
    assert message in capsys.readouterr().err


@pytest.fixture
def made(tiny_workspace):
    (folder,) = (tiny_workspace / "reconstruct").glob("[!.]*")
    return folder


def shares(document):
    return {name: value["value"] for name, value in document["metrics"]["validity"]["values"].items()}


@pytest.mark.parametrize(
    "file", ["structures.extxyz", "cif.zip", "structures.json.gz", "structures.csv", "table.parquet", "cifs"]
)
def test_every_format_of_the_same_crystals_scores_alike(file, made, judge, tmp_path):
    if file == "cifs":
        zipfile.ZipFile(made / "cif.zip").extractall(tmp_path / "cifs")
    code, document = judge(str(tmp_path / "cifs" if file == "cifs" else made / file), "--only", "validity")
    assert code == 0
    n = len(read_structures(made))
    assert {value["n"] for value in document["metrics"]["validity"]["values"].values()} == {n}


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("box.extxyz", BOX, "pbc"),
        ("disordered.cif", DISORDERED, "occup"),
        ("garbage.csv", 'cif\n"garbage"\n"data_x"\n', ""),
    ],
)
def test_what_is_no_crystal_counts_as_invalid_and_is_named(name, text, reason, judge, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    code, document = judge(str(tmp_path / name), "--only", "validity")
    assert code == 0
    assert set(shares(document).values()) == {0}
    assert document["failed"]
    assert all(reason in why for why in document["failed"].values())
    assert "could not be made or read" in capsys.readouterr().out


def test_a_crystal_that_can_be_read_is_judged_however_bad_it_is(judge, tmp_path):
    (tmp_path / "near.extxyz").write_text(OVERLAPPING)
    code, document = judge(str(tmp_path / "near.extxyz"), "--only", "validity")
    assert (code, document["failed"]) == (0, {})
    assert shares(document) == {"structure_valid": 0, "composition_valid": 1, "valid": 0}


@pytest.mark.parametrize(("name", "text"), [("none.csv", "cif\n"), ("none.json", "[]")])
def test_an_empty_file_is_a_mistake_in_one_line(name, text, judge, tmp_path, capsys):
    (tmp_path / name).write_text(text)
    assert judge(str(tmp_path / name))[0] == 2
    assert name in capsys.readouterr().err


def test_a_part_of_a_data_set_is_scored_against_another_with_baselines(tiny_file, judge, capsys):
    code, document = judge(
        f"{tiny_file}:val",
        *("--reference", f"{tiny_file}:test", "--baseline-halves", "--only", "validity,uniqueness"),
    )
    assert code == 0
    assert document["n_training"] > document["n_reference"]
    valid = document["metrics"]["validity"]["values"]["structure_valid"]
    assert {name: baseline["value"] for name, baseline in valid["baseline"].items()} == {
        "training": 1,
        "halves": 1,
    }
    assert document["metrics"]["uniqueness"]["values"]["novel"]["value"] is not None
    assert "baseline: training" in capsys.readouterr().out


def test_as_many_real_crystals_stand_beside_the_values_unless_they_are_switched_off(tiny_file, judge):
    asked = (f"{tiny_file}:val", "--reference", f"{tiny_file}:test", "--only", "validity,metre")
    _, document = judge(*asked, "--n", "3")
    assert {name: baseline["n_generated"] for name, baseline in document["baselines"].items()} == {
        "training": 3
    }
    metre = document["metrics"]["metre"]["values"]["metre"]
    assert (metre["n_generated"], metre["baseline"]["training"]["n_generated"]) == (3, 3)
    assert metre["n_reference"] == metre["baseline"]["training"]["n_reference"] == document["n_reference"]
    _, document = judge(*asked, "--no-baseline", "--overwrite")
    assert document["baselines"] == {}
    _, document = judge(str(tiny_file), "--only", "validity")
    assert document["baselines"] == {}


def test_a_metric_whose_package_is_absent_is_named_and_the_others_are_computed(
    tiny_file, judge, monkeypatch, capsys
):
    import sys

    monkeypatch.setitem(sys.modules, "chgnet", None)
    monkeypatch.setitem(sys.modules, "chgnet.model", None)
    from repdiff.metrics.features import extract

    extract.load_extractor.cache_clear()
    code, document = judge(
        f"{tiny_file}:val", "--reference", f"{tiny_file}:test", "--only", "validity,frechet"
    )
    extract.load_extractor.cache_clear()
    assert code == 0
    assert "pip install" in document["skipped"]["frechet"]
    assert "validity" in document["metrics"]
    assert "frechet: not computed" in capsys.readouterr().out


def test_a_random_part_holds_its_share_of_what_failed():
    crystals = [salt(f"made {number}") for number in range(30)]
    given = CrystalSet(crystals=crystals, failed={f"failed {number}": "why" for number in range(30)})
    part = choose(given, 40, seed=1)
    assert len(part) == 40
    assert 10 < len(part.failed) < 30
    assert choose(given, 40, seed=1).ids == part.ids
    assert choose(given, None, seed=1) is given


def block(name, element, *, occupancy=1.0, edge=4.1):
    text = DISORDERED.replace("data_x", f"data_{name}").replace("_cell_length_a 4", f"_cell_length_a {edge}")
    head = text.split("Fe1")[0]
    return f"{head}Cs1 Cs 0 0 0 {occupancy}\n{element}1 {element} 0.5 0.5 0.5 1\n"


def test_refused_blocks_of_one_file_count_one_by_one(tmp_path, judge):
    blocks = [block("good", "Cl"), *(block(f"bad{n}", "Cl", occupancy=0.3) for n in range(3))]
    (tmp_path / "g.cif").write_text("".join(blocks))
    code, document = judge(str(tmp_path / "g.cif"), "--only", "validity")
    assert code == 0
    assert document["n_generated"] == 4
    assert sorted(document["failed"]) == ["g#2", "g#3", "g#4"]
    assert document["metrics"]["validity"]["values"]["valid"]["value"] == 0.25


def test_novelty_is_not_claimed_over_training_rows_that_were_refused(tmp_path, judge, capsys):
    (tmp_path / "g.cif").write_text(block("g", "Br", edge=4.3))
    training = block("t", "Cl") + "".join(block(f"t{n}", "Br", occupancy=0.9, edge=4.3) for n in range(2))
    (tmp_path / "t.cif").write_text(training)
    code, document = judge(
        str(tmp_path / "g.cif"), "--training", str(tmp_path / "t.cif"), "--only", "uniqueness"
    )
    assert code == 0
    assert document["refused"] == {"training": {"partial occupancy: a site holds Cs 0.9": 2}}
    novel = document["metrics"]["uniqueness"]["values"]["novel"]
    assert novel["value"] == 1
    assert "not claimed over all training crystals: 2 rows of its source were refused" in novel["reason"]
    assert "note: training: 2 rows of its source were refused" in capsys.readouterr().out


def test_what_was_left_out_on_reading_stands_in_the_table(tmp_path, judge, capsys):
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.cif").write_text(block("g", "D"))
    (tmp_path / "d" / "notes.txt").write_text("words")
    code, document = judge(str(tmp_path / "d"), "--only", "validity")
    assert code == 0
    assert any("deuterium" in note for note in document["notes"])
    assert any("1 files not read: notes.txt" in note for note in document["notes"])
    assert "notes.txt" in capsys.readouterr().out


def test_a_path_that_begins_with_the_home_folder_is_found(tmp_path, judge, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "g.cif").write_text(block("g", "Cl"))
    assert judge("~/g.cif", "--only", "validity", "--training=~/g.cif")[0] == 0
