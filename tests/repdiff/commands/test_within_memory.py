"""Commands within an amount of memory: the same results, and what is too large is named."""

import sys

import numpy as np
import pytest
import torch

from reconstruction import inversion
from repdiff.crystals.structure_files import read_structures
from repdiff.runs.atomic_files import read_json
from repdiff.runs.failures import read_failed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="other systems enforce no limit")
FAST = ["reconstruct", "--preset", "fast"]


@pytest.mark.usefixtures("_quick_search")
def test_a_search_within_little_memory_finds_the_same_crystals(run):
    found = []
    for name, flags in (("all", ["--n-workers", "1"]), ("some", ["--n-workers", "2", "--memory", "4GB"])):
        code, path, said = run(*FAST, "--name", name, *flags)
        assert code == 0, said
        found.append(read_structures(path))
        assert read_failed(path) == {}
    assert [one.id for one in found[0]] == [one.id for one in found[1]]
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one.frac_coords, other.frac_coords)


def test_an_evaluation_within_little_memory_gives_the_same_values(run):
    values = []
    for name, flags in (("all", ["--n-workers", "1"]), ("some", ["--n-workers", "2", "--memory", "3GB"])):
        code, path, said = run("evaluate", "--only", "validity,symmetry", "--name", name, *flags)
        assert code == 0, said
        values.append(read_json(path / "metrics.json")["metrics"])
    assert values[0] == values[1]


@pytest.mark.usefixtures("_quick_search")
def test_a_crystal_that_needs_more_than_all_is_named_and_the_others_are_found(run, monkeypatch):
    """A real limit and a real allocator: within 4 GB torch gets no 10, which it otherwise does."""
    plain = inversion.invert_orbits

    def greedy(rows, *others, **named):
        if 1 in rows:
            torch.empty(10 * 10**9, dtype=torch.uint8)
        return plain(rows, *others, **named)

    monkeypatch.setattr(inversion, "invert_orbits", greedy)
    code, path, said = run(*FAST, "--n-workers", "1", "--memory", "4GB", "--name", "greedy")
    assert code == 0, said
    failed = read_failed(path)
    assert list(failed) == ["gen-000001"]
    assert "does not fit into the memory of cpu" in failed["gen-000001"]
    assert len(read_structures(path)) == 3
