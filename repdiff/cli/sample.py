"""`repdiff sample`: from a model to crystals and a page in one command, by the verbs that do the parts."""

from collections.abc import Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import click

from repdiff.cli.examples import examples_text
from repdiff.cli.verbs import verb_command

DEFAULT_MODEL = "mp_20"
DEFAULT_N = "20"
FAMILIES = "validity,composition,symmetry,plain_properties,uniqueness"  # which need no known crystals
OWN = (
    click.Option(["--preset"], metavar="NAME", help="How hard to invert vectors, as for `repdiff reconstruct`."),
    click.Option(["--open/--no-open", "open_page"], help="Show the page in a browser when it is there."),
)  # fmt: skip


def sample_command(text: str, words: Sequence[str]) -> click.Command:
    """Make the command: it has the options of `repdiff generate`, and a few of its own.

    Args:
        text: One line of help.
        words: The command line after the verb.

    Raises:
        UserError: If they name a backend, file or model that does not exist.
    """
    named = any(word.partition("=")[0] in ("--model", "--backend", "--config") for word in words)
    command = verb_command("generate", text, words if named else [*words, "--model", DEFAULT_MODEL])
    generate = command.callback
    assert generate is not None
    for option in command.params:
        if "--n" in option.opts:
            option.default = DEFAULT_N

    def work(preset: str | None, open_page: bool, **given: Any) -> None:  # noqa: ANN401
        if preset is not None:
            from repdiff.representations.inversion import named_search

            named_search(preset)  # a mistake in it is told before anything is drawn
        path: Path = generate(**given)
        common = [f"--workspace={given['workspace']}", *(["--overwrite"] if given["overwrite"] else [])]
        if given["name"] is not None:
            common.append(f"--name={given['name']}")
        if not (path / "structures.extxyz").exists():  # vectors
            effort = [] if preset is None else [f"--preset={preset}"]
            path = _run("reconstruct", [f"--generated={path}", *effort, *common])
        with redirect_stdout(StringIO()):  # the page shows it
            evaluation = _run("evaluate", [str(path), f"--only={FAMILIES}", *common])
        page = _run("report", [str(evaluation), *common])
        if open_page:
            click.launch(str(page))

    command.callback = work
    command.params.extend(OWN)
    command.name, command.epilog = "sample", examples_text("sample")
    command.help = (
        f"{text}\n\nDoes the work of generate, reconstruct, evaluate and report, one after the other."
    )
    command.groups = {**command.groups, **dict.fromkeys(("preset", "open_page"), "common")}
    return command


def _run(verb: str, words: Sequence[str]) -> Path:
    """Run another verb, and return what it made."""
    path: Path = verb_command(verb, "", words).main(list(words), standalone_mode=False)
    return path
