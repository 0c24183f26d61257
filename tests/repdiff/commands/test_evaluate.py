import json
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from repdiff.crystals.crystal import Crystal
from repdiff.errors import UserError
from repdiff.metrics import METRICS, Context, CrystalSet
from repdiff.metrics.baselines import compute_baselines
from repdiff.metrics.evaluation import evaluate_crystals
from repdiff.metrics.matching import Matching
from repdiff.runs.atomic_files import read_json


def salt(id, a=4.0, anion=17):
    return Crystal(
        id=id,
        atomic_numbers=np.array([11, anion]),
        lattice=np.eye(3) * a,
        frac_coords=np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    )


KNOWN = [salt("a"), salt("b", anion=9)]
KNOWN_SET = Context(reference=CrystalSet(crystals=KNOWN))
FAST = ["composition", "matching", "validity"]
BROKEN = salt("b").replace(frac_coords=np.full((2, 3), np.nan))


@pytest.fixture
def evaluation():
    generated = CrystalSet(crystals=[KNOWN[0], BROKEN], failed={"c": "no valid lattice"})
    return evaluate_crystals(generated, KNOWN_SET, metrics=FAST)


def test_the_metrics_that_were_asked_for_are_computed(evaluation):
    assert list(evaluation.results) == FAST
    assert evaluation.skipped == {}


def test_all_registered_metrics_are_computed_or_named_with_the_reason():
    evaluation = evaluate_crystals(CrystalSet(crystals=KNOWN), KNOWN_SET)
    assert {*evaluation.results, *evaluation.skipped} == set(METRICS)
    assert all(evaluation.skipped.values())


def test_the_table_shows_value_number_and_protocol_on_one_line(evaluation):
    lines = evaluation.table().splitlines()
    (line,) = [line for line in lines if line.startswith("validity.composition_valid")]
    start, end = ["validity.composition_valid", "66.67", "%"], ["3", "cdvae-smact14"]
    assert (line.split()[:3], line.split()[-2:]) == (start, end)
    assert any(line.startswith("cdvae-smact14: ") and "oxidation_states = smact14" in line for line in lines)
    assert lines[-2] == "1 of 3 could not be made or read, and count as invalid:"
    assert lines[-1].split() == ["c:", "no", "valid", "lattice"]


def test_the_json_holds_every_value_with_its_constants(evaluation):
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    validity = document["metrics"]["validity"]
    assert validity["values"]["structure_valid"] == {
        "value": pytest.approx(1 / 3),
        "interval": [0, 1],
        "n": 3,
        "protocol": "cdvae",
        "unit": "fraction",
    }
    assert validity["protocols"]["cdvae"]["min_distance_angstrom"] == 0.5
    assert (document["n_generated"], document["n_reference"]) == (3, 2)
    assert document["failed"] == {"c": "no valid lattice"}
    assert document["versions"]["smact"]


def test_per_structure_has_a_row_for_each_the_failed_last(evaluation):
    rows = evaluation.per_structure.to_pylist()
    assert [row["id"] for row in rows] == ["a", "b", "c"]
    assert [row["index"] for row in rows] == [0, 1, 2]
    assert [row["formula"] for row in rows] == ["NaCl", "NaCl", None]
    assert [row["failure"] for row in rows] == [None, None, "no valid lattice"]
    assert [row["structure_valid"] for row in rows] == [True, False, False]


def test_results_are_written_and_read_back(evaluation, tmp_path):
    summary, rows = evaluation.write(tmp_path / "scores")
    assert read_json(summary) == evaluation.to_json()
    assert pq.read_table(rows).equals(evaluation.per_structure)


def test_a_folder_that_cannot_be_written_is_a_users_mistake(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the metrics"):
        evaluation.write(tmp_path / "file")


def test_without_a_reference_the_others_are_computed_and_the_rest_is_named():
    evaluation = evaluate_crystals(CrystalSet(crystals=KNOWN))
    assert {"composition", "validity"} <= set(evaluation.results)
    assert "reference" in evaluation.skipped["matching"]
    assert "matching: not computed: needs known crystals" in evaluation.table()


def test_asking_for_a_comparison_without_a_reference_is_a_users_mistake():
    with pytest.raises(UserError, match="'matching' needs known crystals"):
        evaluate_crystals(CrystalSet(crystals=KNOWN), metrics=["matching"])


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'validity'"):
        evaluate_crystals(CrystalSet(crystals=KNOWN), metrics=["validty"])


def test_a_metric_that_does_not_apply_leaves_the_others(tmp_path):
    evaluation = evaluate_crystals(
        CrystalSet(crystals=[salt("a")]),
        Context(reference=CrystalSet(crystals=[salt("a"), salt("a")])),
        metrics=FAST,
    )
    assert "more than once" in evaluation.skipped["matching"]
    assert "validity" in evaluation.results


def test_a_metric_with_settings_of_its_own_is_taken():
    evaluation = evaluate_crystals(CrystalSet(crystals=KNOWN), KNOWN_SET, metrics=[Matching(pairing="any")])
    assert evaluation.results["matching"].values["rediscovered"].value == 1


def test_nothing_to_score_gives_reasons_and_no_numbers():
    evaluation = evaluate_crystals(CrystalSet(crystals=[]), KNOWN_SET)
    assert all(v.value is None for result in evaluation.results.values() for v in result.values.values())
    assert "validity.valid: no value: no structures" in evaluation.table()
    assert evaluation.per_structure.num_rows == 0


def test_baselines_stand_beside_their_values_in_the_table_and_the_json(evaluation):
    family = CrystalSet(crystals=[salt(f"s{i}", a=4 + 0.1 * i) for i in range(6)])
    context = Context(reference=family, training=family)
    with_baselines = replace(
        evaluation, baselines=compute_baselines(context, n=4, metrics=["validity", "uniqueness"], halves=True)
    )
    assert {name: len(baseline.generated) for name, baseline in with_baselines.baselines.items()} == {
        "training": 4,
        "halves": 3,
    }
    values = with_baselines.to_json()["metrics"]["validity"]["values"]["structure_valid"]
    assert values["baseline"]["training"]["value"] == 1
    assert "baseline: halves: 3 real crystals against 3" in with_baselines.table()
    (line,) = [ln for ln in with_baselines.table().splitlines() if ln.startswith("validity.structure_valid")]
    assert line.count("100.00 %") == 2


def test_a_baseline_without_known_crystals_says_what_it_needs():
    with pytest.raises(UserError, match="`reference`"):
        compute_baselines(Context(), n=2)


@pytest.mark.parametrize(("n", "size"), [(2, 2), (3, 3), (100, 3)])
def test_without_training_crystals_some_of_the_reference_are_compared_with_the_rest(n, size):
    known = CrystalSet(crystals=[salt(f"s{i}") for i in range(7)])
    (baseline,) = compute_baselines(Context(reference=known), n=n, metrics=["validity"]).values()
    assert (len(baseline.generated), baseline.n_reference) == (size, 7 - size)


def test_the_table_shows_both_sizes_where_a_value_depends_on_them(evaluation):
    made = evaluate_crystals(CrystalSet(crystals=KNOWN[:1]), KNOWN_SET, metrics=["metre", "validity"])
    lines = {line.split()[0]: line for line in made.table().splitlines() if line}
    assert lines["metre.metre"].split()[-4:] == ["1", "vs", "2", "metre"]
    assert lines["validity.valid"].split()[-2:] == ["1", "cdvae-smact14"]
    assert made.to_json()["metrics"]["metre"]["values"]["metre"]["n_reference"] == 2


def test_the_halves_share_no_crystal_and_lose_none():
    known = CrystalSet(crystals=[salt(f"s{i}") for i in range(7)])
    baselines = compute_baselines(Context(reference=known), n=1, metrics=["validity"], halves=True)
    assert list(baselines) == ["reference", "halves"]
    assert len(baselines["halves"].generated) + baselines["halves"].n_reference == 7
