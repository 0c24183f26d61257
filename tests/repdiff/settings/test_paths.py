"""`~user` of nobody and an empty path are refused in one line, whatever takes a path."""

from pathlib import Path

import known_crystals
import pytest
from ase.build import bulk

import repdiff as rd
from repdiff.cli.main import main
from repdiff.errors import UserError
from repdiff.settings import EvaluateSettings
from repdiff.settings.paths import home_expanded

NOWHERE = "~no-such-user/x"
API = {
    "load_dataset": lambda: rd.load_dataset(NOWHERE),
    "load_dataset, a path": lambda: rd.load_dataset(Path(NOWHERE)),
    "data_dir": lambda: rd.load_dataset("mp_20", data_dir=NOWHERE),
    "read": lambda: rd.read(NOWHERE),
    "read, a path": lambda: rd.read(Path(NOWHERE)),
    "write": lambda: rd.write(NOWHERE, known_crystals.family()[:1]),
    "hull": lambda: rd.evaluate(known_crystals.family()[:1], hull=NOWHERE),
    "novelty": lambda: rd.evaluate(known_crystals.family()[:1], novelty=NOWHERE),
    "load_model": lambda: rd.load_model(NOWHERE),
    "load_model in a workspace": lambda: rd.load_model("x", workspace=NOWHERE),
    "settings": lambda: EvaluateSettings(data_dir=NOWHERE),
}
COMMANDS = [
    ["encode", NOWHERE],
    ["evaluate", NOWHERE],
    ["train", "--encoded", NOWHERE],
    ["generate", "--model", NOWHERE],
    ["reconstruct", "--dataset", NOWHERE],
    ["degeneracy", NOWHERE],
    ["relax", NOWHERE],
    ["info", NOWHERE],
    ["evaluate", f"--config={NOWHERE}"],
    ["encode", "prototypes", f"--data-dir={NOWHERE}"],
    ["encode", "prototypes", f"--workspace={NOWHERE}"],
]


@pytest.mark.parametrize("name", sorted(API))
def test_python_refuses_the_home_folder_of_nobody(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="~no-such-user is no home folder"):
        API[name]()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_commands_refuse_the_home_folder_of_nobody(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "~no-such-user is no home folder" in line
    assert not list(tmp_path.iterdir())


def test_home_is_written_out_and_a_file_of_such_a_name_stays(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "~backup.cif").touch()
    assert home_expanded("~/x") == tmp_path / "x"
    assert home_expanded("~backup.cif") == Path("~backup.cif")
    with pytest.raises(UserError, match=r"write \./~other.cif"):
        home_expanded(Path("~other.cif"))


EMPTY_API = {
    "load_dataset": lambda: rd.load_dataset(""),
    "load_dataset, a split": lambda: rd.load_dataset("", split="train"),
    "data_dir": lambda: rd.load_dataset("prototypes", data_dir=""),
    "read": lambda: rd.read(""),
    "write": lambda: rd.write("", known_crystals.family()[:1]),
    "reference": lambda: rd.evaluate(known_crystals.family()[:1], ""),
    "training": lambda: rd.evaluate(known_crystals.family()[:1], training=""),
    "novelty": lambda: rd.evaluate(known_crystals.family()[:1], novelty=""),
    "hull": lambda: rd.evaluate(known_crystals.family()[:1], hull=""),
    "load_model": lambda: rd.load_model(""),
    "load_model in a workspace": lambda: rd.load_model("x", workspace=""),
    "settings": lambda: EvaluateSettings(data_dir=""),
    "settings, a name": lambda: EvaluateSettings(reference=""),
}
EMPTY_COMMANDS = [
    ["encode", ""],
    ["encode", "copper.cif", "--data-dir="],
    ["encode", "copper.cif", "--workspace="],
    ["evaluate", ""],
    ["evaluate", "copper.cif", "--config="],
    ["evaluate", "copper.cif", "--reference="],
    ["evaluate", "copper.cif", "--training="],
    ["evaluate", "copper.cif", "--novelty="],
    ["evaluate", "copper.cif", "--relaxed="],
    ["evaluate", "copper.cif", "--hull="],
    ["train", "--encoded="],
    ["finetune", "--property=x", "--from="],
    ["generate", "--model="],
    ["generate", "--workspace="],
    ["latents", "encode", ""],
    ["reconstruct", "--dataset="],
    ["degeneracy", ""],
    ["relax", ""],
    ["hull", "build", ""],
    ["compare", "", "x"],
    ["report", ""],
    ["report", "--output="],
    ["info", ""],
]


@pytest.fixture
def _among_crystals(tmp_path, monkeypatch):
    """Stand in a folder that holds a crystal, which an empty path would find."""
    monkeypatch.chdir(tmp_path)
    rd.write("copper.cif", bulk("Cu"))
    yield
    assert [path.name for path in tmp_path.iterdir()] == ["copper.cif"]


@pytest.mark.usefixtures("_among_crystals")
@pytest.mark.parametrize("name", sorted(EMPTY_API))
def test_python_takes_an_empty_path_for_no_folder(name):
    with pytest.raises(ValueError, match="empty, expected a"):
        EMPTY_API[name]()


@pytest.mark.usefixtures("_among_crystals")
@pytest.mark.parametrize("words", EMPTY_COMMANDS, ids=" ".join)
def test_commands_take_an_empty_path_for_no_folder(words, capsys):
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "empty, expected a" in line


@pytest.mark.usefixtures("_among_crystals")
def test_the_current_folder_is_a_path_like_others():
    assert len(rd.read(".").crystals) == len(rd.load_dataset(Path()).crystals) == 1
