"""The examples that end the help of every command are command lines that it takes."""

import shlex
import sys
import types

import click
import pytest

from repdiff.cli.examples import EXAMPLES
from repdiff.cli.main import HELP, cli, main
from repdiff.settings import SECTIONS
from repdiff.settings.backends import DEFAULT_BACKEND

LINES = [(verb, words) for verb, examples in EXAMPLES.items() for words, _ in examples]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_every_command_has_examples_in_the_order_of_the_help():
    assert list(EXAMPLES) == list(HELP)


@pytest.mark.parametrize("verb", HELP)
def test_the_help_ends_with_the_examples_as_they_are_typed(verb, capsys):
    assert main([verb, "--help"]) == 0
    shown = capsys.readouterr().out
    assert all(f"  repdiff {words}" in shown.split("Examples:")[1] for words, _ in EXAMPLES[verb])


@pytest.mark.parametrize(("verb", "words"), LINES)
def test_an_example_is_a_command_line_that_is_taken(verb, words, monkeypatch):
    calls = []

    def run(settings, workspace):
        calls.append(settings)
        return workspace.root

    monkeypatch.setattr(
        "repdiff.cli.backend_choice._of_model", lambda found, section, name: (name or DEFAULT_BACKEND, {})
    )
    assert words.split()[0] == verb
    if verb in SECTIONS:
        fake = types.SimpleNamespace(**{f"run_{verb}": run})
        monkeypatch.setitem(sys.modules, f"repdiff.commands.{verb}", fake)
        assert main(shlex.split(words)) == 0
        assert [type(settings).verb for settings in calls] == [verb]
    elif verb == "backends":
        assert main([words]) == 0
    else:
        command = cli.get_command(click.Context(cli), verb)
        command.make_context(verb, shlex.split(words)[1:])
