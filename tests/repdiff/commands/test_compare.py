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
import yaml
from small_runs import SAMPLING

from repdiff.cli.main import main
from repdiff.comparison import cells
from repdiff.comparison.plan import BASELINE, Planner
from repdiff.comparison.results import Result, System, group_by_settings, read_costs, read_result
from repdiff.comparison.table import Comparison
from repdiff.runs.manifest import Manifest
from repdiff.runs.workspace import Workspace
from repdiff.settings import CompareSettings
from repdiff.settings.load import load_settings

TORUS = {
    "network.width": 8,
    "network.n_blocks": 1,
    "network.n_neighbors": 6,
    "network.max_neighbors": 8,
    "torus.timesteps": 4,
    "lattice.timesteps": 4,
}


def document(data, **changes):
    """A comparison of two systems of a few steps each."""
    systems = {
        "vectors": {
            "train": {
                "compositions": "joint",
                "timesteps": 20,
                "denoiser_options": {"width": 32, "n_blocks": 1},
            },
            "reconstruct": {"preset": "fast", "max_evaluations": 40, "n_workers": 1},
        },
        "torus": {"train": {"backend": "gemsdiff", **TORUS}},
    }
    return {
        "compare": {"seeds": [3], "at_once": 2, "systems": systems},
        "encode": {"dataset": str(data)},
        "train": {"max_epochs": None, "max_steps": 2, "batch_size": 8, "warmup_steps": 0},
        "generate": {"n": 2},
        "evaluate": {"reference": f"{data}:test", "only": ["validity", "distributions"]},
    } | changes


@pytest.fixture
def write(tmp_path, tiny_file):
    """Write the description of a comparison, changed by a function, and return its path."""

    def put(change=lambda document: None) -> Path:
        found = document(tiny_file)
        change(found)
        path = tmp_path / "three.yaml"
        path.write_text(yaml.safe_dump(found, sort_keys=False))
        return path

    return put


def plan(path, tmp_path):
    settings = load_settings(CompareSettings, path)
    return Planner(file=path, name="c", settings=settings, workspace=Workspace(root=tmp_path / "w")).plan()


def systems(rows, name):
    """What the systems have of one quantity."""
    return next(row["systems"] for row in rows if row["name"] == name)


def evaluated(name, rate, protocol):
    """A result of one metric."""
    values = {"rmse": {"value": rate, "protocol": protocol, "unit": ""}}
    metrics = {"metrics": {"matching": {"values": values, "protocols": {protocol: {"stol": 0.5}}}}}
    return Result(name=name, seeds={}, metrics=metrics, costs={}, settings={}, hardware={})


def test_values_by_different_protocols_stand_in_different_rows():
    one = System(name="one", results=(evaluated("a", 0.1, "pairs"), evaluated("b", 0.3, "pairs")))
    two = System(name="two", results=(evaluated("c", 0.2, "any"),))
    baseline = System(name=BASELINE, results=(evaluated("d", 0.4, "any"),))
    rows = Comparison(title="x", systems=(one, two), baseline=baseline).metrics()
    shown = [[cell and (cell.mean, cell.protocol) for cell in (*row.cells, row.baseline)] for row in rows]
    assert shown == [[(0.2, "pairs"), None, None], [None, (0.2, "any"), (0.4, "any")]]
    assert rows[0].cells[0].std == pytest.approx(0.02**0.5)


def finished(verb, seconds, peak, config=None, **summary):
    return Manifest(
        verb=verb, name=verb, seconds=seconds, peak_memory_gib=peak, config=config or {}, summary=summary
    )


def test_costs_are_those_of_all_runs_behind_an_evaluation():
    batch = {"batch_size": 8}
    steps = [
        finished("evaluate", 50.0, 9.0),
        finished("latents", 6.0, 1.5, n_crystals=12),
        finished("finetune", 20.0, 2.5, batch, steps=10, n_parameters=130),
        finished("train", 30.0, 2.0, batch, steps=100, n_parameters=100, training_seconds=70.0),
    ]
    assert read_costs({step.verb: step for step in steps}) == {
        "training_seconds": 90.0,
        "n_parameters": 130.0,
        "training_steps": 110.0,
        "samples_seen": 880.0,
        "sampling_seconds": 6.0,
        "seconds_per_structure": 0.5,
        "training_memory_gib": 2.5,
        "sampling_memory_gib": 1.5,
    }
    vectors = [finished("reconstruct", 40.0, 1.2), finished("generate", 10.0, 1.1, n=20)]
    costs = read_costs({step.verb: step for step in vectors})
    assert costs == {
        "sampling_seconds": 50.0,
        "seconds_per_structure": 2.5,
        "sampling_memory_gib": 1.2,
    }


def test_seeds_of_a_tuned_model_are_repeats_of_one_system(tmp_path):
    results = []
    for seed in (0, 1):
        folders = {
            verb: tmp_path / verb / str(seed) for verb in ("evaluate", "generate", "finetune", "train")
        }
        sources = {"evaluate": "structures", "generate": "model", "finetune": "from_run"}
        following = [*list(folders.values())[1:], None]
        for (verb, folder), source in zip(folders.items(), following, strict=True):
            config = {"seed": seed} | ({sources[verb]: str(source)} if source else {"batch_size": 8})
            manifest = Manifest(verb=verb, name=str(seed), status="finished", config=config, seed=seed)
            folder.mkdir(parents=True)
            (folder / "manifest.json").write_text(manifest.model_dump_json())
        (folders["evaluate"] / "metrics.json").write_text("{}")
        results.append(read_result(folders["evaluate"]))
    assert list(results[0].settings) == ["evaluate", "generate", "finetune", "train"]
    assert [len(group) for group in group_by_settings(results)] == [2]


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
    write, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(cells, "subprocess", SimpleNamespace(Popen=InThisProcess, PIPE=None))

    def spoil(document):
        document["compare"]["at_once"] = 1
        document["compare"]["systems"]["broken"] = {
            "train": {"backend": "gemsdiff", "encoded": "nowhere", **TORUS}
        }

    path = write(spoil)
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

    path = write(keep_torus)
    code, said = compare(path, tmp_path, capsys)
    assert (code, "failed:" in said.out) == (0, False)
    assert trained.stat().st_mtime_ns == before
    code, again = compare(path, tmp_path, capsys)
    assert (code, again.out) == (0, said.out)


def test_every_seed_is_a_cell_of_every_system_and_of_the_baseline(write, tmp_path):
    path = write(lambda document: document["compare"].update(seeds=[0, 5]))
    cells = plan(path, tmp_path).cells
    assert [(cell.system, cell.seed) for cell in cells] == [
        ("vectors", 0), ("torus", 0), ("vectors", 5), ("torus", 5), (BASELINE, 0), (BASELINE, 5),
    ]  # fmt: skip
    verbs = {cell.system: [step.verb for step in cell.steps] for cell in cells}
    assert verbs["vectors"] == ["train", "generate", "reconstruct", "evaluate"]
    assert verbs["torus"] == ["train", "generate", "evaluate"]
    assert verbs[BASELINE] == ["evaluate"]
    train, generate, reconstruct, evaluate = cells[2].steps
    assert (train.settings.seed, generate.settings.seed, reconstruct.settings.seed) == (5, 5, 5)
    assert evaluate.settings.seed == 0
    assert generate.settings.model == tmp_path / "w" / "train" / train.name
    assert evaluate.settings.structures == str(tmp_path / "w" / "reconstruct" / reconstruct.name)


def test_data_that_systems_have_in_common_are_encoded_once(write, tmp_path):
    assert [cell.name for cell in plan(write(), tmp_path).shared] == ["c-encode"]
    path = write(lambda document: document["compare"]["systems"]["torus"].update(encode={"limit": 30}))
    assert [cell.name for cell in plan(path, tmp_path).shared] == ["c-encode", "c-torus-encode"]


@pytest.mark.parametrize(
    ("own", "verbs"),
    [
        ({"evaluate": {"structures": "others.cif"}}, ["evaluate"]),
        ({"generate": {"model": "MODEL"}}, ["generate", "reconstruct", "evaluate"]),
        ({"train": {"encoded": "SET"}}, ["train", "generate", "reconstruct", "evaluate"]),
        ({"relax": {"max_steps": 2}}, ["train", "generate", "reconstruct", "relax", "evaluate"]),
    ],
)
def test_a_system_starts_from_what_it_is_given(own, verbs, write, tmp_path, tiny_workspace):
    model = next((tiny_workspace / "train").glob("[!.]*"))
    text = json.dumps(own).replace("MODEL", str(model))
    path = write(
        lambda document: document["compare"].update(systems={"given": json.loads(text)}, baseline=False)
    )
    (cell,) = plan(path, tmp_path).cells
    assert [step.verb for step in cell.steps] == verbs
    if "relax" in own:
        assert cell.steps[-1].settings.structures == str(tmp_path / "w" / "reconstruct" / cell.name)
        assert cell.steps[-1].settings.relaxed == tmp_path / "w" / "relax" / cell.name


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
def test_a_mistake_in_the_file_is_named_before_anything_is_run(change, message, write, tmp_path, capsys):
    code, said = compare(write(change), tmp_path, capsys)
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


@pytest.mark.usefixtures("_heeds_interrupts")
def test_an_interrupted_comparison_stops_its_cells_and_goes_on_later(write, tmp_path):
    def endless(document):
        document["compare"].update(systems={"torus": document["compare"]["systems"]["torus"]}, baseline=False)
        document["train"]["max_steps"] = 10**7

    words = [
        sys.executable,
        "-m",
        "repdiff",
        "compare",
        str(write(endless)),
        "--workspace",
        str(tmp_path / "w"),
    ]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=dict(os.environ))
    log = tmp_path / "w" / "train" / "three-torus-seed3" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while not (log.is_file() and log.stat().st_size) and time.monotonic() < deadline:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said.decode()
    manifest = json.loads((log.parent / "manifest.json").read_text())
    assert manifest["status"] == "interrupted"
    assert any((log.parent / "checkpoints").iterdir())
