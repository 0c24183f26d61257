"""`~user` of nobody is refused in one line, whatever takes a path."""

from pathlib import Path

import known_crystals
import pytest

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
