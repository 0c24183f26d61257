"""Messages never act on a terminal, and names of runs never lead out of the workspace."""

import logging

import pytest

from repdiff.cli.main import main
from repdiff.cli.messages import messages, one_line
from repdiff.errors import UserError
from repdiff.runs.workspace import Workspace


@pytest.mark.parametrize("sign", ["\x1b[31m", "\x07", "\x00", "\x08", "\x9b", "\u202e", "\u2028"])
def test_signs_that_act_on_a_terminal_are_shown_as_escapes(sign, capsys):
    assert sign not in one_line(f"the id {sign} is unknown")
    with messages("repdiff encode", "encode"):
        logging.getLogger("repdiff.x").warning("the id %s is unknown", f"a{sign}b")
    assert sign not in capsys.readouterr().err


@pytest.mark.parametrize("name", ["../x", "..", "a/../../x", "..\\x", "a/.."])
def test_names_that_lead_out_of_the_workspace_are_refused(name, tmp_path, capsys):
    with pytest.raises(UserError, match="expected the name of a folder"):
        Workspace(root=tmp_path, name=name)
    assert main(["encode", "prototypes", "--name", name, "--workspace", str(tmp_path / "ws")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "--name" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["x..y", "a.b", "perov_5-ead:paper"])
def test_dots_inside_of_a_name_are_taken(name, tmp_path):
    assert Workspace(root=tmp_path, name=name).name == name


@pytest.mark.parametrize(
    "words",
    [
        ["encode", "prototypes", "--name", "x" * 300],
        ["encode", "prototypes", "--limit", "9" * 5000],
        ["encode", "prototypes", "--max-atoms", "1e999"],
        ["encode", "x\x00y"],
        ["encode", "x" * 5000],
        ["encode", "prototypes", "--config", "x" * 5000],
        ["train", "--backend-options", "a={"],
        ["train", "--backend-options", "a=" + "[" * 3000],
        ["train", "x" * 5000],
    ],
)
def test_strange_words_are_one_line(words, tmp_path, capsys):
    assert main([*words, "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("repdiff ")
    assert "Traceback" not in "".join(said)
    assert all(line.isprintable() for line in said)
