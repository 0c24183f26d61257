"""`repdiff rank`, and what `generate --keep-best` does with its output."""

import json

import known_crystals
import pyarrow.parquet as pq
import pytest
from pymatgen.io.ase import AseAtomsAdaptor
from small_runs import SAMPLING

from repdiff.backends.ranking import Ranker
from repdiff.cli.main import main
from repdiff.representations.draws import DRAWS_FILE, read_draws
from repdiff.representations.shards import read_generated
from repdiff.runs.manifest import read_manifest

RANK = ["--by", "energy", "--max-steps", "4", "--width", "8", "--n-members", "2", "--batch-size", "8"]
pytestmark = pytest.mark.usefixtures("_quick_search")


@pytest.fixture(scope="module")
def labelled_file(tmp_path_factory):
    """The crystals of the tiny workspace, with a label."""
    from ase.io import write

    atoms = [AseAtomsAdaptor.get_atoms(structure) for structure in known_crystals.family()]
    for one in atoms:
        one.info["energy"] = float(one.numbers.mean())
    path = tmp_path_factory.mktemp("labelled") / "labelled.extxyz"
    write(path, atoms)
    return path


@pytest.fixture
def ranked(run, labelled_file):
    code, path, said = run("rank", str(labelled_file), *RANK)
    assert code == 0, said
    return path


def test_a_data_set_is_read_and_learnt_once(run, ranked, labelled_file):
    manifest = read_manifest(ranked)
    assert ranked.name == "labelled-energy"
    assert manifest.summary["n_training"] + manifest.summary["n_validation"] <= 41
    assert manifest.summary["steps"] == 4
    assert not (ranked / "parts").exists()
    assert Ranker.load(ranked).label == "energy"
    before = (ranked / "model.safetensors").read_bytes()
    assert run("rank", str(labelled_file), *RANK)[1] == ranked
    assert (ranked / "model.safetensors").read_bytes() == before


def test_an_encoded_set_has_protostructures_already(run, labelled_file):
    assert run("encode", str(labelled_file), "--name", "labelled")[0] == 0
    code, path, said = run("rank", *RANK)
    assert code == 0, said
    assert path.name == "labelled-energy"
    assert Ranker.load(path).n_training > 0


def test_the_best_are_kept_and_built_and_every_stage_is_told(run, ranked):
    code, made, said = run("generate", "--n", "4", *SAMPLING, "--keep-best", "0.5")
    assert code == 0, said
    assert read_manifest(made).inputs["ranker"].path == str(ranked)
    draws = read_draws(made / DRAWS_FILE)
    assert len(draws) == 60
    kept = [one for one in draws if one.sample is not None and one.sample < 4]
    batch = read_generated(made)
    assert list(batch.columns["rank"]) == [one.rank for one in kept]
    code, built, said = run("reconstruct", "--preset", "fast", "--n-workers", "1")
    assert code == 0, said
    table = pq.read_table(built / "table.parquet").to_pydict()
    assert table["rank"] == [one.rank for one in kept]
    assert table["predicted_energy"] == pytest.approx([one.predicted for one in kept])
    assert table["predicted_energy_std"] == pytest.approx([one.predicted_std for one in kept])
    code, scored, said = run("evaluate", str(built), "--only", "validity")
    assert code == 0, said
    funnel = json.loads((scored / "metrics.json").read_text())["funnel"]
    assert [stage["stage"] for stage in funnel] == ["drawn", "distinct", "kept", "built"]
    assert funnel[0]["n"] == 60
    assert "ranked best" in (scored / "table.txt").read_text()
    code, page, said = run("report", str(scored), "--samples", "4")
    assert code == 0, said
    text = page.read_text()
    assert 'id="tab-funnel"' in text
    assert "ranked best, and given a vector" in text


def test_more_samples_are_appended_to_a_ranked_run(run, ranked):
    _, made, _ = run("generate", "--n", "3", *SAMPLING, "--keep-best", "0.5")
    first = read_generated(made)
    _, again, _ = run("generate", "--n", "34", *SAMPLING, "--keep-best", "0.5")
    assert again == made
    more = read_generated(made)
    assert more.columns["rank"][:3] == first.columns["rank"]
    _, whole, _ = run("generate", "--n", "34", *SAMPLING, "--keep-best", "0.5", "--name", "whole")
    assert more.columns == read_generated(whole).columns
    assert read_draws(made / DRAWS_FILE) == read_draws(whole / DRAWS_FILE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["generate", "--keep-best", "0.3"], "no output of `repdiff rank`"),
        (["generate", "--keep-best", "1.5"], "keep-best"),
        (["generate", "--ranker", "x"], "keep-best"),
        (["rank", "--by", "energie"], "no numeric label"),
    ],
)
def test_mistakes_are_one_line(run, words, message):
    code, _, said = run(*words)
    assert code == 2
    assert message in said
    assert len(said.strip().splitlines()) <= 3


def test_the_help_says_what_is_ranked_first(capsys):
    assert main(["rank", "--help"]) == 0
    assert "lower values are ranked first" in " ".join(capsys.readouterr().out.split())
