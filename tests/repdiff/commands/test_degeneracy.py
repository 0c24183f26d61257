import itertools
import math

import known_crystals
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from pymatgen.core import Structure

from descriptors.base import Descriptor, make_descriptor
from descriptors.batch import from_structures
from repdiff.cli.main import main
from repdiff.crystals.crystal import from_structure
from repdiff.degeneracy.close_pairs import ClosePairs, find_close_pairs, group_by_formula, judge_pairs
from repdiff.degeneracy.sensitivity import position_jacobian, probe, rattled
from repdiff.metrics.matching import compare_pairs
from repdiff.runs.manifest import read_manifest

torch.set_num_threads(1)


def stack(species: str, *, shift: float = 0.0, bulge: float = 0.0) -> Structure:
    """A tetragonal cell with one atom on each of eight levels; `bulge` moves the second along x."""
    sites = [[0.5 * (level % 2) + shift, 0.5 * (level % 2), level / 8] for level in range(8)]
    sites[1][0] += bulge
    return Structure(np.diag([4.0, 4.0, 16.0]), [{"N": "Na", "K": "K"}[name] for name in species], sites)


STACKS = {
    "first": stack("NNKNKKKN"),
    "shifted": stack("NNKNKKKN", shift=0.3),
    "again": stack("NNKNKKKN", shift=0.1),
    "bulging": stack("NNKNKKKN", bulge=0.2),
    "alternating": stack("NKNKNKNK"),
}


def crystals(*names):
    return [from_structure(STACKS[name], id=name) for name in names]


def all_pairs(n_crystals: int) -> ClosePairs:
    rows = np.array(list(itertools.combinations(range(n_crystals), 2)))
    return ClosePairs(
        rows=rows, descriptor_distances=np.linspace(0, 1e-3, len(rows)), cell_distances=np.zeros(len(rows))
    )


def judged(*names, **limits):
    options = {"same_rms": 0.05, "max_comparisons": None} | limits
    pairs, n_left = judge_pairs(crystals(*names), all_pairs(len(names)), **options)
    return {(names[pair.a], names[pair.b]): pair.verdict for pair in pairs}, n_left


@pytest.mark.parametrize("seed", range(5))
def test_the_pairs_found_are_those_of_a_comparison_of_all_with_all(seed):
    rng = np.random.default_rng(seed)
    vectors = (1 + 0.05 * rng.normal(size=(60, 4))) * rng.choice([1.0, 1.02, 3.0], size=(60, 1))
    parameters = np.array([4.0, 5, 6, 90, 90, 90]) * (1 + 0.02 * rng.normal(size=(60, 6)))
    groups = [np.arange(0, 60, 2), np.arange(1, 60, 2)]
    expected = {}
    for members in groups:
        for i, j in itertools.combinations(members.tolist(), 2):
            smaller = min(np.abs(vectors[i]).sum(), np.abs(vectors[j]).sum())
            distance = np.abs(vectors[i] - vectors[j]).sum() / smaller
            lengths = np.abs(np.log(parameters[i, :3] / parameters[j, :3])).max()
            angles = np.radians(np.abs(parameters[i, 3:] - parameters[j, 3:])).max()
            if distance < 0.04 and max(lengths, angles) < 0.05:
                expected[i, j] = (distance, max(lengths, angles))
    found = find_close_pairs(vectors, parameters, groups, tolerance=0.04, cell_tolerance=0.05, progress=False)
    assert 5 < len(expected) < 400
    assert {tuple(pair) for pair in found.rows.tolist()} == set(expected)
    distances = [expected[i, j] for i, j in found.rows.tolist()]
    np.testing.assert_allclose(
        np.stack([found.descriptor_distances, found.cell_distances], 1), distances, atol=1e-12
    )
    assert (np.diff(found.descriptor_distances) >= 0).all()


def test_only_crystals_of_the_same_formula_and_size_are_compared():
    salt, double = known_crystals.rocksalt(), known_crystals.rocksalt() * (2, 1, 1)
    structures = [salt, known_crystals.rocksalt("K"), double, known_crystals.caesium_chloride("Na", "Cl")]
    groups = group_by_formula([from_structure(s, id=str(n)) for n, s in enumerate(structures)])
    assert [group.tolist() for group in groups] == [[0, 3]]


def test_no_crystal_makes_no_pair():
    found = find_close_pairs(np.ones((0, 3)), np.ones((0, 6)), [], tolerance=1.0, cell_tolerance=1.0)
    assert found.rows.shape == (0, 2)


def test_duplicates_distortions_and_other_crystals_are_told_apart():
    verdicts, n_left = judged("first", "shifted", "bulging", "alternating")
    assert n_left == 0
    assert verdicts == {
        ("first", "shifted"): "duplicate",
        ("first", "bulging"): "distorted",
        ("first", "alternating"): "different",
        ("bulging", "alternating"): "different",
    }


def test_duplicates_are_compared_once():
    verdicts, _ = judged("first", "shifted", "again", "alternating")
    assert set(verdicts) == {("first", "shifted"), ("first", "again"), ("first", "alternating")}


def test_the_limit_of_rms_decides_what_is_a_duplicate():
    verdicts, _ = judged("first", "bulging", same_rms=0.4)
    assert verdicts == {("first", "bulging"): "duplicate"}


def test_a_limit_of_comparisons_tells_how_many_crystals_were_not_reached(caplog):
    verdicts, n_left = judged("first", "bulging", "alternating", "shifted", max_comparisons=1)
    assert len(verdicts) == 1
    assert n_left == 2
    assert "raise `max_comparisons`" in caplog.text


def test_what_the_matcher_cannot_compare_gets_no_other_verdict(monkeypatch):
    class Stubborn:
        def get_rms_dist(self, *_):
            raise RuntimeError

    monkeypatch.setattr("repdiff.metrics.matching._matcher", Stubborn)
    assert judged("first", "alternating")[0] == {("first", "alternating"): "not compared"}


class NearestPair(Descriptor):
    """The distance from the first atom to the second: one number."""

    n_features, cutoff, stages = 1, 1.0, (slice(0, 1),)

    @classmethod
    def from_preset(cls, preset):
        return cls()

    def settings(self):
        return {}

    def feature_names(self):
        return ["distance"]

    def evaluate(self, neighborhood, vectors, *, n_stages=None):
        raise NotImplementedError

    def forward(self, batch):
        carts = batch.cart_coords.view(batch.n_systems, -1, 3)
        return (carts[:, 0] - carts[:, 1]).norm(dim=1, keepdim=True)


def batch_of(structure: Structure):
    return from_structures([structure])


def test_directions_that_one_number_cannot_see_are_all_found():
    soft = probe(NearestPair(), batch_of(known_crystals.perovskite()), displacement=0.01, tolerance=1e-3)
    assert soft.n_directions == 12
    assert soft.n_flat == 11
    assert soft.n_soft == 11
    assert soft.condition > 1e6
    distance = 3**0.5 / 2 * known_crystals.perovskite().lattice.a
    # the two atoms part by √2 Å for 1 Å over all coordinates, which is √5 Å for a mean square of 1 Å over five atoms
    assert soft.stiffest == pytest.approx(math.sqrt(2 * 5) / distance, rel=1e-6)


def test_the_jacobian_agrees_with_back_propagation():
    descriptor = make_descriptor("soap")
    batch = rattled(batch_of(known_crystals.rocksalt()), 0.2, generator=torch.Generator().manual_seed(0))
    found = position_jacobian(descriptor, batch)

    def encode(frac):
        return descriptor(type(batch)(**{**vars(batch), "frac_coords": frac}))[0]

    by_frac = torch.autograd.functional.jacobian(encode, batch.frac_coords)
    expected = (by_frac @ torch.linalg.inv(batch.lattice[0]).T).flatten(1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


def test_symmetry_makes_every_direction_flat_and_rattling_none():
    descriptor, batch = make_descriptor("ead"), batch_of(known_crystals.perovskite())
    still = probe(descriptor, batch, displacement=0.1, tolerance=1e-6)
    moved = rattled(batch, 0.1, generator=torch.Generator().manual_seed(0))
    shaken = probe(descriptor, moved, displacement=0.1, tolerance=1e-6)
    assert still.stiffest < 1e-6
    assert shaken.n_flat == shaken.n_soft == 0
    assert shaken.stiffest > 1e-3


def test_more_tolerance_makes_more_directions_soft():
    batch = rattled(batch_of(known_crystals.perovskite()), 0.1, generator=torch.Generator().manual_seed(0))
    softs = [
        probe(make_descriptor("ead"), batch, displacement=0.1, tolerance=tolerance)
        for tolerance in (1e-9, 3e-3, 10.0)
    ]
    counts = [soft.n_soft for soft in softs]
    assert counts[0] == 0 < counts[1] < counts[2] == 12
    assert 0 < softs[0].smallest_change < 3e-3


def test_a_probe_takes_one_crystal_of_several_atoms():
    polonium = batch_of(Structure(3.35 * np.eye(3), ["Po"], [[0, 0, 0]]))
    with pytest.raises(ValueError, match="expected one crystal of at least 2 atoms"):
        probe(NearestPair(), polonium, displacement=0.1, tolerance=0.1)


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
