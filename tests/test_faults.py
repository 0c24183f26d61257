"""The harness that disturbs the verbs: it finds what it is made to find, and one kill of it runs."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"


@pytest.fixture
def verbs(monkeypatch):
    monkeypatch.syspath_prepend(str(SCRIPTS))
    return importlib.import_module("fault_verbs")


def test_results_leave_out_measured_times_and_see_all_else(verbs, tmp_path):
    def results(**values):
        (tmp_path / "metrics.json").write_text(
            json.dumps({"valid": 0.5, "seconds": 1.0, "n": [1, 2]} | values)
        )
        return verbs.results(tmp_path)

    first = results()
    assert results(seconds=2.0, training_seconds=3) == first
    assert results(costs=[{"name": "training_seconds", "mean": 1}]) == results(costs=[])
    assert results(valid=0.6) != first
    assert results(n=[1, 3]) != first
    (tmp_path / ".repdiff-ffffff-1-a.json").write_text("{}")
    assert results().keys() == first.keys()


def test_every_verb_reads_only_what_is_made_for_it(verbs):
    assert {name for verb in verbs.VERBS.values() for name in verb.reads} <= set(
        map(verbs.made_by, verbs.FIRST)
    )
    assert list(verbs.needed(["hull", "similar"])) == ["encode", "train", "generate", "reconstruct"]
    assert list(verbs.needed(["hull"])) == []


@pytest.mark.slow
def test_a_kill_of_one_verb_is_recovered_from(tmp_path):
    words = ["--kinds", "kill", "--kills", "1", "--verbs", "encode"]
    out = tmp_path / "faults.json"
    command = [sys.executable, str(SCRIPTS / "faults.py"), *words, "--out", str(out)]
    environment = os.environ | {"PYTHONPATH": str(SCRIPTS.parent)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(out.read_text())["n"] == 1
