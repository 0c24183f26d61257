"""Results of one set of crystals add up in one folder, whatever the order in which they are asked for."""

import json

import numpy as np
import pytest
import toy_force_field

from repdiff.cli.main import main
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.structure_files import write_structures
from repdiff.metrics import METRICS
from repdiff.runs.atomic_files import read_json, write_json
from repdiff.runs.manifest import read_manifest

FILES = ("metrics.json", "per_structure.parquet", "table.txt", "manifest.json", "config.yaml")


def crystal(name, a, species=(14, 6)):
    return Crystal(
        id=name,
        atomic_numbers=np.array(species),
        lattice=np.eye(3) * a,
        frac_coords=np.array([[0, 0, 0], [0.5, 0.5, 0.5]]),
    )


@pytest.fixture
def place(tmp_path):
    """Crystals that were made, of which one failed, and known ones."""
    toy_force_field.register()
    write_structures(tmp_path / "made", [crystal(f"made-{row}", 3 + row / 10) for row in range(4)])
    (tmp_path / "made" / "failed.jsonl").write_text('{"id": "made-4", "reason": "no formula"}\n')
    known = [crystal(f"known-{row}", 3.1 + row / 5, (14, 6 + row % 2)) for row in range(6)]
    write_structures(tmp_path / "known", known)
    return tmp_path


@pytest.fixture
def evaluate(place, capsys):
    def call(*flags, status=0):
        told = ("--n-workers", "1", "--workspace", str(place / "w"))
        assert main(["evaluate", str(place / "made"), *told, *flags]) == status
        return capsys.readouterr()

    return call


@pytest.fixture
def relaxed(place):
    def call(*flags):
        told = ("--n-workers", "1", "--workspace", str(place / "w"), "--force-field", "toy")
        assert main(["relax", str(place / "made"), *told, *flags]) == 0

    return call


def document(place, name="made"):
    return json.loads((place / "w" / "evaluate" / name / "metrics.json").read_text())


def frame(place, name="made"):
    import pyarrow.parquet as pq

    return pq.read_table(place / "w" / "evaluate" / name / "per_structure.parquet").to_pydict()


def bytes_of(place, name="made"):
    return {file: (place / "w" / "evaluate" / name / file).read_bytes() for file in FILES}


def sorted_families(found):
    return {**found, "metrics": dict(sorted(found["metrics"].items()))}


def test_what_is_asked_for_in_steps_equals_what_is_asked_for_at_once(place, evaluate, relaxed):
    relaxed()
    reference = ("--reference", str(place / "known"), "--name", "steps")
    evaluate("--only", "validity", "--no-baseline", "--name", "steps")
    evaluate(*reference, "--only", "symmetry,metre", "--no-baseline")
    evaluate("--only", "uniqueness", "--name", "steps")  # with the baseline of all
    evaluate("--name", "steps", "--only", "stability", "--relaxed", "made-toy")
    last = ("--only", "validity", "--training", str(place / "known"), "--baseline-halves")
    evaluate("--name", "steps", *last)  # which gives novelty to what is there
    every = ("--only", "validity,symmetry,metre,uniqueness,stability", "--baseline-halves")
    given = ("--relaxed", "made-toy", "--training", str(place / "known"))
    evaluate("--reference", str(place / "known"), "--name", "once", *every, *given)
    steps, once = document(place, "steps"), document(place, "once")
    assert set(steps["baselines"]) == {"training", "halves"}
    assert steps["metrics"]["uniqueness"]["values"]["novel"]["value"] is not None
    assert sorted_families(steps) == sorted_families(once)
    assert frame(place, "steps") == {name: frame(place, "once")[name] for name in frame(place, "steps")}
    assert set(frame(place, "steps")) == set(frame(place, "once"))


def test_what_is_there_is_not_computed_again(place, evaluate, monkeypatch):
    evaluate("--only", "validity")
    monkeypatch.setattr(METRICS["validity"], "compute", lambda *_: pytest.fail("computed again"))
    out = evaluate("--only", "symmetry").out
    assert "validity.valid" in out
    assert "symmetry." in out
    assert set(document(place)["metrics"]) == {"validity", "symmetry"}


def test_less_than_is_there_changes_nothing(place, evaluate):
    evaluate("--only", "validity,symmetry")
    before = bytes_of(place)
    told = evaluate("--only", "symmetry")
    assert "nothing to do" in told.err
    assert "validity.valid" in told.out
    assert bytes_of(place) == before


def test_the_manifest_says_what_each_session_added(place, evaluate):
    evaluate("--only", "validity")
    evaluate("--only", "symmetry")
    manifest = read_manifest(place / "w" / "evaluate" / "made")
    first, second = manifest.sessions
    assert (first.added, second.added) == (["validity"], ["symmetry"])
    assert (first.changed, second.changed) == ([], ["`only` was validity, now validity,symmetry"])
    assert manifest.config["only"] == ["validity", "symmetry"]
    assert {"validity.valid", "symmetry.p1"} <= manifest.summary.keys()
    assert manifest.seconds >= second.seconds > 0


@pytest.mark.parametrize("at", ["the work", "the table", "the manifest"])
def test_an_interrupted_addition_loses_nothing_and_is_asked_for_again(at, place, evaluate, monkeypatch):
    from repdiff.metrics.evaluation import Evaluation
    from repdiff.runs import recording

    def stop(*_, **__):
        raise KeyboardInterrupt

    evaluate("--only", "validity")
    before = bytes_of(place)
    target = {
        "the work": (METRICS["symmetry"], "compute"),
        "the table": (Evaluation, "write"),
        "the manifest": (recording, "write_json"),
    }
    with monkeypatch.context() as patch:
        patch.setattr(*target[at], stop)
        told = evaluate("--only", "symmetry", status=130)
    if at != "the manifest":
        assert "give the same command again" in told.err
    after = bytes_of(place)
    assert after["manifest.json"] == before["manifest.json"]
    if at == "the work":
        assert after == before
    assert document(place)["metrics"]["validity"]
    evaluate("--only", "symmetry")
    assert set(document(place)["metrics"]) == {"validity", "symmetry"}


def test_what_a_session_without_an_end_wrote_is_computed_again(place, evaluate):
    evaluate("--only", "validity")
    file = place / "w" / "evaluate" / "made" / "metrics.json"
    strange = read_json(file)
    strange["metrics"]["validity"]["values"]["valid"]["value"] = 0.123
    write_json(file, strange)
    evaluate("--only", "symmetry")
    assert document(place)["metrics"]["validity"]["values"]["valid"]["value"] != 0.123


@pytest.mark.parametrize(
    ("first", "then", "said"),
    [
        (("--seed", "0"), ("--seed", "1"), "--seed was 0, now 1"),
        (("--n", "3"), ("--n", "2"), "--n was 3, now 2"),
        (("--relaxed", "made-toy"), ("--relaxed", "made-n3-toy"), "--relaxed was"),
        (("--relaxed", "made-toy"), ("--novelty", "KNOWN"), "--novelty was None, now"),
        (("--reference", "KNOWN"), ("--benchmark", "perov_5"), "--benchmark was None, now perov_5"),
    ],
)
def test_another_result_is_refused_in_one_line_that_says_what_differs(
    first, then, said, place, evaluate, relaxed
):
    relaxed()
    relaxed("--n", "3")
    first, then = (
        [str(place / "known") if word == "KNOWN" else word for word in words] for words in (first, then)
    )
    evaluate("--only", "validity", "--name", "a", *first)
    before = bytes_of(place, "a")
    told = evaluate("--only", "validity", "--name", "a", *then, status=2).err
    last = told.strip().splitlines()[-1]
    assert said in last
    assert "--name" in last
    assert "--overwrite" in last
    assert bytes_of(place, "a") == before


def test_the_terminal_names_flags_where_the_files_name_arguments(place, evaluate):
    out = evaluate().out
    assert "name them by --reference" in out
    assert "`" not in out.replace("`repdiff relax`", "")
    told = (place / "w" / "evaluate" / "made" / "table.txt").read_text()
    assert "name them by `reference`" in told
    assert "name them by `reference`" in document(place)["skipped"]["coverage"]


def test_several_sets_that_count_as_known_are_read_together_and_are_inputs_of_the_run(
    place, evaluate, relaxed
):
    relaxed()
    write_structures(place / "more", [crystal(f"more-{row}", 5 + row) for row in range(3)])
    named = f"{place / 'known'}, {place / 'more'}"
    evaluate("--only", "stability", "--relaxed", "made-toy", "--novelty", named)
    protocols = document(place)["metrics"]["stability"]["protocols"].values()
    counts = {(one["novel_against"], one["n_novel_against"]) for one in protocols if "novel_against" in one}
    assert counts == {(named, 9)}
    inputs = " ".join(read_manifest(place / "w" / "evaluate" / "made").inputs)
    assert str(place / "known") in inputs
    assert str(place / "more") in inputs
