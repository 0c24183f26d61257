"""`repdiff compare`: cells that are run, a cell that fails, and evaluations that are there already."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

import pytest
from small_comparison import TORUS
from small_runs import SAMPLING

from repdiff.cli.main import main
from repdiff.comparison import cells
from repdiff.comparison.plan import BASELINE


def systems(rows, name):
    """What the systems have of one quantity."""
    return next(row["systems"] for row in rows if row["name"] == name)


def compare(path, tmp_path, capsys, *flags):
    code = main(["compare", str(path), "--workspace", str(tmp_path / "w"), *flags])
    return code, capsys.readouterr()


class InThisProcess(subprocess.Popen):
    """Stands in for the process of a cell, which would import all the libraries; the next test has real ones."""

    def __init__(self, words, *, stderr, **_):
        said, told = io.StringIO(), io.StringIO()
        with redirect_stdout(said), redirect_stderr(told):
            commands = json.loads(Path(words[-1]).read_text())
            self.status = next((status for command in commands if (status := main(command))), 0)
        stderr.write(told.getvalue().encode())
        self.stdout, self.stdin = io.BytesIO(said.getvalue().encode()), io.BytesIO()

    def wait(self, timeout=None):
        return self.status


@pytest.mark.usefixtures("_quick_search")
def test_systems_are_trained_judged_and_put_in_one_table_and_a_failing_one_is_reported(
    write_comparison, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cells, "subprocess", SimpleNamespace(Popen=InThisProcess, PIPE=None))

    def spoil(document):
        document["compare"]["at_once"] = 1
        document["compare"]["systems"]["broken"] = {
            "train": {"backend": "gemsdiff", "encoded": "nowhere", **TORUS}
        }

    path = write_comparison(spoil)
    code, said = compare(path, tmp_path, capsys)
    assert code == 2
    assert "1 of 4 cells failed" in said.err
    assert "nowhere: no such path" in said.err
    assert len([line for line in said.err.splitlines() if "Traceback" in line]) == 0
    folder = tmp_path / "w" / "compare" / "three"
    found = json.loads((folder / "comparison.json").read_text())
    assert systems(found["metrics"], "validity.structure_valid").keys() == {"vectors", "torus", BASELINE}
    assert systems(found["costs"], "n_parameters")["vectors"]["mean"] > 1000
    assert systems(found["costs"], "training_steps")["torus"]["values"] == [2.0]
    assert systems(found["costs"], "samples_seen")["torus"]["values"] == [16.0]
    assert list(found["failed"]) == ["three-broken-seed3"]
    table = (folder / "table.txt").read_text()
    assert "torus (n = 1)" in table
    assert "broken (n = 0)" in table
    assert "failed: three-broken-seed3: train: " in table
    page = (folder / "comparison.html").read_text()
    assert "three-broken-seed3 failed" in page
    assert "Structure valid" in page

    trained = tmp_path / "w" / "train" / "three-torus-seed3" / "model.safetensors"
    before = trained.stat().st_mtime_ns

    def keep_torus(document):
        systems = document["compare"]["systems"]
        document["compare"].update(systems={"torus": systems["torus"]}, baseline=False, at_once=1)

    path = write_comparison(keep_torus)
    code, said = compare(path, tmp_path, capsys)
    assert (code, "failed:" in said.out) == (0, False)
    assert trained.stat().st_mtime_ns == before
    code, again = compare(path, tmp_path, capsys)
    assert (code, again.out) == (0, said.out)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["compare"].update(systems={}), "no system to compare"),
        (lambda d: d["compare"].update(seeds=[1, 1]), "each once"),
        (lambda d: d["compare"].update(seeds=[-1]), "at least 0"),
        (lambda d: d["compare"]["systems"].update(x={"trian": {}}), "Did you mean 'train'"),
        (lambda d: d["compare"]["systems"].update(x={"train": 3}), "section train is 3"),
        (lambda d: d["compare"]["systems"].update(x={"train": {"batch_sise": 3}}), "batch_size"),
        (lambda d: d["compare"]["systems"].update(x={"train": {"batch_size": 0}}), "at least 1"),
        (lambda d: d["compare"]["systems"].update(x={"train": {"backend": "gemdiff"}}), "gemsdiff"),
        (
            lambda d: d["compare"]["systems"].update(
                x={"train": {"backend": "gemsdiff", "network.widht": 3}}
            ),
            "Did you mean 'network.width'",
        ),
        (lambda d: d["compare"]["systems"].update({BASELINE: {}}), "the name of the baseline"),
        (lambda d: d["evaluate"].update(only=["validty"]), "validity"),
        (lambda d: d["evaluate"].update(reference=None), "baseline needs a reference"),
        (lambda d: d.pop("encode"), "`dataset` is missing"),
    ],
)
def test_a_mistake_in_the_file_is_named_before_anything_is_run(
    change, message, write_comparison, tmp_path, capsys
):
    code, said = compare(write_comparison(change), tmp_path, capsys)
    assert code == 2
    assert message in said.err
    assert len(said.err.strip().splitlines()) == 1
    assert not (tmp_path / "w" / "train").exists()


def test_nothing_to_compare_is_a_mistake(tmp_path, capsys):
    assert main(["compare", "--workspace", str(tmp_path)]) == 2
    assert "expected a YAML file" in capsys.readouterr().err


def test_finished_evaluations_are_compared_and_seeds_of_one_system_put_together(run, tiny_file, tmp_path):
    paths = []
    quickly = ("--preset", "fast", "--max-evaluations", "20", "--n-workers", "1")
    for seed in ("1", "2"):
        made = run("generate", "--n", "2", "--seed", seed, *SAMPLING, "--name", f"g{seed}")[1]
        inverted = run("reconstruct", "--generated", str(made), *quickly, "--name", f"r{seed}")[1]
        paths.append(run("evaluate", str(inverted), "--only", "validity", "--name", f"e{seed}")[1])
    paths.append(run("evaluate", str(tiny_file), "--n", "4", "--only", "validity", "--name", "known")[1])
    code, path, said = run("compare", *(one.name for one in paths))
    assert code == 0, said
    found = json.loads((path / "comparison.json").read_text())
    assert [len(system["runs"]) for system in found["systems"]] == [2, 1]
    values = systems(found["metrics"], "validity.structure_valid")["e1"]["values"]
    single = [
        json.loads((one / "metrics.json").read_text())["metrics"]["validity"]["values"] for one in paths[:2]
    ]
    assert values == [one["structure_valid"]["value"] for one in single]
    assert systems(found["costs"], "sampling_seconds")["e1"]["mean"] > 0
    other = shutil.copytree(paths[0], tmp_path / "elsewhere" / "evaluate" / "e1")
    code, path, said = run("compare", str(paths[0]), str(other))
    assert code == 0, said
    found = json.loads((path / "comparison.json").read_text())
    names = [system["name"] for system in found["systems"]]
    assert names == [f"{paths[0].parts[-3]}/evaluate/e1", "elsewhere/evaluate/e1"]
    code, _, said = run("compare", str(paths[0]), str(inverted))
    assert (code, "expected a finished evaluation" in said) == (2, True)


@pytest.mark.timeout(900)
@pytest.mark.usefixtures("_heeds_interrupts")
def test_an_interrupted_comparison_stops_its_cells_and_goes_on_later(write_comparison, tmp_path):
    def endless(document):
        document["compare"].update(systems={"torus": document["compare"]["systems"]["torus"]}, baseline=False)
        document["train"]["max_steps"] = 10**7

    words = [
        sys.executable,
        "-m",
        "repdiff",
        "compare",
        str(write_comparison(endless)),
        "--workspace",
        str(tmp_path / "w"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    log = tmp_path / "w" / "train" / "three-torus-seed3" / "metrics.jsonl"
    deadline = time.monotonic() + 600  # two cores may be shared by many
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=240)
    assert process.returncode == 130, said.decode()
    manifest = json.loads((log.parent / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert any((log.parent / "checkpoints").iterdir())
