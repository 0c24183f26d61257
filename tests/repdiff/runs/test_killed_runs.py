"""What killed processes and full disks leave, and what the next call makes of it."""

import errno
import json
import os
import subprocess
import sys
import time

import pytest

from repdiff.commands.info import describe
from repdiff.errors import UserError
from repdiff.runs import atomic_files, recording
from repdiff.runs.atomic_files import PARTS, RESERVE, sha256, write_json
from repdiff.runs.leftovers import is_partial, partial_path, remove_leftovers
from repdiff.runs.locks import locked
from repdiff.runs.manifest import read_manifest
from repdiff.runs.workspace import Workspace
from repdiff.settings import SECTIONS, EncodeSettings

ENCODE = EncodeSettings(dataset="prototypes")
CONFIG = "# To repeat this run: repdiff encode --config ws/encode/a/config.yaml\nencode:\n  seed: 0\n"
BEGINNINGS = {
    "nothing": {},
    "config": {"config.yaml": CONFIG},
    "a half-written config": {".repdiff-0a1b2c-123-config.yaml": "# To"},
    "config and a half-written manifest": {"config.yaml": CONFIG, ".repdiff-0a1b2c-123-manifest.json": "{"},
    "those of an earlier version": {"config.yaml": CONFIG, ".123-manifest.json": "{"},
}


@pytest.fixture
def workspace(tmp_path):
    return Workspace(root=tmp_path / "workspace")


def fill(folder, files):
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("files", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("verb", [verb for verb in SECTIONS if verb != "report"])
def test_a_run_killed_before_its_manifest_is_begun_anew(verb, files, overwrite, tmp_path):
    settings = SECTIONS[verb].model_construct() if verb != "encode" else ENCODE
    folder = fill(tmp_path / verb / "a", files)
    with Workspace(root=tmp_path, overwrite=overwrite).run(settings, "a") as run:
        (folder / "data.txt").write_text("data")
        assert run.state == "new"
    assert {file.name for file in folder.iterdir()} == {"config.yaml", "data.txt", "manifest.json"}


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize(
    "files",
    [
        {"config.yaml": "mine: 1\n"},
        {"config.yaml": CONFIG, "thesis.tex": "x"},
        {".notes": "x"},
        {"manifest.json": '{"name": "an extension of a browser"}', "icon.png": "x"},
        {"manifest.json": "[]"},
    ],
    ids=str,
)
def test_files_of_the_users_own_are_refused_and_stay(files, overwrite, workspace):
    folder = fill(workspace.root / "encode" / "a", files)
    mine = Workspace(root=workspace.root, overwrite=overwrite)
    with pytest.raises(UserError, match="choose another `name`"), mine.run(ENCODE, "a"):
        pass
    assert {file.name: file.read_text() for file in folder.iterdir()} == files


@pytest.mark.parametrize("text", ["{}", "[]", "null", '{"verb": "enc', ""])
def test_the_way_out_of_a_damaged_manifest_works(text, workspace):
    with workspace.run(ENCODE, "a") as run:
        (run.path / "data.txt").write_text("data")
    (run.path / "manifest.json").write_text(text)
    with pytest.raises(UserError, match=r"damaged.*replace it with `overwrite`"), workspace.run(ENCODE, "a"):
        pass
    with Workspace(root=workspace.root, overwrite=True).run(ENCODE, "a") as run:
        assert run.state == "new"
    assert read_manifest(run.path).status == "finished"


def test_the_manifest_is_there_before_anything_else(workspace, monkeypatch):
    written = []
    monkeypatch.setattr(recording, "write_json", lambda path, data: written.append(path.name))
    monkeypatch.setattr(recording, "_write_config", lambda path, settings: written.append("config.yaml"))
    with workspace.run(ENCODE, "a"):
        pass
    assert written == ["manifest.json", "config.yaml", "manifest.json"]


def die(workspace, code, name="a"):
    """Let a process open a run, do something, and be gone without a word."""
    program = (
        "import os, sys; from pathlib import Path; from repdiff.runs.workspace import Workspace;"
        "from repdiff.settings import EncodeSettings; from repdiff.runs.leftovers import partial_path\n"
        f"with Workspace(root=Path({str(workspace.root)!r}), overwrite={workspace.overwrite}).run("
        f"EncodeSettings(dataset='prototypes'), {name!r}) as run:\n    {code}; os._exit(1)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 1
    return workspace.root / "encode" / name


def test_a_run_whose_process_died_is_told_from_one_that_runs(workspace):
    path = die(workspace, "(run.path / 'part.txt').write_text('x')")
    assert read_manifest(path).status == "running"
    for told in (describe(path), describe(workspace.root)):
        assert "interrupted" in told
        assert "running" not in told
    assert "ended without a word" in describe(path)
    assert workspace.runs("encode")[path].status == "interrupted"
    with locked(path):
        assert "status: running" in describe(path)
        assert workspace.runs("encode")[path].status == "running"


def test_what_a_killed_process_left_half_written_is_removed_by_the_next_call(workspace):
    made = "; ".join(
        f"(run.path / {name!r}).parent.mkdir(exist_ok=True); partial_path(run.path / {name!r}).write_text('x')"
        for name in ("part.txt", "shards/a.parquet")
    )
    path = die(workspace, f"{made}; (run.path / 'part.txt').write_text('x')")
    folder = partial_path(path / "step-0000000010")
    folder.mkdir()
    (folder / "model.safetensors").write_text("x")
    (path / ".notes").write_text("of the user")
    assert len([file for file in path.rglob(".*") if is_partial(file)]) == 3
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "resumed"
        hidden = {file.name for file in path.rglob(".*")}
    assert hidden == {".notes", RESERVE}
    assert {file.name for file in path.rglob(".*")} == {".notes"}


def test_only_what_nobody_writes_any_more_is_removed_beside_other_processes(tmp_path):
    running, gone = partial_path(tmp_path / "a.parquet"), subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    of_gone = tmp_path / running.name.replace(f"-{os.getpid()}-", f"-{gone.pid}-")
    elsewhere = tmp_path / ".repdiff-ffffff-1-a.parquet"
    long_ago = tmp_path / ".repdiff-ffffff-2-a.parquet"
    for file in (running, of_gone, elsewhere, long_ago, tmp_path / ".2024-budget.xlsx"):
        file.write_text("x")
    os.utime(long_ago, (time.time() - 90_000,) * 2)
    remove_leftovers(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {running.name, elsewhere.name, ".2024-budget.xlsx"}


def test_a_finished_run_set_aside_by_a_process_that_was_killed_is_there_again(workspace):
    with workspace.run(ENCODE, "a") as run:
        (run.path / "data.txt").write_text("data")
    die(Workspace(root=workspace.root, overwrite=True), "pass")
    assert not (run.path / "data.txt").exists()
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "finished"
        assert (run.path / "data.txt").read_text() == "data"


def test_ctrl_c_before_anything_is_made_gives_back_what_was_to_be_replaced(workspace):
    with workspace.run(ENCODE, "a") as run:
        (run.path / "data.txt").write_text("data")
    with pytest.raises(KeyboardInterrupt), Workspace(root=workspace.root, overwrite=True).run(ENCODE, "a"):
        raise KeyboardInterrupt
    assert (run.path / "data.txt").read_text() == "data"


def test_parts_go_only_after_the_run_is_finished_and_never_count(workspace, monkeypatch):
    seen = []
    forget = recording.forget_passing
    monkeypatch.setattr(
        recording, "forget_passing", lambda path: (seen.append(read_manifest(path).status), forget(path))
    )
    with workspace.run(ENCODE, "a") as run:
        (run.path / PARTS).mkdir()
        (run.path / PARTS / "0.parquet").write_text("x")
        (run.path / "data.txt").write_text("data")
    assert seen == ["finished"]
    assert not (run.path / PARTS).exists()
    before = sha256(run.path)
    (run.path / PARTS).mkdir()  # by a process killed between the manifest and the end of its parts
    (run.path / PARTS / "0.parquet").write_text("x")
    assert sha256(run.path) == before
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "finished"
    assert not (run.path / PARTS).exists()


def test_a_folder_of_parts_that_is_no_run_counts(tmp_path):
    before = sha256(fill(tmp_path / "cifs", {"a.cif": "x"}))
    fill(tmp_path / "cifs" / PARTS, {"b.cif": "x"})
    assert sha256(tmp_path / "cifs") != before


def test_a_full_disk_has_room_for_the_last_words(workspace, monkeypatch):
    def refuse(path, data):
        if (path.parent / RESERVE).exists():
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_json(path, data)

    def work():
        with workspace.run(ENCODE, "a") as run:
            (run.path / "part.txt").write_text("x")
            assert (run.path / RESERVE).stat().st_size >= 16384
            monkeypatch.setattr(recording, "write_json", refuse)
            raise OSError(errno.ENOSPC, "No space left on device", "x.parquet")

    with pytest.raises(OSError, match="No space"):
        work()
    manifest = read_manifest(workspace.root / "encode" / "a")
    assert manifest.status == "interrupted"
    assert "No space left" in str(manifest.reason)


def test_a_disk_that_is_full_at_the_very_end_leaves_no_finished_run(workspace, monkeypatch):
    calls = []

    def refuse(path, data):
        calls.append(data["status"])
        if data["status"] == "finished":
            raise OSError(errno.ENOSPC, "No space left on device", str(path))
        write_json(path, data)

    monkeypatch.setattr(recording, "write_json", refuse)
    with pytest.raises(OSError, match="No space"), workspace.run(ENCODE, "a") as run:
        (run.path / "part.txt").write_text("x")
    assert calls == ["running", "finished", "interrupted"]
    assert read_manifest(run.path).status == "interrupted"


def test_json_nested_beyond_measure_is_damaged(tmp_path):
    (tmp_path / "x.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"x\.json: damaged"):
        atomic_files.read_json(tmp_path / "x.json")
    assert json.loads("[[]]") == [[]]
