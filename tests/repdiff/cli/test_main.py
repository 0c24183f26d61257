import json
import logging
import os
import re
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest

from repdiff.cli.main import HELP, main
from repdiff.errors import UserError
from repdiff.runs.manifest import read_manifest
from repdiff.runs.workspace import Workspace
from repdiff.settings import SECTIONS
from repdiff.settings.backends import OWN
from repdiff.settings.compose import completed
from repdiff.settings.leaves import leaves


@pytest.fixture
def fake(monkeypatch):
    """Put a stand-in for the work of a verb in place; it returns the list of what it was called with."""

    def put(verb, work=None):
        calls = []

        def run(settings, workspace):
            calls.append((settings, workspace))
            with workspace.run(settings, "fake") as folder:
                if work is not None:
                    work(folder)
            return folder.path

        monkeypatch.setitem(
            sys.modules, f"repdiff.commands.{verb}", types.SimpleNamespace(**{f"run_{verb}": run})
        )
        return calls

    return put


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_verb_prints_its_path_on_stdout_and_nothing_else(fake, capsys):
    fake("train", lambda run: logging.getLogger("repdiff.commands.train").info("epoch 1"))
    assert main(["train"]) == 0
    told = capsys.readouterr()
    assert told.out == "repdiff-workspace/train/fake\n"
    assert told.err == "repdiff train: epoch 1\n"


def test_flags_and_file_reach_the_verb(fake, tmp_path):
    calls = fake("train")
    Path("x.yaml").write_text("seed: 4\ntrain: {max_epochs: 5, batch_size: 6}")
    flags = [
        "--config",
        "x.yaml",
        "--max-epochs",
        "7",
        "--no-resume",
        "--denoiser",
        "unet1d",
        "--block-weights",
        "a=2",
    ]
    assert main(["train", *flags, "--workspace", "w", "--name", "n", "--overwrite"]) == 0
    settings, workspace = calls[0]
    assert (settings.max_epochs, settings.batch_size, settings.seed) == (7, 6, 4)
    assert (settings.resume, settings.denoiser, settings.block_weights) == (False, "unet1d", {"a": 2})
    assert workspace == Workspace(root=Path("w"), name="n", overwrite=True)


def test_the_data_set_stands_without_a_flag(fake):
    calls = fake("encode")
    assert main(["encode", "perov_5", "--no-niggli"]) == 0
    assert (calls[0][0].dataset, calls[0][0].niggli) == ("perov_5", False)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["relax", "--n", "0"], "repdiff relax: --n is 0, expected at least 1"),
        (["encode"], "repdiff encode: DATASET is missing"),
        (["trian"], "repdiff: unknown command 'trian'; known: download, encode, .* Did you mean 'train'"),
        (["train", "--max-epoch", "3"], "repdiff train: No such option.*--max-epochs"),
        (["train", "--max-epochs"], "repdiff train: Option '--max-epochs' requires an argument"),
        (["train", "--config", "none.yaml"], "repdiff train: none.yaml: No such file"),
        (["info", "none"], "repdiff info: none: no such file or folder"),
        (["info"], "repdiff info: Missing argument 'PATH'"),
    ],
)
def test_a_mistake_is_one_line_on_stderr_and_code_2(argv, message, capsys):
    assert main(argv) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.count("\n") == 1
    assert re.match(message, told.err)


def test_a_mistake_found_during_the_work_is_one_line(fake, capsys):
    def work(run):
        raise UserError("x.csv has no column\n'cif'")

    fake("encode", work)
    assert main(["encode", "x.csv"]) == 2
    assert capsys.readouterr().err == "repdiff encode: x.csv has no column 'cif'\n"


def test_our_own_mistakes_keep_their_traceback(fake):
    def work(run):
        raise ZeroDivisionError

    fake("train", work)
    with pytest.raises(ZeroDivisionError):
        main(["train"])


def test_an_interrupt_says_what_is_kept_and_how_to_go_on(fake, capsys):
    def work(run):
        raise KeyboardInterrupt

    fake("train", work)
    assert main(["train"]) == 130
    told = capsys.readouterr()
    assert (
        "repdiff train: interrupted; repdiff-workspace/train/fake keeps what was done; give the same"
        in told.err
    )
    assert read_manifest(Path("repdiff-workspace/train/fake")).status == "interrupted"


def test_a_full_disk_is_one_line(fake, capsys):
    def work(run):
        raise OSError(28, "No space left on device", "x")

    fake("train", work)
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "repdiff train: x: the disk is full: free some space\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_without_permission_is_one_line(fake, capsys, tmp_path):
    fake("train")
    (tmp_path / "locked").mkdir(mode=0o500)
    assert main(["train", "--workspace", "locked/w"]) == 2
    assert "permission denied" in capsys.readouterr().err


def test_a_workspace_that_is_a_file_is_one_line(fake, capsys, tmp_path):
    fake("train")
    (tmp_path / "w").write_text("x")
    assert main(["train", "--workspace", "w"]) == 2
    assert "expected a folder" in capsys.readouterr().err


def test_the_second_process_of_a_job_prints_no_path(fake, capsys, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    fake("train")
    assert main(["train"]) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("verb", ["rank", "evaluate", "reconstruct"])
def test_verbs_that_work_in_one_process_refuse_several(verb, fake, capsys, monkeypatch):
    fake(verb)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert main([verb]) == 2
    assert "2 processes were started" in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert main([verb]) == 0


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_training_takes_several_processes(verb, fake, monkeypatch):
    fake(verb)
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2")):
        monkeypatch.setenv(name, value)
    assert main([verb]) == 0


def test_help_lists_the_verbs_in_the_order_of_work(capsys):
    assert main([]) == 0
    told = capsys.readouterr().out
    places = [told.index(f"  {verb} ") for verb in HELP]
    assert places == sorted(places)


@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_the_help_of_a_verb_names_every_setting(verb, capsys):
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    model = SECTIONS[verb]
    for leaf in leaves(completed(model, model.only_backend or "structrepdiff")):
        if leaf.extra["only_in_file"]:
            continue
        assert (f"{leaf.key.upper()}:" if leaf.extra["positional"] else f"--{leaf.flag}") in told
    assert not re.search(r"^  \W?[A-Z_]+\W*$", told, re.MULTILINE)  # a name that nothing is said of


@pytest.mark.parametrize("backend", OWN)
def test_the_help_of_a_backend_shows_its_options_under_their_headings_and_no_others(backend, capsys):
    assert main(["train", "--backend", backend, "--help"]) == 0
    told = capsys.readouterr().out
    headings = ["Most used:", "Model:", "Noise process:", "Optimiser and loss:", "Output:"]
    if backend == "retrieval":  # has neither a network nor a noise process
        headings = [headings[0], *headings[3:]]
    assert [told.index(heading) for heading in headings] == sorted(
        told.index(heading) for heading in headings
    )
    for other in OWN:
        for leaf in leaves(completed(SECTIONS["train"], other)):
            mine = leaf.flag in {one.flag for one in leaves(completed(SECTIONS["train"], backend))}
            if not leaf.extra["only_in_file"]:
                assert (f"  --{leaf.flag} " in told) == mine, leaf.flag


def test_help_of_generate_needs_no_model(capsys):
    assert main(["generate", "--help"]) == 0
    assert "--sampler" in capsys.readouterr().out
    assert main(["generate", "--backend", "gemsdiff", "--help"]) == 0
    assert "--positions" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--backend", "gemsdiff", "--denoiser", "mlp"], "of dpcdvae and structrepdiff, not of gemsdiff"),
        (["--torus-timesteps", "5"], "--torus-timesteps: it is an option of gemsdiff, not of structrepdiff"),
        (["--backend", "gemsdif"], "unknown backend 'gemsdif'; known: .* Did you mean 'gemsdiff'"),
        (["--config", "perov_cpu"], "unknown config 'perov_cpu'; known: .* Did you mean 'perov5_cpu'"),
        (["--backend", "gemsdiff", "--network-width", "2"], "--network-width is 2, expected at least 4"),
        (
            ["--max-epochs", "none"],
            "no budget, expected at least one of --max-epochs, --max-steps, --max-minutes",
        ),
    ],
)
def test_a_mistake_of_options_names_the_flag_and_the_way_out(argv, message, capsys):
    assert main(["train", *argv]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_options_of_a_backend_reach_the_verb_from_flags_a_shipped_config_and_the_old_form(fake):
    calls = fake("train")
    main(["train", "--config", "gemsdiff_perov5_cpu", "--torus-timesteps", "50", "--workspace", "a"])
    main(["train", "--backend", "gemsdiff", "--backend-options", "torus.timesteps=50", "--workspace", "b"])
    assert [(call[0].backend, call[0].torus.timesteps) for call in calls] == [("gemsdiff", 50)] * 2
    assert (calls[0][0].network.n_neighbors, calls[1][0].network.n_neighbors) == (20, 32)


def test_a_user_error_is_a_value_error_that_names_arguments_where_the_command_line_names_flags(fake, capsys):
    def work(run):
        raise UserError("`max_epochs` is bad, choose another `name`, see `repdiff train`")

    fake("train", work)
    assert main(["train"]) == 2
    assert (
        capsys.readouterr().err
        == "repdiff train: --max-epochs is bad, choose another --name, see `repdiff train`\n"
    )
    assert issubclass(UserError, ValueError)


@pytest.mark.parametrize(
    "argv",
    [
        ["--help"],
        ["train", "--help"],
        ["train", "--backend", "mattergen", "--help"],
        ["generate", "--help"],
        ["train", "--max-epochs", "x"],
    ],
)
def test_help_and_mistakes_load_nothing_heavy(argv):
    code = (
        f"import sys; from repdiff.cli.main import main; main({argv}); print([*sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-O", "-c", code], capture_output=True, text=True, check=True)
    loaded = done.stderr.splitlines()[-1]
    assert "'repdiff.errors'" in loaded
    for module in ("torch", "numpy", "pymatgen", "scipy", "ase"):
        assert f"'{module}'" not in loaded


def test_the_list_of_commands_loads_no_settings():
    code = "import sys; from repdiff.cli.main import main; main(['--help']); print([*sys.modules], file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    for module in ("pydantic", "yaml", "importlib.metadata"):
        assert f"'{module}'" not in done.stderr.splitlines()[-1]


def test_a_polite_kill_leaves_a_run_that_can_go_on(tmp_path):
    code = (
        "import sys, types, time, repdiff.cli.main as cli\n"
        "def run(settings, workspace):\n"
        "    with workspace.run(settings, 'fake') as folder:\n"
        "        print('ready', flush=True); time.sleep(60)\n"
        "sys.modules['repdiff.commands.train'] = types.SimpleNamespace(run_train=run)\n"
        "sys.argv = ['repdiff', 'train']; cli.run()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGTERM)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "keeps what was done" in told
    manifest = json.loads((tmp_path / "repdiff-workspace/train/fake/manifest.json").read_text())
    assert manifest["status"] == "interrupted"


@pytest.mark.parametrize(
    ("word", "now"),
    [
        ("--floor", "--baseline"),
        ("--no-floor", "--no-baseline"),
        ("--floor-size=3", "--baseline-size=3"),
        ("floor", "floor"),
    ],
)
def test_an_old_flag_is_taken_for_the_new_one(word, now):
    from repdiff.cli.main import _new_flag

    assert _new_flag("evaluate", word) == now
