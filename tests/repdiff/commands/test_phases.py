import json
import zipfile

import pandas as pd
import pytest
import toy_force_field
from judged_phases import ENERGIES, hull_table

import repdiff as rd
from repdiff.energies.hull_table import write_hull_table
from repdiff.energies.relaxed_files import read_relaxed
from repdiff.errors import UserError
from repdiff.runs.manifest import read_manifest

pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture(autouse=True)
def toy():
    return toy_force_field.register()


@pytest.fixture
def hull(tmp_path):
    file = tmp_path / "toy-hull.parquet"
    write_hull_table(file, hull_table())
    return file


@pytest.fixture
def phases(run, hull):
    def call(*words):
        own = [
            "--force-field",
            "toy",
            "--hull",
            str(hull),
            "--n-workers",
            "1",
            "--device",
            "cpu",
            "--steps",
            "2",
        ]
        return run("phases", *words, *own)

    return call


def test_a_system_ends_in_a_table_crystals_and_a_page(phases):
    code, folder, told = phases("Na-Cl", "--n", "6", "--scope", "compounds")
    assert code == 0, told
    table = pd.read_csv(folder / "phases.csv", index_col="id")
    funnel = json.loads((folder / "funnel.json").read_text())["funnel"]
    assert funnel["asked"] == 6
    assert 0 < funnel["relaxed"] <= funnel["distinct crystals"] <= funnel["built"] <= funnel["distinct"] <= 6
    assert len(table) == funnel["distinct crystals"] + funnel["tried"] - funnel["built"]
    assert set(table["formula"]) <= {"NaCl", "NaCl2", "Na2Cl", "NaCl3", "Na3Cl", "NaCl4", "Na4Cl"}
    relaxed = read_relaxed(folder)
    heights = table["e_above_hull"].dropna()
    assert list(heights) == sorted(heights)
    for name, row in table.iterrows():
        if row["formula"] == "NaCl":
            energy = relaxed.relaxations[name].energy
            assert row["e_above_hull"] == pytest.approx(energy - ENERGIES["NaCl"], abs=1e-5)
            assert row["protostructure"].endswith(":Cl-Na")
            assert row["status"] in ("new", "known")
    with zipfile.ZipFile(folder / "cif.zip") as cifs:
        assert len(cifs.namelist()) == funnel["relaxed"]
    page = (folder / "phases.html").read_text(encoding="utf-8")
    assert "Phases of Na-Cl" in page
    assert 'data-figure="hull"' in page
    summary = read_manifest(folder).summary
    assert summary["funnel"] == funnel
    assert f"relaxed {funnel['relaxed']}" in told


def test_known_crystals_of_the_training_data_are_recognised(phases):
    _, folder, _ = phases("Na-Cl", "--formulas", "NaCl", "--n", "4")
    table = pd.read_csv(folder / "phases.csv", index_col="id")
    assert table["known_as"].notna().any()  # rock salt or caesium chloride, of which the data set has both


def test_a_killed_search_goes_on_and_ends_with_the_same_table(phases, run, toy, workspace):
    words = ("Na-Cl-F", "--n", "8", "--scope", "compounds", "--seed", "3")
    _, whole, _ = phases(*words, "--name", "whole")
    toy.n_evaluations, toy.stop_after = 0, 3
    code, folder, _ = phases(*words, "--name", "cut")
    assert code == 130
    assert (workspace / "phases" / "cut" / "batches" / "000" / "members.json").is_file()
    toy.n_evaluations, toy.stop_after = 0, None
    code, folder, told = phases(*words, "--name", "cut")
    assert code == 0
    assert "resuming" in told
    assert (folder / "phases.csv").read_text() == (whole / "phases.csv").read_text()
    code, _, told = phases(*words, "--name", "cut")
    assert code == 0
    assert "nothing to do" in told


def test_what_the_time_does_not_suffice_for_is_counted_and_done_when_there_is_more(phases, monkeypatch):
    monkeypatch.setattr("repdiff.phase_search.campaign.FIRST", 1)
    words = ("Na-Cl", "--n", "6", "--scope", "compounds")
    code, folder, told = phases(*words, "--max-minutes", "1e-6")
    assert code == 0
    first = json.loads((folder / "funnel.json").read_text())
    assert first["funnel"]["tried"] == 1
    n_left = first["funnel"]["distinct"] - 1
    assert f"{n_left} of {n_left + 1} candidates were not tried" in told
    assert f"{n_left} candidates were not tried within the time of `max_minutes`." in first["notes"]
    table = pd.read_csv(folder / "phases.csv", index_col="id")
    assert table["reason"].str.startswith("not tried").sum() == n_left
    code, folder, told = phases(*words, "--max-minutes", "100")
    assert code == 0
    second = json.loads((folder / "funnel.json").read_text())
    assert second["funnel"]["tried"] == second["funnel"]["distinct"] == n_left + 1


def test_a_crystal_that_takes_too_long_is_counted_by_name(phases):
    code, folder, _ = phases(
        "Na-Cl", "--formulas", "NaCl", "--n", "2", "--max-seconds", "1e-9", "--fmax", "1e-9"
    )
    assert code == 0
    table = pd.read_csv(folder / "phases.csv", index_col="id")
    made = table[table["n_atoms"].notna()]
    assert set(made["stopped"]) == {"max_seconds"}
    assert read_manifest(folder).summary["n_out_of_time"] == len(made)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([""], "SYSTEM is empty"),
        (["Na-Xx"], "'Xx' is none"),
        (["na-cl"], "Did you mean 'Na'"),
        (["Na-Si-Cl"], "the training data have no Si"),
        (["K-Cl"], "the force field toy does not know K"),
        (["Na-F-O"], "by hand has no crystal of O alone, expected all elements of F-Na-O"),
        (["Na-Cl-F-Br", "--force-field", "chgnet"], "4 elements are more than the 3 of any training crystal"),
        (["Na-Cl", "--formulas", "NaF"], "NaF of --formulas has F"),
        (["Na-Cl", "--formulas", "NaCl9"], "NaCl9 of --formulas cannot be made"),
        (["Na-Cl", "--formulas", "NaCl,Na2Cl", "--n", "1"], "--n is 1, expected at least 2"),
        (["Na-Cl", "--max-atoms", "1"], "--max-atoms is 1, expected at least 2"),
        (["Na-Cl", "--formula-units", "x"], "--formula-units is 'x'"),
        (
            ["Na-Cl", "--formula-units", "4-1"],
            "--formula-units is '4-1', expected the smaller number first: 1-4",
        ),
        (["Na-Cl", "--sampling-options", "smapler=ddim"], "smapler"),
        (["Na-Cl", "--known", "no_such_set"], "no_such_set"),
        (["Na-Cl", "--model", "no_such_model"], "no_such_model"),
    ],
)
def test_what_cannot_be_asked_for_is_refused_in_one_line(phases, words, told):
    code, _, said = phases(*words)
    assert code == 2, said
    lines = [line for line in said.strip().splitlines() if line]
    assert told in lines[-1]


def test_a_model_without_protostructures_is_refused_in_one_line(phases, run, workspace):
    assert run("train", "--backend", "retrieval", "--name", "swaps")[0] == 0
    code, _, told = phases("Na-Cl", "--model", "swaps")
    assert (code, told.strip().count("\n")) == (2, 0)
    assert "swaps cannot be asked for phases: it was not trained with protostructures" in told
    joint = ["--compositions", "joint", "--max-steps", "1", "--denoiser-options", "width=16,n_blocks=1"]
    assert run("train", *joint, "--name", "joint")[0] == 0
    code, _, told = phases("Na-Cl", "--model", "joint")
    assert code == 2
    assert "it was not trained with protostructures" in told


def test_python_finds_the_same_phases_and_keeps_them_in_a_folder(workspace, hull, tmp_path, phases):
    _, folder, _ = phases("Na-Cl", "--formulas", "NaCl", "--n", "3")
    model = next((workspace / "train").glob("[!.]*"))
    how = {"formulas": "NaCl", "n": 3, "force_field": "toy", "hull": hull, "steps": 2, "device": "cpu"}
    found = rd.phases("Na-Cl", model, folder=tmp_path / "out", progress=False, **how)
    table = pd.read_csv(folder / "phases.csv", index_col="id")
    assert list(found.to_frame().index) == list(table.index)
    assert list(found.to_frame()["e_above_hull"].dropna()) == pytest.approx(
        list(table["e_above_hull"].dropna())
    )
    assert (tmp_path / "out" / "phases.html").is_file()
    assert found.hull.dim == 2
    assert "NaCl" in found._repr_html_()
    assert found.crystals[0].labels["e_above_hull"] == found.rows[0].e_above_hull
    assert repr(rd.phases("Na-Cl", model, folder=tmp_path / "out", progress=False, **how)) == repr(found)
    with pytest.raises(UserError, match="search for phases in which `n` was 3, now 2"):
        rd.phases("Na-Cl", model, folder=tmp_path / "out", progress=False, **(how | {"n": 2}))
