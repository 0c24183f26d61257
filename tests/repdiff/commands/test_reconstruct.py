import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pymatgen.analysis.structure_matcher import StructureMatcher
from small_runs import TINY_SEARCH

from reconstruction import inversion as inversion_of_vectors
from repdiff.commands import reconstruct
from repdiff.crystals import resumable_parts
from repdiff.crystals.crystal import to_structure
from repdiff.crystals.structure_files import read_structures
from repdiff.datasets.sources import read_for_evaluation
from repdiff.representations import inversion
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.shards import read_generated, write_shard
from repdiff.runs.failures import read_failed
from repdiff.runs.manifest import read_manifest

FAST = ["reconstruct", "--preset", "fast", "--n-workers", "1"]
pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture
def small_groups(monkeypatch):
    """Cut the work into many groups, so that some are done and some are not."""
    monkeypatch.setattr("reconstruction.plan.CPU_ATOMS", 1)
    monkeypatch.setattr("reconstruction.orbit_inversion.CPU_CENTRES", 1)


def crystals_of(run, *flags):
    code, path, said = run(*FAST, *flags)
    assert code == 0, said
    return read_structures(path)


def assert_same(actual, expected):
    assert [crystal.id for crystal in actual] == [crystal.id for crystal in expected]
    for one, other in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.atomic_numbers, other.atomic_numbers)
        np.testing.assert_array_equal(one.lattice, other.lattice)
        np.testing.assert_array_equal(one.frac_coords, other.frac_coords)
        assert one.labels["loss"] == other.labels["loss"]


def test_another_symmetry_is_another_run(run):
    plain, proposed = (run(*FAST, "--n", "1", *flags) for flags in ((), ("--symmetry", "propose")))
    assert (plain[0], proposed[0]) == (0, 0), proposed[2]
    assert proposed[1].name == f"{plain[1].name}-propose"


def test_an_interrupted_run_goes_on_and_gives_what_an_uninterrupted_one_gives(
    run, workspace, small_groups, monkeypatch
):
    whole = crystals_of(run, "--name", "whole")
    plain, written = resumable_parts.write_crystals, []

    def stop_after_two(path, crystals):
        if len(written) == 2:
            raise KeyboardInterrupt
        plain(path, crystals)
        written.append(path.name)

    with monkeypatch.context() as patch:
        patch.setattr(resumable_parts, "write_crystals", stop_after_two)
        code, _, said = run(*FAST, "--name", "cut")
        assert code == 130
        assert "give the same command again to go on" in said
    parts = workspace / "reconstruct" / "cut" / "parts"
    assert sorted(path.name for path in parts.iterdir()) == sorted(written)
    again = []
    monkeypatch.setattr(
        resumable_parts, "write_crystals", lambda path, c: (again.append(path.name), plain(path, c))
    )
    resumed = crystals_of(run, "--name", "cut")
    assert_same(resumed, whole)
    told = read_manifest(parts.parent).summary["seconds_per_structure"]
    assert told == pytest.approx(np.mean([crystal.labels["seconds"] for crystal in resumed]))  # of both runs
    assert len(again) == len(whole) - 2
    assert not set(again) & set(written)
    assert not parts.exists()


def test_pieces_that_fit_in_memory_give_the_crystals_of_all_at_once_and_are_not_made_twice(
    run, workspace, monkeypatch
):
    folder = workspace / "generate" / "tiny-ead-mlp-ddim5-seed0"
    made = read_generated(folder)
    for number in range(4):
        write_shard(folder, number, made.rows([number]))
    whole = crystals_of(run, "--name", "whole")
    monkeypatch.setattr("repdiff.commands.reconstruct.PIECE", 1)
    plain, sought = reconstruct.invert, []

    def stop_after_two(batch, **how):
        if len(sought) == 2:
            raise KeyboardInterrupt
        sought.extend(batch.ids)
        return plain(batch, **how)

    with monkeypatch.context() as patch:
        patch.setattr("repdiff.commands.reconstruct.invert", stop_after_two)
        assert run(*FAST, "--name", "pieces")[0] == 130
    sought.clear()
    monkeypatch.setattr(
        "repdiff.commands.reconstruct.invert",
        lambda batch, **how: sought.extend(batch.ids) or plain(batch, **how),
    )
    pieces = crystals_of(run, "--name", "pieces")
    assert [crystal.id for crystal in pieces] == [crystal.id for crystal in whole]
    assert sought == ["gen-000002", "gen-000003"]
    assert not (workspace / "reconstruct" / "pieces" / "pieces").exists()


def test_parts_of_a_run_with_another_number_of_crystals_are_not_taken_for_its_own(
    run, workspace, monkeypatch
):
    folder = workspace / "generate" / "tiny-ead-mlp-ddim5-seed0"
    made = read_generated(folder)
    vectors, layout = made.vectors, made.layout
    blocks = layout.representation().blocks
    vectors = vectors[:1].repeat(3, 1)
    lengths = slice(blocks["lattice"].start, blocks["lattice"].start + 3)
    vectors[:, lengths] *= torch.tensor([[1.0], [1.2], [1.1]])
    write_shard(folder, 0, replace(made, vectors=vectors, symmetry=None))
    two_crystals = 2 * TINY_SEARCH.n_proposals * int(vectors[0, blocks["n_atoms"]])
    monkeypatch.setattr("reconstruction.plan.CPU_ATOMS", two_crystals)
    whole = crystals_of(run, "--name", "whole")  # in groups of the rows 0 and 2, and 1

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("repdiff.commands.reconstruct.write_structures", stop)
        assert run(*FAST, "--name", "cut", "--n", "2")[0] == 130  # in one group, of the rows 0 and 1
    assert_same(crystals_of(run, "--name", "cut"), whole)


def test_worker_processes_give_the_same_crystals(run, small_groups, pickled_pool):
    alone = crystals_of(run, "--name", "alone")
    code, path, said = run("reconstruct", "--preset", "fast", "--n-workers", "2", "--name", "two")
    assert code == 0, said
    assert_same(read_structures(path), alone)
    assert pickled_pool == [2]


def test_the_first_n_are_taken(run):
    some = crystals_of(run, "--n", "2", "--name", "some")
    assert [crystal.id for crystal in some] == ["gen-000000", "gen-000001"]


def test_a_finished_run_asked_for_more_makes_more(run):
    assert len(crystals_of(run, "--n", "2", "--name", "some")) == 2
    assert len(crystals_of(run, "--n", "4", "--name", "some")) == 4


def test_true_vectors_of_a_data_set_are_inverted(run, workspace, tiny_file):
    flags = ("--dataset", str(tiny_file), "--split", "test", "--n", "4")
    code, path, said = run("reconstruct", "--n-workers", "1", *flags)
    assert code == 0, said
    assert path.name == "tiny-test-n4-seed0-default"
    encoded = EncodedSet.read(workspace / "encode" / "tiny-ead")
    known = {encoded.crystals[row].id: encoded.crystals[row] for row in encoded.rows("test")}
    found = read_structures(path)
    assert len(found) == 4
    matcher = StructureMatcher(stol=0.5, ltol=0.3, angle_tol=10)
    for crystal in found:
        assert matcher.fit(to_structure(crystal), to_structure(known[crystal.id]))


def test_another_seed_inverts_other_crystals(run, tiny_file):
    ids = [
        [crystal.id for crystal in crystals_of(run, "--dataset", str(tiny_file), "--n", "3", "--seed", seed)]
        for seed in ("0", "1")
    ]
    assert ids[0] != ids[1]


def test_a_crystal_that_cannot_be_reduced_is_listed_among_the_failed(run, tiny_file, monkeypatch):
    from repdiff.crystals.niggli import niggli_reduced

    chosen = []

    def reduce(crystal):
        chosen.append(crystal.id)
        if len(chosen) == 1:
            raise ValueError("does not converge")
        return niggli_reduced(crystal)

    monkeypatch.setattr("repdiff.representations.encoding.niggli_reduced", reduce)
    code, path, _ = run(*FAST, "--dataset", str(tiny_file), "--n", "3")
    assert code == 0
    assert len(read_structures(path)) == 2
    assert read_for_evaluation(path)[1] == {chosen[0]: "does not converge"}


@pytest.fixture
def spoilt(workspace):
    """Generated vectors of which the second has no finite cell and the third no atoms."""
    folder = workspace / "generate" / "tiny-ead-mlp-ddim5-seed0"
    made = read_generated(folder)
    vectors, layout = made.vectors, made.layout
    blocks = layout.representation().blocks
    vectors[1, blocks["lattice"]] = float("nan")
    vectors[2, blocks["n_atoms"]] = 0.0
    shutil.rmtree(folder / "shards")
    write_shard(folder, 0, replace(made, vectors=vectors, symmetry=None))
    return folder


def test_vectors_that_make_no_crystal_are_listed_with_their_reasons(run, spoilt):
    code, path, said = run(*FAST, "--name", "spoilt")
    assert code == 0, said
    assert "2 refused (in failed.jsonl)" in said
    assert [crystal.id for crystal in read_structures(path)] == ["gen-000000", "gen-000003"]
    failed = [json.loads(line) for line in (path / "failed.jsonl").read_text().splitlines()]
    assert [entry["id"] for entry in failed] == ["gen-000001", "gen-000002"]
    assert "expected finite numbers" in failed[0]["reason"]
    assert "number of atoms is 0" in failed[1]["reason"]
    assert read_manifest(path).summary["n_failed"] == 2
    assert read_for_evaluation(path)[1].keys() == {"gen-000001", "gen-000002"}


def test_if_no_vector_makes_a_crystal_the_first_reason_is_told(run, workspace, spoilt):
    made = read_generated(spoilt)
    write_shard(spoilt, 0, replace(made.first(3), vectors=made.vectors[1:3], symmetry=None))
    code, _, said = run(*FAST, "--name", "none")
    assert code == 2
    assert "none of 2 vectors makes a crystal" in said.splitlines()[-1]


def test_both_sources_at_once_are_refused(run, tiny_file):
    code, _, said = run(*FAST, "--dataset", str(tiny_file), "--generated", "x")
    assert code == 2
    assert "expected one of them" in said.splitlines()[-1]


def test_values_of_the_preset_that_the_user_left_alone_are_recorded(run):
    code, path, said = run(*FAST, "--n", "1", "--name", "some", "--repulsion", "3", "--max-evaluations", "40")
    assert code == 0, said
    manifest = read_manifest(path)
    assert manifest.config["repulsion"] == manifest.summary["search"]["repulsion"] == 3
    assert manifest.config["max_evaluations"] == manifest.summary["search"]["max_evaluations"] == 40
    assert manifest.config["max_seconds"] == TINY_SEARCH.max_seconds
    assert manifest.summary["search"]["n_rounds"] == TINY_SEARCH.n_rounds


def test_budgets_end_the_search_for_a_crystal(run, monkeypatch):
    endless = replace(TINY_SEARCH, n_rounds=10**6, solved_below=0.0, n_agreeing=10**6, patience=10**6)
    monkeypatch.setitem(inversion.SEARCHES, "fast", endless)
    for flags in (("--max-evaluations", "50"), ("--max-seconds", "0.1")):
        (crystal,) = crystals_of(run, "--n", "1", "--symmetry", "none", "--name", flags[0].strip("-"), *flags)
        assert crystal.labels["stopped"] == "budget spent"
        assert crystal.labels["n_evaluations"] >= 50 or crystal.labels["seconds"] >= 0.1


def test_another_budget_is_another_run(run):
    assert run(*FAST, "--n", "1", "--name", "some")[0] == 0
    code, _, said = run(*FAST, "--n", "1", "--name", "some", "--max-seconds", "5")
    assert code == 2
    assert "--max-seconds was 0.0, now 5.0" in said


def test_labels_say_how_good_each_crystal_is(run):
    (crystal,) = crystals_of(run, "--n", "1", "--name", "some")
    assert crystal.labels["shortest_distance"] > 0.5
    assert crystal.labels["confidence"] is None  # nobody knows it of a generated vector
    assert {"loss", "seconds", "n_evaluations", "composition_residual"} <= set(crystal.labels)


def test_a_crystal_too_large_for_the_memory_is_named_and_the_others_are_found(run, monkeypatch):
    plain = inversion_of_vectors.invert_orbits

    def crowded(rows, *others, **named):
        if 1 in rows:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(rows, *others, **named)

    monkeypatch.setattr(inversion_of_vectors, "invert_orbits", crowded)
    code, path, said = run(*FAST, "--n", "3", "--name", "large")
    assert code == 0, said
    failed = read_failed(path)
    assert list(failed) == ["gen-000001"]
    assert "does not fit into the memory of cpu" in failed["gen-000001"]
    assert [one.id for one in read_structures(path)] == ["gen-000000", "gen-000002"]


@pytest.mark.parametrize(("memory", "cores", "expected"), [(80, 16, 12), (24, 16, 4), (80, 2, 2), (4, 16, 1)])
def test_a_gpu_gets_as_many_processes_as_its_memory_has_room_for(memory, cores, expected, monkeypatch):
    monkeypatch.setattr(inversion, "n_cores", lambda: cores)
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda _: SimpleNamespace(total_memory=memory * 2**30)
    )
    gpu = torch.device("cuda")
    assert inversion.default_workers(gpu) == expected
