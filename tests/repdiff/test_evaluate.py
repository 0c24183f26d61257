import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from repdiff.datasets.crystal import Crystal
from repdiff.errors import UserError
from repdiff.evaluate import evaluate_crystals
from repdiff.metrics.matching import Matching


def salt(id, a=4.0, anion=17):
    return Crystal(
        id=id,
        atomic_numbers=np.array([11, anion]),
        lattice=np.eye(3) * a,
        frac_coords=np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]),
    )


KNOWN = [salt("a"), salt("b", anion=9)]
BROKEN = salt("b").replace(frac_coords=np.full((2, 3), np.nan))


@pytest.fixture
def evaluation():
    return evaluate_crystals([KNOWN[0], BROKEN], KNOWN, failed={"c": "no valid lattice"}, progress=False)


def test_all_registered_metrics_are_computed(evaluation):
    assert list(evaluation.results) == ["composition", "matching", "validity"]
    assert evaluation.skipped == {}


def test_the_table_shows_value_number_and_protocol_on_one_line(evaluation):
    lines = evaluation.table().splitlines()
    (line,) = [line for line in lines if line.startswith("validity.composition_valid")]
    assert line.split() == ["validity.composition_valid", "66.67", "%", "3", "cdvae-smact14"]
    assert any(line.startswith("cdvae-smact14: ") and "oxidation_states = smact14" in line for line in lines)
    assert lines[-1] == "1 of 3 were not reconstructed"


def test_the_json_holds_every_value_with_its_constants(evaluation):
    document = json.loads(json.dumps(evaluation.to_json(), allow_nan=False))
    validity = document["metrics"]["validity"]
    assert validity["values"]["structure_valid"] == {
        "value": pytest.approx(1 / 3),
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
    assert json.loads(summary.read_text(encoding="utf-8")) == evaluation.to_json()
    assert pq.read_table(rows).equals(evaluation.per_structure)


def test_a_folder_that_cannot_be_written_is_a_users_mistake(evaluation, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write the metrics"):
        evaluation.write(tmp_path / "file")


def test_without_a_reference_the_others_are_computed_and_the_rest_is_named():
    evaluation = evaluate_crystals(KNOWN, progress=False)
    assert list(evaluation.results) == ["composition", "validity"]
    assert "reference" in evaluation.skipped["matching"]
    assert "matching: not computed: needs known crystals" in evaluation.table()


def test_asking_for_a_comparison_without_a_reference_is_a_users_mistake():
    with pytest.raises(UserError, match="'matching' needs known crystals"):
        evaluate_crystals(KNOWN, metrics=["matching"], progress=False)


def test_an_unknown_metric_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="Did you mean 'validity'"):
        evaluate_crystals(KNOWN, metrics=["validty"], progress=False)


def test_a_metric_that_does_not_apply_leaves_the_others(tmp_path):
    evaluation = evaluate_crystals([salt("a")], [salt("a"), salt("a")], progress=False)
    assert "more than once" in evaluation.skipped["matching"]
    assert "validity" in evaluation.results


def test_a_metric_with_settings_of_its_own_is_taken():
    evaluation = evaluate_crystals(KNOWN, KNOWN, metrics=[Matching(pairing="any")], progress=False)
    assert evaluation.results["matching"].values["rediscovered"].value == 1


def test_nothing_to_score_gives_reasons_and_no_numbers():
    evaluation = evaluate_crystals([], KNOWN, progress=False)
    assert all(v.value is None for result in evaluation.results.values() for v in result.values.values())
    assert "no structures" in evaluation.table()
    assert evaluation.per_structure.num_rows == 0
