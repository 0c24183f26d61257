"""The command of a verb, put together from its settings and the options of the backend that it works with."""

import importlib
import inspect
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import click

from repdiff.cli.backend_choice import choose_backend
from repdiff.cli.common import CONTEXT, HOME_PATH, workspace_option
from repdiff.cli.examples import examples_text
from repdiff.cli.grouped import GroupedCommand
from repdiff.cli.interrupts import INTERRUPTS
from repdiff.errors import UserError
from repdiff.settings import SECTIONS
from repdiff.settings.backends import backend_names
from repdiff.settings.base import Settings
from repdiff.settings.compose import OLD_KEY, completed
from repdiff.settings.configs import find_config
from repdiff.settings.leaves import Leaf, leaves
from repdiff.settings.load import belonging, load_settings
from repdiff.settings.memory import MemorySettings
from repdiff.settings.paths import readable
from repdiff.settings.workers import WorkerSettings

FIRST = {"config": "common"}  # groups of the options that all verbs have
SHARED = ("train", "finetune")  # verbs that several processes of one job do together


def verb_command(verb: str, text: str, words: Sequence[str]) -> GroupedCommand:
    """Make the command of a verb: its options are the fields of its settings.

    Args:
        verb: One of `SECTIONS`.
        text: One line of help.
        words: The command line after the verb, which may say whose options there are.

    Raises:
        UserError: If it names a backend, file or model that does not exist.
    """
    model = SECTIONS[verb]
    backend, decided = choose_backend(model, words)
    target = model if backend is None else completed(model, backend)
    own = inspect.get_annotations(model)  # what the verb alone has comes first
    flags = [leaf for leaf in leaves(target) if not leaf.extra.get("only_in_file")]
    flags.sort(key=lambda leaf: leaf.path[0] not in own)
    by_parameter = {f"setting_{number}": leaf for number, leaf in enumerate(flags)}

    def work(
        config: Path | None, workspace: Path, name: str | None, overwrite: bool, **given: object
    ) -> Path:
        from repdiff.runs.workspace import Workspace

        _check_processes(verb)
        file = None if config is None else find_config(config)
        overrides = {**_overrides(by_parameter, given), **decided}
        settings = load_settings(model, file, overrides, backend=backend, defaults=_of_card(verb, decided))
        module = importlib.import_module(f"repdiff.commands.{verb}")
        place = Workspace(root=workspace, name=name, overwrite=overwrite)
        INTERRUPTS.begin_work()
        with _workers(settings):
            path: Path = getattr(module, f"run_{verb}")(settings, place)
        if os.environ.get("RANK", "0") == "0":
            shown = str(path)
            click.echo(shown if readable(shown) == shown else os.fsencode(path))  # what a shell can hand on
        return path

    def strange(option: str) -> str | None:
        told = belonging(model, str(backend), option.lstrip("-").removeprefix("no-"))
        return None if told is None else f"No such option: {option}: it {told}"

    groups = {parameter: leaf.group for parameter, leaf in by_parameter.items()}
    return GroupedCommand(
        name=verb,
        callback=work,
        params=[*(_parameter(*item) for item in by_parameter.items()), *_common_options(model)],
        help=_description(text, flags, model, backend),
        epilog=examples_text(verb),
        context_settings=CONTEXT,
        groups=groups | FIRST,
        strange=strange,
    )


def _check_processes(verb: str) -> None:
    """Check that one process alone does what one alone can do.

    Raises:
        UserError: If several were started, as by `accelerate launch`.
    """
    n_processes = os.environ.get("WORLD_SIZE", "1")
    if "RANK" in os.environ and n_processes != "1" and verb not in SHARED:
        raise UserError(
            f"{n_processes} processes were started for `repdiff {verb}` (WORLD_SIZE), which works in one: start it "
            f"without `accelerate launch`, which is for {' and '.join(SHARED)}"
        )


def _of_card(verb: str, decided: Mapping[str, Any]) -> Callable[[set[str]], Mapping[str, Any]] | None:
    """Return the sampling settings that the model brings along, for `repdiff generate`."""
    if verb != "generate" or "model" not in decided:
        return None
    from repdiff.runs.shipped_models import sampling_unless

    return partial(sampling_unless, decided["model"])


@contextmanager
def _workers(settings: Settings) -> Generator[None, None, None]:
    """Let the pieces of a verb's work run where its settings say, and within the memory that they say."""
    with ExitStack() as stack:
        if isinstance(settings, MemorySettings) and settings.memory is not None:
            from repdiff.execution.memory import use_memory

            stack.enter_context(use_memory(settings.memory))
        if isinstance(settings, WorkerSettings) and (settings.scheduler or settings.cluster):
            from repdiff.execution.executors import use_executor

            where = {"scheduler": settings.scheduler, "cluster": settings.cluster}
            stack.enter_context(use_executor(settings.executor, **where))
        yield


def _overrides(by_parameter: Mapping[str, Leaf], given: Mapping[str, object]) -> dict[str, Any]:
    """Gather what was given, by the names of the settings."""
    named = {key: (leaf.key, leaf.takes_pairs) for key, leaf in by_parameter.items()} | {
        OLD_KEY: (OLD_KEY, True)
    }
    return {
        named[key][0]: ",".join(value) if named[key][1] and isinstance(value, tuple) else value
        for key, value in given.items()
        if value not in (None, ())
    }


def _parameter(parameter: str, leaf: Leaf) -> click.Parameter:
    if leaf.extra.get("positional"):
        if isinstance(leaf.field.default, tuple):
            return click.Argument([parameter], nargs=-1, metavar=f"[{leaf.key.upper()}]...")
        name = leaf.key.upper()
        shown = name if leaf.field.is_required() else f"[{name}]"
        return click.Argument([parameter], required=False, metavar=shown)
    is_switch = leaf.types == (bool,)
    short = [f"-{leaf.extra['short']}"] if leaf.extra.get("short") else []
    return click.Option(
        [parameter, f"--{leaf.flag}/--no-{leaf.flag}" if is_switch else f"--{leaf.flag}", *short],
        type=click.BOOL if is_switch else click.STRING,
        default=None,
        multiple=leaf.takes_pairs,
        metavar=leaf.metavar,
        help=leaf.help,
    )


def _common_options(model: type[Settings]) -> list[click.Option]:
    """Make the options that all verbs have, and the old form of a backend's options."""
    options = [
        click.Option(
            ["--config"],
            type=HOME_PATH,
            metavar="FILE",
            help="YAML file of settings, or the name of a shipped one; flags override it.",
        ),
        workspace_option(),
        click.Option(
            ["--name"], help="Name of the output's folder, instead of the one made from the settings."
        ),
        click.Option(
            ["--overwrite"], is_flag=True, help="Replace an output of that name made with other settings."
        ),
    ]
    if model.completed_by is not None:
        options.append(click.Option(["--backend-options", OLD_KEY], multiple=True, hidden=True))
    return options


def _description(text: str, flags: Sequence[Leaf], model: type[Settings], backend: str | None) -> str:
    """Write what stands above the options."""
    words = [
        f"{leaf.key.upper()}: {leaf.field.description}." for leaf in flags if leaf.extra.get("positional")
    ]
    if model.completed_by is not None and model.only_backend is None:
        others = ", ".join(name for name in backend_names() if name != backend)
        words.append(
            f"The options are those of {backend}; `repdiff {model.verb} --backend NAME --help` shows those of {others}."
        )
    return "\n\n".join([text, *words])
