"""`repdiff generate` with several formulas: sample i has formula i, whatever the shards and in how many runs."""

import pytest
from ase.data import chemical_symbols
from small_runs import SAMPLING

from repdiff.backends.requested_compositions import CompositionRequest
from repdiff.representations.shards import read_generated

N_FORMULAS = 5


@pytest.fixture
def asked(run, tmp_path):
    """A file of formulas that differ, and their counts of atoms."""
    layout = read_generated(run("generate", "--n", "1", *SAMPLING, "--name", "probe")[1]).layout
    one, other = layout.elements[:2]
    wanted = [{one: n, other: m} for n, m in ((1, 1), (1, 2), (2, 1), (1, 3), (3, 1))]
    lines = ["".join(f"{chemical_symbols[z]}{n}" for z, n in counts.items()) for counts in wanted]
    (tmp_path / "wanted.txt").write_text("\n".join(lines))
    return tmp_path / "wanted.txt", wanted


def made(path):
    batch = read_generated(path)
    vectors, layout = batch.vectors, batch.layout
    blocks = layout.representation().blocks
    counts = (vectors[:, blocks["composition"]] * vectors[:, blocks["n_atoms"]]).round().long()
    return [{z: int(n) for z, n in zip(layout.elements, row, strict=True) if n} for row in counts]


@pytest.mark.parametrize("runs", [(N_FORMULAS,), (3, N_FORMULAS), (2, 4, 2 * N_FORMULAS + 1)])
@pytest.mark.parametrize("shard_size", [2, 3, 50])
def test_sample_i_has_formula_i_in_shards_and_appended_runs(run, asked, shard_size, runs):
    file, wanted = asked
    for n in runs:
        flags = ("--compositions", str(file), "--n", str(n), "--shard-size", str(shard_size))
        code, path, said = run("generate", *flags, *SAMPLING)
        assert code == 0, said
    assert made(path) == [wanted[number % N_FORMULAS] for number in range(runs[-1])]


@pytest.mark.parametrize("first", range(7))
@pytest.mark.parametrize("n", [0, 1, 4, 9])
def test_a_part_of_a_request_is_a_part_of_the_whole(first, n):
    request = CompositionRequest(compositions=[{z: 1} for z in range(1, 4)])
    assert request.part(first, n) == request.part(0, first + n)[first:]
