"""Large sets are worked through in batches and stay in tables: what is said of them is what is said of small ones."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from moved_crystals import shaken
from sample_crystals import crystal, cubic_perovskite

from repdiff.cli.main import main
from repdiff.crystals import structure_files
from repdiff.crystals.crystal import write_crystals
from repdiff.crystals.stored_crystals import StoredCrystals
from repdiff.crystals.structure_files import open_structures
from repdiff.metrics import by_formula, conditions, kept, stored_columns
from repdiff.runs.failures import write_failed

FEW = 7
FILES = ("metrics.json", "per_structure.parquet", "table.txt")
FAMILIES = (
    "validity,composition,symmetry,prototypes,conditions,plain_properties,uniqueness,distributions,matching"
)


def made(rng):
    """Perovskites of several formulas with duplicates, of which one is broken, and silicon in random cells."""
    found = [
        shaken(cubic_perovskite("", a=3.9 + 0.1 * (k % 3), a_site=38 + 18 * (k % 2)), rng, 0.01)
        for k in range(14)
    ]
    found += [
        crystal("", [14] * 3, np.diag(rng.uniform(4, 6, 3)), rng.uniform(0, 1, (3, 3))) for _ in range(12)
    ]
    found[3] = found[3].replace(lattice=np.zeros((3, 3)))
    order = rng.permutation(len(found)).tolist()
    labels = [{"density_asked": "3..5", "start": "template" if k % 5 else "random"} for k in order]
    return [found[k].replace(id=f"m{k}", labels=one) for k, one in zip(order, labels, strict=True)]


@pytest.fixture
def place(tmp_path):
    rng = np.random.default_rng(0)
    crystals = made(rng)
    (tmp_path / "made").mkdir()
    write_crystals(tmp_path / "made" / "table.parquet", crystals)
    write_failed(tmp_path / "made", {"lost": "no cell"})
    known = [
        shaken(one, rng, 0.005).replace(id=f"k{row}", labels={})
        for row, one in enumerate(crystals[::4])
        if one.volume
    ]
    write_crystals(tmp_path / "known.parquet", known)
    return tmp_path


@pytest.fixture
def evaluate(place, capsys):
    def call(name, *flags, only=FAMILIES):
        known = [f"--{role}={place / 'known.parquet'}" for role in ("reference", "training")]
        told = ["--n-workers", "1", "--only", only, "--workspace", str(place / "w"), "--name", name, *known]
        assert main(["evaluate", str(place / "made"), *told, *flags]) == 0
        capsys.readouterr()
        return place / "w" / "evaluate" / name

    return call


@pytest.fixture
def all_is_large(monkeypatch):
    for module in (structure_files, by_formula, conditions, kept, stored_columns):
        monkeypatch.setattr(module, "LARGE", FEW)


def test_large_sets_are_told_what_small_ones_are(evaluate, place, request):
    small = evaluate("small")
    request.getfixturevalue("all_is_large")
    assert isinstance(open_structures(place / "made"), StoredCrystals)
    large = evaluate("large")
    for file in FILES:
        assert (small / file).read_bytes() == (large / file).read_bytes()


def test_large_results_are_added_to(evaluate, all_is_large):
    whole = evaluate("whole", only="validity,uniqueness")
    evaluate("parts", only="uniqueness")
    parts = evaluate("parts", only="validity")
    tables = [pq.read_table(folder / "per_structure.parquet") for folder in (whole, parts)]
    assert tables[0].equals(tables[1].select(tables[0].column_names))


def test_a_large_set_is_scored_by_a_sample_where_a_metric_takes_one(evaluate):
    folder = evaluate("sampled", "--subsample", "9", only="validity,matching")
    document = json.loads((folder / "metrics.json").read_text())
    assert document["metrics"]["validity"]["values"]["valid"]["n"] == 27
    assert document["metrics"]["matching"]["values"]["rediscovered"]["n"] == 9
    assert document["metrics"]["matching"]["details"]["subsample"] == {"n": 9, "of": 27}
    note = "matching: of 9 structures drawn at random from 27"
    assert f"{note} (`subsample`)" in document["notes"]
    assert f"note: {note}" in (folder / "table.txt").read_text()
    rows = pq.read_table(folder / "per_structure.parquet").to_pylist()
    told = [row for row in rows if row["match_reason"] is not None]
    assert len(told) == 9
    assert all((row["match_rms"] is None) == (row["match_reason"] != "") for row in told)


def test_a_sample_of_all_changes_nothing(evaluate):
    every, none = evaluate("every", "--subsample", "27"), evaluate("none", "--subsample", "0")
    for file in FILES:
        assert (every / file).read_bytes() == (none / file).read_bytes()
