"""The command line: parse, load the settings, call one function, print one path.

Nothing heavier than click is imported before a verb is chosen, and torch not before it works.
"""

import importlib
import logging
import os
import signal
import sys
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import click

from repdiff import __version__
from repdiff.errors import UserError, unknown

HELP = {
    "download": "Fetch a benchmark data set, with checksum and resume.",
    "encode": "Turn a data set into representations.",
    "train": "Train a model on an encoded data set.",
    "finetune": "Teach a trained model properties that samples can be asked for.",
    "generate": "Draw new samples from a trained model.",
    "latents": "Turn crystals into latent vectors, and these into crystals: as they are, mixed or improved.",
    "reconstruct": "Turn representations into crystals.",
    "relax": "Relax crystals with a force field.",
    "hull": "Compute the energies that stability is judged by.",
    "evaluate": "Judge crystals: validity, coverage, novelty, stability and more.",
    "compare": "Train and judge several systems alike, or put evaluations side by side.",
    "report": "Make one page of evaluations: tables, plots, structures.",
    "degeneracy": "Find crystals that a descriptor does not tell apart.",
    "backends": "List the systems that can be trained.",
    "info": "Describe a workspace, a run's folder, or a file of one.",
}
PACKAGES = ("descriptors", "reconstruction", "repdiff")
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class HomePath(click.Path):
    """A path that may begin with `~`, which no shell replaces behind `=`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Convert to a path, the home folder written out."""
        return super().convert(os.path.expanduser(value), param, ctx)  # noqa: PTH111 (Path's raises)


HOME_PATH = HomePath(path_type=Path)


class Verbs(click.Group):
    """The verbs in the order of work; each is put together only when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the verbs."""
        return list(HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command:
        """Put one verb together.

        Raises:
            click.UsageError: If there is no such verb.
        """
        if cmd_name not in HELP:
            raise click.UsageError(unknown("command", cmd_name, list(HELP)))
        match cmd_name:
            case "info":
                return _info_command()
            case "download":
                return _download_command()
            case "backends":
                return _backends_command()
        return _verb_command(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without putting them together."""
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.group(cls=Verbs, invoke_without_command=True, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="repdiff")
@click.pass_context
def cli(ctx: click.Context) -> None:
    """Generate crystals by diffusion in representation space.

    The verbs follow one another: encode, train, generate, reconstruct, evaluate. Each takes the newest output
    of the one before, unless it is told another, and prints the path of its own.
    """
    if ctx.invoked_subcommand is None:
        click.echo(ctx.get_help())


def main(argv: Sequence[str]) -> int:
    """Run one command.

    Returns:
        0 when done, 2 for a mistake of the user (one line on stderr), 130 when interrupted.
    """
    verb = next((word for word in argv if word in HELP), None)
    prefix = f"repdiff {verb}" if verb else "repdiff"
    with _messages(prefix):
        try:
            status = cli.main(list(argv), prog_name="repdiff", standalone_mode=False)
        except click.ClickException as error:
            return _complain(prefix, f"{error.format_message()} (see {prefix} --help)")
        except UserError as error:
            return _complain(prefix, str(error))
        except click.Abort as error:
            notes = getattr(error.__cause__, "__notes__", [])
            print("; ".join([f"{prefix}: interrupted", *notes]), file=sys.stderr)
            return 130
        except Exception as error:
            from repdiff.runs.atomic_files import disk_trouble

            if (trouble := disk_trouble(error)) is None:
                raise
            return _complain(prefix, trouble)
    return status if isinstance(status, int) else 0


def run(commands: Sequence[Sequence[str]] | None = None) -> None:
    """Run a command and exit; a polite kill counts as Ctrl-C.

    Args:
        commands: To be run one after the other up to the first that fails; None for that of this process.
    """
    process = os.getpid()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:  # a worker that inherited this handler
            os._exit(143)
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    statuses = (main(words) for words in commands or [sys.argv[1:]])
    sys.exit(next((status for status in statuses if status), 0))


def _complain(prefix: str, message: str) -> int:
    print(f"{prefix}: {' '.join(message.split())}", file=sys.stderr)
    return 2


@contextmanager
def _messages(prefix: str) -> Generator[None, None, None]:
    """Send what our packages log to stderr, one line each."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"{prefix}: %(message)s"))
    loggers = [logging.getLogger(name) for name in PACKAGES]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeHandler(handler)


def _verb_command(verb: str) -> click.Command:
    """Make the command of a verb: its options are the fields of its settings."""
    from repdiff.settings import SECTIONS
    from repdiff.settings.load import Leaf, leaves, load_settings

    model = SECTIONS[verb]
    flags = [leaf for leaf in leaves(model) if not leaf.extra.get("only_in_file")]
    by_parameter = {f"setting_{number}": leaf for number, leaf in enumerate(flags)}

    def option(parameter: str, leaf: Leaf) -> click.Parameter:
        if leaf.extra.get("positional"):
            if isinstance(leaf.field.default, tuple):
                return click.Argument([parameter], nargs=-1, metavar=f"[{leaf.key.upper()}]...")
            name = leaf.key.upper()
            shown = name if leaf.field.is_required() else f"[{name}]"
            return click.Argument([parameter], required=False, metavar=shown)
        flag = f"--{leaf.flag}/--no-{leaf.flag}" if leaf.types == (bool,) else f"--{leaf.flag}"
        kind = click.BOOL if leaf.types == (bool,) else click.STRING
        short = [f"-{leaf.extra['short']}"] if leaf.extra.get("short") else []
        return click.Option(
            [parameter, flag, *short],
            type=kind,
            default=None,
            multiple=leaf.takes_pairs,
            metavar=leaf.metavar,
            help=leaf.help,
        )

    def work(
        config: Path | None,
        workspace: Path,
        name: str | None,
        overwrite: bool,
        **given: str | bool | tuple[str, ...] | None,
    ) -> None:
        from repdiff.runs.workspace import Workspace

        overrides = {
            leaf.key: ",".join(value) if leaf.takes_pairs and isinstance(value, tuple) else value
            for leaf, value in ((by_parameter[key], value) for key, value in given.items())
            if value not in (None, ())
        }
        settings = load_settings(model, config, overrides)
        module = importlib.import_module(f"repdiff.commands.{verb}")
        place = Workspace(root=workspace, name=name, overwrite=overwrite)
        path: Path = getattr(module, f"run_{verb}")(settings, place)
        if os.environ.get("RANK", "0") == "0":
            click.echo(path)

    common = [
        click.Option(
            ["--config"], type=HOME_PATH, metavar="FILE", help="YAML file of settings; flags override it."
        ),
        _workspace_option(),
        click.Option(
            ["--name"], help="Name of the output's folder, instead of the one made from the settings."
        ),
        click.Option(
            ["--overwrite"], is_flag=True, help="Replace an output of that name made with other settings."
        ),
    ]
    described = f"{HELP[verb]}\n\n" + "\n\n".join(
        f"{leaf.key.upper()}: {leaf.field.description}."
        for leaf in by_parameter.values()
        if leaf.extra.get("positional")
    )
    options = [option(*item) for item in by_parameter.items()]
    return click.Command(
        verb, callback=work, params=[*options, *common], help=described, context_settings=CONTEXT
    )


def _workspace_option() -> click.Option:
    from repdiff.settings.base import DEFAULT_ROOT

    return click.Option(
        ["--workspace"],
        type=HOME_PATH,
        default=DEFAULT_ROOT,
        show_default=True,
        metavar="DIR",
        help="Folder of all outputs.",
    )


def _info_command() -> click.Command:
    def show(path: Path) -> None:
        from repdiff.commands.info import describe

        click.echo(describe(path))

    where = click.Argument(["path"], type=HOME_PATH)
    return click.Command("info", callback=show, params=[where], help=HELP["info"], context_settings=CONTEXT)


def _backends_command() -> click.Command:
    def show() -> None:
        from repdiff.backends import BACKENDS

        for name in BACKENDS:
            backend = BACKENDS[name]
            given = ", ".join(sorted(backend.conditions)) or "nothing"
            click.echo(f"{name}: {backend.description}; makes {backend.makes}; can be given: {given}")

    return click.Command("backends", callback=show, help=HELP["backends"], context_settings=CONTEXT)


def _download_command() -> click.Command:
    def fetch(name: str, data_dir: Path | None, workspace: Path) -> None:
        from repdiff.datasets.download import download_benchmark
        from repdiff.runs.workspace import Workspace

        click.echo(download_benchmark(name, (data_dir or Workspace(root=workspace).data_dir) / name))

    params = [
        click.Argument(["name"]),
        click.Option(
            ["--data-dir"],
            type=HOME_PATH,
            help="Where to put it.",
            show_default="WORKSPACE/data",
        ),
        _workspace_option(),
    ]
    text = f"{HELP['download']}\n\nNAME: perov_5, carbon_24 or mp_20."
    return click.Command("download", callback=fetch, params=params, help=text, context_settings=CONTEXT)
