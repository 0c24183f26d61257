import math

import known_crystals
import pyarrow.parquet as pq
import pytest
from stacked_crystals import STACKS

from repdiff.cli.main import main
from repdiff.metrics.matching import compare_pairs
from repdiff.runs.manifest import read_manifest


@pytest.fixture
def ask(tmp_path, capsys):
    """Run the verb on a file of structures: returns the exit code, stdout and stderr."""

    def call(structures, *flags):
        file = known_crystals.write_extxyz(tmp_path / "crystals.extxyz", structures)
        code = main(["degeneracy", str(file), "--no-niggli", "--workspace", str(tmp_path / "w"), *flags])
        told = capsys.readouterr()
        return code, told.out, told.err

    return call


def test_the_verb_reports_pairs_and_probes(ask, tmp_path):
    code, out, err = ask(list(STACKS.values()), "--tolerance", "2", "--probe", "2")
    assert code == 0, err
    folder = tmp_path / "w" / "degeneracy" / "crystals-all-ead"
    assert out.splitlines()[-1] == str(folder)
    assert "10 pairs of the same formula" in out
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    verdicts = {(row["id_a"], row["id_b"]): row["verdict"] for row in pairs}
    assert verdicts["c00", "c01"] == verdicts["c00", "c02"] == "duplicate"
    assert verdicts["c00", "c03"] == "distorted"
    assert verdicts["c00", "c04"] == "different"
    assert all(math.isnan(row["rms"]) == (row["verdict"] == "different") for row in pairs)
    soft = pq.read_table(folder / "soft.parquet").to_pylist()
    assert [(row["n_atoms"], row["n_directions"], row["n_flat"]) for row in soft] == [(8, 21, 0)] * 2
    summary = read_manifest(folder).summary
    assert summary["verdicts"] == {"duplicate": 2, "distorted": 1, "different": 2, "not compared": 0}


def test_a_second_call_repeats_the_report_without_the_work(ask):
    first = ask(list(STACKS.values()), "--tolerance", "2", "--probe", "1")
    again = ask(list(STACKS.values()), "--tolerance", "2", "--probe", "1")
    assert again[1] == first[1]
    assert "nothing to do" in again[2]


def test_more_probes_and_more_comparisons_keep_what_was_compared(ask, tmp_path, monkeypatch):
    structures = list(STACKS.values())
    ask(structures, "--tolerance", "2", "--probe", "0", "--max-comparisons", "2")
    compared = []

    def compare(left, right):
        compared.append((right[0].id, left[0].id))
        return compare_pairs(left, right)

    monkeypatch.setattr("repdiff.degeneracy.close_pairs.compare_pairs", compare)
    code, out, err = ask(structures, "--tolerance", "2", "--probe", "1")
    assert code == 0, err
    folder = tmp_path / "w" / "degeneracy" / "crystals-all-ead"
    pairs = pq.read_table(folder / "pairs.parquet").to_pylist()
    assert 0 < len(compared) <= len(pairs) - 2
    assert "1 crystals probed" in out
    _, once, _ = ask(structures, "--tolerance", "2", "--probe", "1", "--name", "once")
    assert once.splitlines()[:-1] == out.splitlines()[:-1]
    assert str(pq.read_table(folder.with_name("once") / "pairs.parquet").to_pylist()) == str(
        pairs
    )  # NaN is NaN
    code, _, err = ask(structures, "--tolerance", "2", "--probe", "0")
    assert code == 2
    assert "--probe was 1, now 0" in err


def test_a_data_set_without_close_pairs_is_no_mistake(ask, tmp_path):
    code, out, _ = ask(known_crystals.family()[:12], "--probe", "0")
    assert code == 0
    assert "no pair of the same formula" in out
    assert "no crystal probed" in out
    folder = tmp_path / "w" / "degeneracy" / "crystals-all-ead"
    assert len(pq.read_table(folder / "pairs.parquet")) == len(pq.read_table(folder / "soft.parquet")) == 0


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tolerance", "-1"], "--tolerance is -1, expected more than 0"),
        (["--probe", "-1"], "--probe is -1, expected at least 0"),
        (["--descriptor", "aed"], "unknown descriptor 'aed'"),
    ],
)
def test_a_mistake_is_one_line(ask, flags, message):
    code, out, err = ask([known_crystals.rocksalt()], *flags)
    assert (code, out) == (2, "")
    assert err.startswith(f"repdiff degeneracy: {message}")
    assert err.count("\n") == 1


def test_an_unknown_data_set_is_one_line(capsys, tmp_path):
    assert main(["degeneracy", "perov_6", "--workspace", str(tmp_path)]) == 2
    assert "Did you mean 'perov_5'?" in capsys.readouterr().err
