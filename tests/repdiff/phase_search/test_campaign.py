import json

import pytest
import torch
import toy_force_field
from judged_phases import hull_table, salt

from reconstruction.presets import SEARCHES
from repdiff.energies.hull import Hull
from repdiff.energies.hull_table import find_hull_table
from repdiff.energies.registered import load_force_field
from repdiff.energies.relax import Limits
from repdiff.errors import UserError
from repdiff.phase_search.campaign import Methods, run_campaign
from repdiff.phase_search.candidates import Candidates
from repdiff.phase_search.judge import judge


def methods(force_field="toy", **changes):
    facts = {
        "force_field": force_field,
        "limits": Limits(fmax=0.05, max_steps=200),
        "search": SEARCHES["fast"],
        "seed": 0,
        "device": torch.device("cpu"),
        "n_workers": 1,
    }
    return Methods(**(facts | changes))


def candidates(crystals):
    names = [crystal.id for crystal in crystals]
    return Candidates(names=names, made=crystals, n_asked=len(names), n_drawn=len(names))


@pytest.fixture
def toy():
    return toy_force_field.register()


def test_duplicates_are_left_out_within_a_batch_and_between_batches(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.phase_search.campaign.FIRST", 2)
    monkeypatch.setattr("repdiff.phase_search.campaign.LARGEST", 2)
    chloride = [salt(f"NaCl-{k:03d}", a=5.0 + 0.01 * k) for k in range(3)]
    crystals = [chloride[0], chloride[1], salt("NaF-000", numbers=(11, 9)), chloride[2]]
    outcome = run_campaign(candidates(crystals), methods(), tmp_path)
    assert outcome.duplicates == {"NaCl-001": "NaCl-000", "NaCl-002": "NaCl-000"}
    assert set(outcome.relaxed.relaxations) == {"NaCl-000", "NaF-000"}
    assert not outcome.not_tried


def test_finished_batches_are_not_computed_again(toy, tmp_path, monkeypatch):
    monkeypatch.setattr("repdiff.phase_search.campaign.FIRST", 1)
    monkeypatch.setattr("repdiff.phase_search.campaign.LARGEST", 1)
    crystals = [salt("NaCl-000"), salt("NaF-000", numbers=(11, 9)), salt("LiCl-000", numbers=(3, 17))]
    whole = run_campaign(candidates(crystals), methods(), tmp_path / "whole").relaxed.relaxations
    toy.n_evaluations, toy.stop_after = 0, whole["NaCl-000"].n_steps + 3
    with pytest.raises(KeyboardInterrupt):
        run_campaign(candidates(crystals), methods(), tmp_path / "cut")
    done = list((tmp_path / "cut" / "batches").glob("*/record.json"))
    assert len(done) == 1
    toy.n_evaluations, toy.stop_after = 0, None
    outcome = run_campaign(candidates(crystals), methods(), tmp_path / "cut")
    assert {name: end.energy for name, end in outcome.relaxed.relaxations.items()} == {
        name: end.energy for name, end in whole.items()
    }
    assert toy.n_evaluations == sum(whole[one.id].n_steps + 1 for one in crystals[1:])
    with pytest.raises(UserError, match="holds other candidates than KCl-000"):
        run_campaign(candidates([salt("KCl-000"), *crystals[1:]]), methods(), tmp_path / "cut")


def test_what_the_force_field_does_not_know_is_named(toy, tmp_path):
    outcome = run_campaign(
        candidates([salt("KCl-000", numbers=(19, 17)), salt("NaCl-000")]), methods(), tmp_path
    )
    assert outcome.relaxed.failed == {"KCl-000": "unknown to the force field: K"}
    record = json.loads((tmp_path / "batches" / "000" / "record.json").read_text())
    assert record["failed"][0]["id"] == "KCl-000"
    found = judge(outcome, candidates([salt("NaCl-000")]), (11, 17), hull=Hull(hull_table()), known=None)
    assert [row.id for row in found.rows] == ["NaCl-000"]


@pytest.mark.slow
def test_chgnet_finds_rock_salt_on_the_shipped_hull(tmp_path):
    stretched = [salt("NaCl-000", a=5.4), salt("NaCl-001", a=3.6).replace(lattice=torch.eye(3).numpy() * 3.6)]
    outcome = run_campaign(candidates(stretched), methods("chgnet"), tmp_path)
    hull = Hull(find_hull_table(load_force_field("chgnet").identity))
    found = judge(outcome, candidates(stretched), (11, 17), hull=hull, known=None)
    assert found.rows[0].id == "NaCl-000"
    assert found.rows[0].space_group_symbol == "Fm-3m"
    assert abs(found.rows[0].e_above_hull) < 0.01
    assert found.rows[1].e_above_hull > 0.03
    assert found.rows[0].formation_energy == pytest.approx(
        -2.1, abs=0.15
    )  # measured: -411 kJ/mol, -2.13 eV/atom


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"seconds": 1'])
@pytest.mark.parametrize("name", ["record.json", "members.json", "relaxed.parquet"])
def test_a_damaged_batch_is_said_and_computed_again(name, text, toy, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("repdiff.phase_search.campaign.FIRST", 1)
    monkeypatch.setattr("repdiff.phase_search.campaign.LARGEST", 1)
    crystals = [salt("NaCl-000"), salt("NaF-000", numbers=(11, 9))]
    whole = run_campaign(candidates(crystals), methods(), tmp_path).relaxed.relaxations
    (tmp_path / "batches" / "001" / name).write_text(text)
    again = run_campaign(candidates(crystals), methods(), tmp_path).relaxed.relaxations
    assert {key: end.energy for key, end in again.items()} == {key: end.energy for key, end in whole.items()}
    assert "computing what it held again" in caplog.text
    assert not list(tmp_path.rglob("parts"))
