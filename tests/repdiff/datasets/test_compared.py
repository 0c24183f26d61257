"""Which sets crystals are compared with where nobody names them: the same on the command line and in Python."""

import json

import pytest
import toy_force_field
from sample_crystals import cubic_perovskite

import repdiff as rd
from repdiff.cli.main import main
from repdiff.crystals.structure_files import read_structures, write_file, write_structures
from repdiff.datasets.compared import choose_compared, read_together
from repdiff.datasets.sources import CrystalSets, each_name
from repdiff.energies.relaxed_files import read_relaxed
from repdiff.runs.workspace import Workspace

MADE = [
    cubic_perovskite("CaTiO3", a_site=20, a=3.85),
    cubic_perovskite("BaTiO3", a_site=56, a=4.0),
    cubic_perovskite("SrTiO3"),
]


@pytest.fixture
def sets(tmp_path):
    """A data set of two crystals, one of them for testing, and another data set of one."""
    import pandas as pd

    known = write_file(tmp_path / "known.csv", MADE[1:])
    pd.read_csv(known).assign(split=["train", "test"]).to_csv(known, index=False)
    write_file(tmp_path / "other, of mine.csv", MADE[:1])
    return CrystalSets(data_dir=None, workspace=Workspace(root=tmp_path / "w"))


def chosen(sets, **given):
    given = {
        "reference": None,
        "training": None,
        "novelty": None,
        "benchmark": None,
        "stability": True,
    } | given
    return choose_compared(sets, **given)


@pytest.mark.parametrize(
    ("given", "training", "novelty", "benchmark"),
    [
        ({}, None, (), None),
        ({"reference": "{known}:test"}, "{known}:train", ("{known}",), None),
        ({"reference": "{known}:test", "stability": False}, "{known}:train", (), None),
        ({"reference": "{known}:test", "training": "{other}"}, "{other}", ("{other}", "{known}"), None),
        ({"training": "{known}:train"}, "{known}:train", ("{known}",), None),
        (
            {"training": "{other}", "novelty": "{other}, {known}:test"},
            "{other}",
            ("{other}", "{known}:test"),
            None,
        ),
        ({"reference": "perov_5", "benchmark": "mp_20"}, None, ("perov_5",), "mp_20"),
        ({"reference": "perov_5", "stability": False}, None, (), "perov_5"),
    ],
)
def test_what_is_not_named_follows_from_what_is(given, training, novelty, benchmark, sets, tmp_path):
    def named(text):
        files = {"known": tmp_path / "known.csv", "other": tmp_path / "other, of mine.csv"}
        return text.format(**files) if isinstance(text, str) else text

    found = chosen(sets, **{name: named(value) for name, value in given.items()})
    assert found.training == named(training)
    assert found.novelty == tuple(map(named, novelty))
    assert (found.benchmark, found.thresholds) == (benchmark, benchmark or "mp_20")


def test_crystals_in_hand_are_known_beside_a_data_set_that_is_named(sets, tmp_path):
    mine = rd.CrystalSet(crystals=MADE[:1], name="mine", refused={"no cell": 1})
    found = chosen(sets, training=mine, reference=f"{tmp_path / 'known.csv'}:test")
    together = read_together(found.novelty, sets)
    assert together.name == f"mine, {tmp_path / 'known.csv'}"
    assert (len(together.crystals), together.n_unread) == (3, 1)


def test_names_are_taken_apart_at_commas_but_not_within_a_path(sets, tmp_path):
    paths = [str(tmp_path / "other, of mine.csv"), f"{tmp_path / 'known.csv'}:test"]
    assert each_name(", ".join(paths)) == paths
    assert each_name("mp_20:train, nowhere.csv") == ["mp_20:train", "nowhere.csv"]


@pytest.mark.parametrize(
    "flags",
    [
        ("--reference", "known.csv:test"),
        ("--training", "other, of mine.csv", "--reference", "known.csv:test"),
        ("--training", "known.csv:train"),
        ("--reference", "known.csv:test", "--novelty", "known.csv:train"),
    ],
)
def test_the_command_line_and_python_compare_with_the_same_sets(flags, sets, tmp_path, monkeypatch, capsys):
    toy_force_field.register()
    monkeypatch.chdir(tmp_path)
    write_structures(tmp_path / "made", MADE)
    told = ("--n-workers", "1", "--workspace", str(tmp_path / "w"))
    assert main(["relax", "made", "--force-field", "toy", *told]) == 0
    asked = ("--relaxed", "made-toy", "--only", "stability,uniqueness", "--no-baseline")
    assert main(["evaluate", "made", *asked, *flags, *told]) == 0
    capsys.readouterr()
    (file,) = (tmp_path / "w" / "evaluate").glob("*/metrics.json")
    by_command = json.loads(file.read_text())
    named = {flags[k].removeprefix("--"): flags[k + 1] for k in range(0, len(flags), 2)}
    by_python = rd.evaluate(
        rd.CrystalSet(crystals=read_structures(tmp_path / "made")),
        relaxed=read_relaxed(tmp_path / "w" / "relax" / "made-toy"),
        metrics=["stability", "uniqueness"],
        baseline=False,
        progress=False,
        **named,
    )
    assert by_python.to_json()["compared"] == by_command["compared"]
    assert by_python.to_json()["metrics"] == by_command["metrics"]
    table = file.with_name("table.txt").read_text()
    assert all(
        f"{role}: {one['name']}, {one['n']} crystals" in table for role, one in by_command["compared"].items()
    )
