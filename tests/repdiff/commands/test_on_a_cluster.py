"""The verbs on a real Dask cluster write what they write on this machine."""

import numpy as np
import piece_of_work
import pytest
import torch
import toy_force_field
from known_crystals import family
from small_runs import SAMPLING, TINY_SEARCH

pytest.importorskip("distributed", reason="needs repdiff[cluster]")

import repdiff as rd
from reconstruction.presets import SEARCHES
from repdiff.cli.main import main
from repdiff.crystals.crystal import read_crystals
from repdiff.execution.dask_start import started
from repdiff.execution.jobs import using
from repdiff.metrics import fingerprints, matching
from repdiff.representations import encoding
from repdiff.representations.shards import read_generated
from repdiff.settings.workers import ClusterFile

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")
TIMED = {"seconds"}


@pytest.fixture(scope="module")
def cluster():
    """Two workers, to which nothing goes yet."""
    with started(ClusterFile(kind="local", workers=2), "two.yaml") as engine:
        yield engine


def labelled(path):
    return [
        (one.id, one.frac_coords.tolist(), {k: v for k, v in one.labels.items() if k not in TIMED})
        for one in read_crystals(path)
    ]


def test_reconstruction_is_that_of_one_process_to_the_last_bit(cluster, workspace, monkeypatch):
    monkeypatch.setitem(SEARCHES, "fast", TINY_SEARCH)
    here = next((workspace / "reconstruct").glob("tiny*"))
    with using(cluster):
        words = ["--preset", "fast", "--name", "elsewhere", "--workspace", str(workspace)]
        assert main(["reconstruct", *words]) == 0
    there = workspace / "reconstruct" / "elsewhere"
    assert labelled(there / "table.parquet") == labelled(here / "table.parquet")
    assert (there / "failed.jsonl").read_bytes() == (here / "failed.jsonl").read_bytes()


def test_shards_are_drawn_side_by_side_and_are_those_of_one_process(cluster, workspace):
    words = ["generate", "--n", "5", "--shard-size", "2", *SAMPLING, "--workspace", str(workspace)]
    assert main([*words, "--name", "here"]) == 0
    with using(cluster):
        assert main([*words, "--name", "there"]) == 0
    here, there = (read_generated(workspace / "generate" / name) for name in ("here", "there"))
    torch.testing.assert_close(here.vectors, there.vectors, rtol=0, atol=0, equal_nan=True)


def test_encoding_is_that_of_one_process(cluster, monkeypatch):
    dataset = rd.Dataset.of(rd.CrystalSet.of(family()))
    monkeypatch.setattr(encoding, "chunks_by_cost", lambda batch, _: [[n] for n in range(batch.n_systems)])
    here = rd.encode(dataset)
    with using(cluster):
        there = rd.encode(dataset)
    assert torch.equal(here.representations, there.representations)


def test_relaxation_is_that_of_one_process(cluster, tmp_path):
    toy_force_field.register()
    cluster.client.run(piece_of_work.know_the_toy)
    crystals = rd.CrystalSet.of(family()[:6])
    here = rd.relax(crystals, force_field="toy", max_steps=5)
    with using(cluster):
        there = rd.relax(crystals, force_field="toy", max_steps=5)
    for name, end in here.relaxations.items():
        other = there.relaxations[name]
        assert end.labels() == other.labels()
        assert (end.crystal is None) == (other.crystal is None)
        if end.crystal is not None:
            np.testing.assert_array_equal(end.crystal.frac_coords, other.crystal.frac_coords)


def test_fingerprints_and_matches_are_those_of_one_process(cluster, monkeypatch):
    crystals = rd.CrystalSet.of(family()[:4]).crystals
    monkeypatch.setattr(fingerprints, "PER_PROCESS", 1)
    monkeypatch.setattr(matching, "COMPARISONS_PER_PROCESS", 1)
    here = fingerprints.compute_fingerprints(crystals), matching.match_pairs(crystals, crystals)
    with using(cluster):
        there = (
            fingerprints.compute_fingerprints(crystals, n_workers=2),
            matching.match_pairs(crystals, crystals, n_workers=2),
        )
    np.testing.assert_array_equal(here[0].structure, there[0].structure)
    np.testing.assert_array_equal(here[1], there[1])
