import logging
import multiprocessing
import sys
import time

import numpy as np
import pytest
import yaml

from repdiff.errors import UserError
from repdiff.runs.atomic_files import read_json, sha256, write_json
from repdiff.runs.manifest import Input, read_manifest
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import EncodeSettings, EvaluateSettings, GenerateSettings, TrainSettings
from repdiff.settings.load import load_settings

ENCODE = EncodeSettings(dataset="prototypes")


@pytest.fixture
def workspace(tmp_path):
    return Workspace(root=tmp_path / "workspace")


def make(workspace, settings, name="a", *, inputs=None, **summary):
    with workspace.run(settings, name, inputs=inputs) as run:
        (run.path / "data.txt").write_text("data")
        run.summary.update(summary)
    return run.path


def interrupt(workspace, settings, name="a", error=KeyboardInterrupt):
    def work():
        with workspace.run(settings, name) as run:
            (run.path / "part.txt").write_text("half")
            raise error

    with pytest.raises(error) as caught:
        work()
    return workspace.root / settings.verb / name, caught.value


def test_a_run_writes_down_what_where_and_with_what(workspace, tmp_path):
    source = tmp_path / "source.csv"
    source.write_text("a")
    path = make(workspace, ENCODE, inputs={"dataset": source}, n_crystals=3)
    manifest = read_manifest(path)
    assert path == workspace.root / "encode" / "a"
    assert (manifest.verb, manifest.name, manifest.status, manifest.seed) == ("encode", "a", "finished", 0)
    assert manifest.summary == {"n_crystals": 3}
    assert manifest.inputs["dataset"] == Input(path=str(source), sha256=sha256(source))
    assert manifest.config == ENCODE.model_dump(mode="json")
    assert {"python", "torch", "repdiff", "pymatgen"} <= set(manifest.versions)
    assert manifest.hardware["cores"]
    assert manifest.finished is not None
    assert manifest.created <= manifest.finished


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux forgets the peak of a process's memory")
def test_the_memory_of_a_run_is_its_own(workspace):
    with workspace.run(ENCODE, "large") as run:
        large, held = run.path, np.ones(50_000_000)
        del held
    small = make(workspace, ENCODE, "small")
    peaks = [read_manifest(path).peak_memory_gib for path in (large, small)]
    assert peaks[0] - peaks[1] > 0.3


def test_the_written_config_gives_the_same_settings_again(workspace):
    given = {"max_epochs": 3, "block_weights": {"lattice": 2.0}, "max_minutes": 1.5}
    settings = load_settings(TrainSettings, None, given)
    path = make(workspace, settings)
    assert load_settings(TrainSettings, path / "config.yaml") == settings
    assert yaml.safe_load((path / "config.yaml").read_text()).keys() == {"train"}


def test_a_finished_run_is_used_again(workspace, caplog):
    caplog.set_level(logging.INFO)
    path = make(workspace, ENCODE, n_crystals=3)
    before = (path / "manifest.json").read_bytes()
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "finished"
        assert run.summary == {"n_crystals": 3}
    assert (path / "manifest.json").read_bytes() == before
    assert "is finished already" in caplog.text


def test_a_device_or_a_number_of_workers_does_not_make_another_run(workspace):
    make(workspace, ENCODE)
    with workspace.run(ENCODE.model_copy(update={"device": "cuda", "batch_atoms": 5}), "a") as run:
        assert run.state == "finished"


def test_other_settings_are_refused_and_nothing_is_lost(workspace):
    path = make(workspace, ENCODE)
    other = ENCODE.model_copy(update={"niggli": False})
    with (
        pytest.raises(UserError, match=r"`niggli` was True, now False.*`name`.*`overwrite`"),
        workspace.run(other, "a"),
    ):
        pass
    assert (path / "data.txt").exists()
    assert read_manifest(path).config["niggli"] is True


def test_overwrite_replaces_a_run(workspace):
    path = make(workspace, ENCODE)
    other = ENCODE.model_copy(update={"niggli": False})
    with Workspace(root=workspace.root, overwrite=True).run(other, "a") as run:
        assert run.state == "new"
        assert not (path / "data.txt").exists()
    assert read_manifest(path).config["niggli"] is False


def test_a_chosen_name_keeps_both_runs(workspace):
    make(workspace, ENCODE)
    path = make(Workspace(root=workspace.root, name="b"), ENCODE.model_copy(update={"niggli": False}))
    assert path.name == "b"
    assert len(workspace.runs("encode")) == 2


def test_a_changed_input_makes_another_run_and_a_moved_one_does_not(workspace, tmp_path):
    source = tmp_path / "source.csv"
    source.write_text("a")
    make(workspace, ENCODE, inputs={"dataset": source})
    moved = source.rename(tmp_path / "moved.csv")
    with workspace.run(ENCODE, "a", inputs={"dataset": moved}) as run:
        assert run.state == "finished"
    moved.write_text("b")
    with (
        pytest.raises(UserError, match=r"dataset` was .*source\.csv"),
        workspace.run(ENCODE, "a", inputs={"dataset": moved}),
    ):
        pass


def test_an_interrupted_run_says_what_is_kept_and_goes_on(workspace):
    path, error = interrupt(workspace, ENCODE)
    assert read_manifest(path).status == "interrupted"
    assert f"{path} keeps what was done" in error.__notes__[0]
    created = read_manifest(path).created
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "resumed"
        assert (path / "part.txt").exists()
    manifest = read_manifest(path)
    assert (manifest.status, manifest.n_sessions, manifest.created) == ("finished", 2, created)


def test_no_resume_starts_an_interrupted_run_anew(workspace):
    path, _ = interrupt(workspace, ENCODE)
    with workspace.run(ENCODE, "a", resume=False) as run:
        assert run.state == "new"
        assert not (path / "part.txt").exists()


def test_a_failed_run_keeps_its_reason(workspace):
    path, _ = interrupt(workspace, ENCODE, error=ZeroDivisionError)
    assert read_manifest(path).status == "interrupted"
    assert read_manifest(path).reason == "ZeroDivisionError"


def refuse(workspace, settings, name="a", error=UserError):
    with pytest.raises(error), workspace.run(settings, name):
        raise error("no")


@pytest.mark.parametrize("error", [UserError, OSError])
def test_a_run_refused_before_it_made_anything_leaves_no_folder(error, workspace):
    refuse(workspace, ENCODE, error=error)
    assert [path.name for path in workspace.root.rglob("*") if path.suffix != ".lock"] == ["encode"]
    with workspace.run(ENCODE.model_copy(update={"niggli": False}), "a") as run:
        assert run.state == "new"


def test_a_refused_run_gives_back_what_it_was_to_replace(workspace):
    path = make(workspace, ENCODE)
    before = {file: file.read_bytes() for file in path.iterdir()}
    mine = Workspace(root=workspace.root, overwrite=True)
    refuse(mine, ENCODE.model_copy(update={"niggli": False}))
    assert {file: file.read_bytes() for file in path.iterdir()} == before
    make(mine, ENCODE.model_copy(update={"niggli": False}))
    assert [one.name for one in path.parent.iterdir() if one.suffix != ".lock"] == ["a"]


def test_a_run_that_ended_before_it_made_anything_is_in_nobodys_way(workspace):
    with pytest.raises(ZeroDivisionError), workspace.run(ENCODE, "a") as run:
        raise ZeroDivisionError
    assert read_manifest(run.path).reason == "ZeroDivisionError"
    with workspace.run(ENCODE.model_copy(update={"niggli": False}), "a") as run:
        assert run.state == "new"


def test_more_of_the_same_goes_on_and_less_is_refused(workspace):
    few = GenerateSettings(n=10)
    make(workspace, few)
    with workspace.run(few.model_copy(update={"n": 20}), "a") as run:
        assert run.state == "resumed"
    with pytest.raises(UserError, match="`n` was 20, now 10"), workspace.run(few, "a"):
        pass


@pytest.mark.parametrize(("width", "state"), [(24, "finished"), (32, None)])
def test_a_finished_run_of_the_old_form_is_used_again_if_its_options_are_the_same(width, state, workspace):
    given = {"backend": "dpcdvae", "encoder.width": 24, "encoder.n_blocks": 3}
    given |= {"encoder.n_neighbors": 32, "encoder.max_neighbors": 64}
    path = make(workspace, load_settings(TrainSettings, None, given))
    manifest = read_json(path / "manifest.json")
    old = {name: value for name, value in manifest["config"].items() if name in TrainSettings.model_fields}
    old |= {"denoiser": "mlp", "timesteps": 1000, "schedule": "cosine", "block_weights": {}}
    old["backend_options"] = {"encoder.width": width}
    write_json(path / "manifest.json", {**manifest, "config": old})
    if state is None:
        with (
            pytest.raises(UserError, match="width` was 32, now 24"),
            workspace.run(load_settings(TrainSettings, None, given), "a"),
        ):
            pass
    else:
        with workspace.run(load_settings(TrainSettings, None, given), "a") as run:
            assert run.state == state


def test_another_budget_goes_on(workspace):
    make(workspace, TrainSettings(max_epochs=5))
    with workspace.run(TrainSettings(max_epochs=None, max_minutes=1), "a") as run:
        assert run.state == "resumed"


def test_what_only_adds_extends_a_finished_run_and_stays_when_it_is_not_given_again(workspace):
    plain = EvaluateSettings(structures="x", only=("validity",), baseline=False)
    make(workspace, plain, valid=1)
    more = EvaluateSettings(structures="x", only=("symmetry",), relaxed="r", hull="mp_20")
    more = workspace.with_kept(more, "a")
    assert more.only == ("validity", "symmetry")
    with workspace.run(more, "a") as run:
        assert run.state == "extended"
        assert run.changed == {"only", "relaxed", "hull", "baseline"}
        assert run.summary == {"valid": 1}
        assert read_manifest(run.path).config["relaxed"] is None
    again = workspace.with_kept(plain, "a")
    assert (again.only, str(again.relaxed), again.baseline) == (more.only, "r", True)
    with workspace.run(again, "a") as run:
        assert run.state == "finished"
    assert workspace.with_kept(EvaluateSettings(structures="x"), "a").only is None


@pytest.mark.parametrize("change", [{"relaxed": "s"}, {"hull": "mp_20"}, {"structures": "y"}])
def test_what_was_computed_with_something_else_is_refused(change, workspace):
    settings = EvaluateSettings(structures="x", relaxed="r")
    make(workspace, settings)
    changed = workspace.with_kept(settings.model_copy(update=change), "a")
    with pytest.raises(UserError, match=f"`{next(iter(change))}` was"), workspace.run(changed, "a"):
        pass


def test_the_input_of_what_is_added_may_appear_and_no_other(workspace, tmp_path):
    (tmp_path / "r").write_text("relaxed")
    settings = EvaluateSettings(structures="x")
    path = make(workspace, settings)
    more = settings.model_copy(update={"relaxed": tmp_path / "r"})
    with workspace.run(more, "a", inputs={"relaxed": tmp_path / "r"}) as run:
        assert run.state == "extended"
    assert set(read_manifest(path).inputs) == {"relaxed"}
    other = more.model_copy(update={"training": "t"})
    inputs = {"relaxed": tmp_path / "r", "strange": tmp_path / "r"}
    with pytest.raises(UserError, match="`strange` was None"), workspace.run(other, "a", inputs=inputs):
        pass
    (tmp_path / "r").write_text("others")
    with (
        pytest.raises(UserError, match="has changed since"),
        workspace.run(more, "a", inputs={"relaxed": tmp_path / "r"}),
    ):
        pass


def test_files_that_are_no_run_are_left_alone(workspace):
    folder = workspace.root / "encode" / "a"
    folder.mkdir(parents=True)
    (folder / "thesis.tex").write_text("x")
    mine = Workspace(root=workspace.root, overwrite=True)
    with pytest.raises(UserError, match="no run of repdiff"), mine.run(ENCODE, "a"):
        pass
    assert (folder / "thesis.tex").exists()


def test_the_newest_finished_run_is_taken_and_named(workspace, caplog):
    caplog.set_level(logging.INFO)
    make(workspace, ENCODE, "z")
    time.sleep(0.002)
    newest = make(workspace, ENCODE, "a")
    interrupt(workspace, ENCODE, "half")
    assert workspace.newest("encode") == newest
    assert str(newest) in caplog.text


def test_an_empty_workspace_names_the_command_to_run_first(workspace):
    with pytest.raises(
        UserError, match=r"no output of `repdiff encode` in .*: run `repdiff encode prototypes` first"
    ):
        workspace.newest("encode")


def test_an_unfinished_run_is_not_taken_by_itself_but_may_be_named(workspace, caplog):
    path, _ = interrupt(workspace, TrainSettings())
    with pytest.raises(UserError, match="is not finished"):
        workspace.newest("train")
    assert workspace.find("train", path) == path
    assert "although it is interrupted" in caplog.text


def test_an_input_is_found_by_path_by_name_and_otherwise_guessed(workspace, tmp_path):
    path = make(workspace, ENCODE, "perov_5-ead")
    assert workspace.find("encode", path) == path
    assert workspace.find("encode", type(path)("perov_5-ead")) == path
    assert workspace.find("encode", None) == path
    with pytest.raises(UserError, match=r"perov5-ead: no such path.*Did you mean 'perov_5-ead'"):
        workspace.find("encode", type(path)("perov5-ead"))


def test_a_damaged_manifest_is_reported_and_left_out(workspace, caplog):
    good, bad = make(workspace, ENCODE, "good"), make(workspace, ENCODE, "bad")
    (bad / "manifest.json").write_text('{"verb": "encode", "na')
    assert workspace.newest("encode") == good
    assert "bad/manifest.json: damaged" in caplog.text
    (bad / "manifest.json").write_text('{"verb": "encode"}')
    with pytest.raises(UserError, match=r"damaged \(name\)"):
        read_manifest(bad)


def test_another_process_of_the_same_job_writes_nothing(workspace, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with workspace.run(ENCODE, "a") as run:
        assert run.state == "new"
    assert not workspace.root.exists()


def hold(workspace, ready, done):
    with workspace.run(ENCODE, "a"):
        ready.set()
        done.wait(20)


def test_two_processes_do_not_work_in_one_folder(workspace):
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    process = context.Process(target=hold, args=(workspace, ready, done))
    process.start()
    try:
        assert ready.wait(60)
        with pytest.raises(UserError, match="in use by another process"), workspace.run(ENCODE, "a"):
            pass
    finally:
        done.set()
        process.join()
    assert process.exitcode == 0


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("perov_5-ead:paper", "perov_5-ead-paper"),
        ("../x/y", "x-y"),
        (".hidden", "hidden"),
        ("数据-ead", "数据-ead"),
        ("Größe 2", "Größe-2"),
        ("A\u030angstrom", "\xc5ngstrom"),
        ("odd\udcffname", "odd-name-43122ad2"),
    ],
)
def test_names_of_folders_stay_plain_and_inside_the_workspace(label, name):
    assert plain_name(label) == name


def test_a_name_without_letters_is_refused():
    with pytest.raises(UserError, match="expected letters"):
        plain_name("../..")


def test_names_that_differ_in_lost_signs_of_other_scripts_alone_stay_apart():
    names = ["🙂-ead", "🚀-ead", "ead", "कि-ead", "का-ead", "क-ead"]
    found = [plain_name(name) for name in names]
    assert len(set(found)) == len(names)
    assert [plain_name(name) for name in found] == found
    assert (found[2], found[5]) == ("ead", "क-ead")
    assert plain_name("e\u0301") == plain_name("é") == "é"


@pytest.mark.parametrize("letter", ["x", "数"])
def test_a_name_that_no_disk_takes_is_cut_and_stays_distinct_and_one_that_was_chosen_is_refused(
    letter, tmp_path
):
    one, other = (plain_name(letter * 300 + end) for end in "ab")
    assert one != other
    for name in (one, other):
        (tmp_path / f".{name}.lock").touch()
        assert plain_name(name) == name
    with pytest.raises(UserError, match="expected at most 200: choose a shorter one"):
        Workspace(name=letter * 300)
