"""Backends that make crystals at once write any number of them shard by shard."""

import pytest

from repdiff.commands import generate
from repdiff.crystals.structure_files import FILES, read_structures
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest

ASKED = ("--backend", "retrieval", "--n", "8", "--condition", "density=4..9", "--seed", "3")


@pytest.fixture
def swaps(run):
    """Return what generates crystals by exchanging elements of known ones, and the folder."""
    assert run("train", "--backend", "retrieval")[0] == 0

    def call(name, *flags):
        code, path, said = run("generate", *ASKED, "--name", name, *flags)
        assert code == 0, said
        return path

    return call


def told(crystal):
    """Return all that a table says of a crystal."""
    return (
        crystal.id,
        crystal.labels,
        crystal.atomic_numbers.tolist(),
        crystal.lattice.tolist(),
        crystal.frac_coords.tolist(),
    )


def test_shards_change_neither_crystals_nor_files_nor_rates(swaps):
    whole, parts = swaps("whole"), swaps("parts", "--shard-size", "3")
    assert [told(one) for one in read_structures(parts)] == [told(one) for one in read_structures(whole)]
    for name in (*FILES, "conditions.txt", "failed.jsonl"):
        if name not in ("table.parquet", "cif.zip"):  # which hold times
            assert (parts / name).read_bytes() == (whole / name).read_bytes(), name
    of_whole, of_parts = (read_manifest(path).summary for path in (whole, parts))
    for key in ("n_crystals", "n_failed", "conditions", "n_not_as_asked"):
        assert of_whole[key] == of_parts[key]
    assert of_whole["n_crystals"] + of_whole["n_failed"] == 8
    assert not (parts / "pieces").exists()


def test_no_more_crystals_are_judged_at_once_than_a_shard_holds(swaps, monkeypatch):
    judged, plain = [], generate.judge
    monkeypatch.setattr(
        generate,
        "judge",
        lambda found, *rest, **how: judged.append(len(found.crystals)) or plain(found, *rest, **how),
    )
    path = swaps("counted", "--shard-size", "3")
    assert judged == [3, 3, 2]
    ids = [one.id for one in read_structures(path)]
    assert sorted([*ids, *read_failed(path)]) == [f"gen-{number:06d}" for number in range(8)]
