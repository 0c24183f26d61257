"""The pages of commands, their settings and the shipped configs, from the parsers themselves."""

import html

import click

from repdiff.cli.examples import EXAMPLES
from repdiff.cli.grouped import TITLES
from repdiff.cli.main import HELP, cli
from repdiff.settings import SECTIONS
from repdiff.settings.backends import DEFAULT_BACKEND, OWN
from repdiff.settings.base import BOUNDS, Settings
from repdiff.settings.compose import completed, own_options
from repdiff.settings.configs import shipped_configs
from repdiff.settings.leaves import Leaf, leaves

COMMON = """| flag | meaning | default |
|---|---|---|
| `--config FILE` | YAML file of settings, or the name of a [shipped one](../configs.md); flags override it | |
| `--workspace DIR` | folder of all outputs | `repdiff-workspace` |
| `--name TEXT` | name of the output's folder | from the settings |
| `--overwrite` | replace an output of that name made with other settings | off |"""

HOW_COMMANDS_WORK = (
    "By default each command uses the newest output of the previous step in the workspace, logs which one, and prints "
    "the path of its result. Results go to stdout, progress to stderr. The exit status is 0 when all is done, 2 for a "
    "mistake of the user (one line says what was given, what was expected and the way out), 130 when interrupted.",
    "",
    "Every setting is a flag and a key of a YAML file alike: `--max-minutes 4` is `train: {max_minutes: 4}`, "
    "`--network-width 64` is `train: {network: {width: 64}}`. Unknown keys are errors. Flags override the file, which "
    "overrides the defaults.",
    "",
)


def pages() -> dict[str, str]:
    """Write the page of every command, and those of all commands and of all shipped configs, by path."""
    made = {f"reference/commands/{verb}.md": _command(verb) for verb in HELP}
    return made | {"reference/commands/index.md": _index(), "reference/configs.md": _configs()}


def _index() -> str:
    rows = [f"| [`repdiff {verb}`]({verb}.md) | {text} |" for verb, text in HELP.items()]
    return "\n".join(
        [
            "# Commands and settings",
            "",
            *HOW_COMMANDS_WORK,
            "| command | what it does |",
            "|---|---|",
            *rows,
            "",
        ]
    )


def _command(verb: str) -> str:
    parts = [f"# repdiff {verb}", HELP[verb], _usage(verb), _examples(verb)]
    if verb not in SECTIONS:
        return "\n\n".join([*parts, _plain(verb)]) + "\n"
    model = SECTIONS[verb]
    own = [leaf for leaf in leaves(model) if leaf.extra.get("positional")]
    if own:
        parts += ["## Arguments", _table([(f"`{leaf.key.upper()}`", leaf) for leaf in own])]
    backend = model.only_backend or DEFAULT_BACKEND
    common = leaves(completed(model, backend)) if model.only_backend else leaves(model)
    parts += _groups([leaf for leaf in common if not leaf.extra.get("positional")], level="##")
    parts += ["## Of every command", COMMON]
    if model.completed_by is not None and model.only_backend is None:
        parts += _by_backend(model)
    return "\n\n".join(parts) + "\n"


def _by_backend(model: type[Settings]) -> list[str]:
    parts = []
    for backend in OWN:
        found = [leaf for options in own_options(model, backend) for leaf in leaves(options)]
        parts.append(f"## Options of {backend}")
        parts += _groups(found, level="###", of=backend) if found else ["None."]
    return parts


def _groups(found: list[Leaf], *, level: str, of: str = "") -> list[str]:
    """Write a table for each group of options, in the order of the help."""
    parts = []
    for group, title in TITLES.items():
        members = [leaf for leaf in found if leaf.group == group]
        if members:
            heading = f"{level} {title}" + (f" ({of})" if of else "")
            parts += [heading, _table([(_flag(leaf), leaf) for leaf in members])]
    return parts


def _flag(leaf: Leaf) -> str:
    if leaf.extra.get("only_in_file"):
        return "in a file only"
    if leaf.types == (bool,):
        return f"`--{leaf.flag}`, `--no-{leaf.flag}`"
    short = f"`-{leaf.extra['short']}`, " if leaf.extra.get("short") else ""
    value = (leaf.metavar or "").strip("[]")
    return f"{short}`--{leaf.flag}`" + (" " + _choices(value) if value else "")


def _choices(value: str) -> str:
    return " ".join(f"`{one}`" for one in value.split("|"))


def _table(rows: list[tuple[str, Leaf]]) -> str:
    lines = ["| flag | meaning | default | YAML key |", "|---|---|---|---|"]
    for flag, leaf in rows:
        text = html.escape(str(leaf.field.description), quote=False).replace("|", "\\|")
        lines.append(f"| {flag} | {text}{_bounds(leaf)} | {_default(leaf)} | `{leaf.key}` |")
    return "\n".join(lines)


def _default(leaf: Leaf) -> str:
    if leaf.field.is_required() and leaf.default.__class__.__name__ == "PydanticUndefinedType":
        return "required"
    if leaf.default in (None, (), {}):
        return ""
    value = leaf.default
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"`{','.join(map(str, value)) if isinstance(value, tuple) else value}`"


def _bounds(leaf: Leaf) -> str:
    facts = [
        f"{BOUNDS[name]} {getattr(mark, name)}"
        for mark in leaf.field.metadata
        for name in BOUNDS
        if name in getattr(mark, "__slots__", ())
    ]
    return f" ({', '.join(facts)})" if facts else ""


def _usage(verb: str) -> str:
    return f"```text\nrepdiff {verb} {_words(verb)}[OPTIONS]\n```"


def _words(verb: str) -> str:
    if verb not in SECTIONS:
        command = cli.get_command(click.Context(cli), verb)
        assert command is not None
        return "".join(
            f"{one.make_metavar(click.Context(command))} "
            for one in command.params
            if isinstance(one, click.Argument)
        )
    words = [leaf for leaf in leaves(SECTIONS[verb]) if leaf.extra.get("positional")]
    return "".join(
        (f"{leaf.key.upper()} " if leaf.field.is_required() else f"[{leaf.key.upper()}] ") for leaf in words
    )


def _examples(verb: str) -> str:
    width = max(len(words) for words, _ in EXAMPLES[verb])
    lines = [f"repdiff {words:{width}}  # {meaning}" for words, meaning in EXAMPLES[verb]]
    return "\n".join(["```bash", *lines, "```"])


def _plain(verb: str) -> str:
    """Write the options of a command that has no settings."""
    command = cli.get_command(click.Context(cli), verb)
    assert command is not None
    context = click.Context(command)
    records = [one.get_help_record(context) for one in command.params]
    rows = [f"| `{record[0]}` | {record[1]} |" for record in records if record is not None]
    more = (command.help or "").removeprefix(HELP[verb]).strip()
    return "\n\n".join(
        part for part in (more, "\n".join(["| flag | meaning |", "|---|---|", *rows]) if rows else "") if part
    )


def _configs() -> str:
    parts = [
        "# Shipped configs",
        "Each is loaded by its name, `--config NAME`, or copied and changed. A file has a section for each command.",
    ]
    for name, path in shipped_configs().items():
        parts += [f"## {name}", f"```yaml\n{path.read_text(encoding='utf-8').strip()}\n```"]
    return "\n\n".join(parts) + "\n"
