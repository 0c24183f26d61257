"""What is wrong with the choice of an executor is told in one line, before anything is started."""

import sys

import pytest

import repdiff as rd
from repdiff.cli.main import main
from repdiff.errors import UserError
from repdiff.execution.executors import read_cluster, use_executor


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--executor", "dask"], "--executor is dask, expected --scheduler or --cluster too"),
        (
            ["--executor", "local", "--scheduler", "tcp://a:1"],
            "--executor is local, which has no --scheduler",
        ),
        (["--scheduler", "tcp://a:1", "--cluster", "x.yaml"], "--scheduler and --cluster are both given"),
        (["--scheduler", "somewhere"], "--scheduler is 'somewhere', expected an address such as tcp://"),
        (["--cluster", "no.yaml"], "no.yaml: No such file or directory"),
        (["--executor", "dusk"], "--executor is dusk, expected one of local, dask"),
    ],
)
def test_options_that_do_not_go_together_are_told_in_one_line(words, told, tmp_path, capsys):
    assert main(["reconstruct", "--dataset", "prototypes", "--workspace", str(tmp_path), *words]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "kind: slurm\njob: 3",
            "unknown key 'job'; known: kind, jobs, workers, options. Did you mean 'jobs'?",
        ),
        ("kind: slum\njobs: 3", "unknown kind 'slum'; known: slurm, pbs, lsf, local. Did you mean 'slurm'?"),
        ("kind: slurm\nworkers: 3", "workers is for another kind than slurm, expected jobs"),
        ("kind: local", "workers is None, expected how many to start"),
        ("kind: local\nworkers: many", "workers is 'many'"),
        ("jobs: 3", "kind"),
    ],
)
def test_mistakes_in_the_file_of_a_cluster_are_told_in_one_line(text, told, tmp_path):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError) as caught:
        read_cluster(tmp_path / "c.yaml")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("kind: slurm\njobs: 3\noptions: {que: x}", "unknown option 'que'.*Did you mean 'queue'"),
        ("kind: local\nworkers: 3\noptions: {memory_limits: 2GB}", "Did you mean 'memory_limit'"),
    ],
)
def test_options_that_the_package_does_not_know_are_refused(text, told, tmp_path):
    pytest.importorskip("dask_jobqueue", reason="needs repdiff[cluster]")
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(UserError, match=told), use_executor(cluster=tmp_path / "c.yaml"):
        pass


def test_the_file_of_a_cluster_must_have_a_name():
    with pytest.raises(UserError, match="`cluster` is '', expected the name of a YAML file"):
        rd.use_executor(cluster="").__enter__()


def test_without_the_packages_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "repdiff.execution.dask_start", None)
    with (
        pytest.raises(UserError, match=r"pip install 'repdiff\[cluster\]'"),
        rd.use_executor(scheduler="tcp://a:1"),
    ):
        pass
