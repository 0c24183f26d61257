"""The table of an evaluation has a row for each structure, also for those that were never made."""

from sample_crystals import cubic_perovskite

from repdiff.crystals.crystal_set import CrystalSet
from repdiff.metrics.evaluation import evaluate_crystals


def test_structures_that_were_never_made_are_the_last_rows():
    made = CrystalSet(
        crystals=[cubic_perovskite("a"), cubic_perovskite("b")], failed={"c": "no formula", "d": "no cell"}
    )
    rows = evaluate_crystals(made, metrics=["validity"]).per_structure.to_pylist()
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    assert [row["formula"] for row in rows] == ["O3TiSr", "O3TiSr", None, None]
    assert [row["failure"] for row in rows] == [None, None, "no formula", "no cell"]
    assert [row["index"] for row in rows] == [0, 1, 2, 3]
