"""The command line: parse, load the settings, call one function, print one path.

Nothing heavier than click is imported before a verb is chosen, and torch not before it works.
"""

import atexit
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import click

from repdiff.cli.common import CONTEXT, HOME_PATH, workspace_option
from repdiff.cli.examples import examples_text
from repdiff.cli.interrupts import INTERRUPTED, INTERRUPTS, leave
from repdiff.cli.messages import complain, messages
from repdiff.errors import UserError, unknown

HELP = {
    "download": "Fetch a benchmark data set, with checksum and resume.",
    "encode": "Turn a data set into representations.",
    "train": "Train a model on an encoded data set.",
    "finetune": "Fine-tune a model so that samples can be conditioned on properties.",
    "rank": "Train a model that ranks protostructures before they are built.",
    "head": "Fit a head that predicts a property from representations, to steer by.",
    "sample": "Make crystals and a page of them in one command, by a model of the package or one of yours.",
    "generate": "Draw new samples from a trained model.",
    "vary": "Make variations of given crystals: noise them to a level, and denoise them.",
    "optimize": "Walk given crystals towards a goal of a property that a head predicts.",
    "latents": "Encode crystals as latent vectors and decode these: unchanged, interpolated or optimised.",
    "reconstruct": "Turn representations into crystals.",
    "similar": "Find the crystals of a data set that are most like given ones.",
    "relax": "Relax crystals with a force field.",
    "hull": "Compute the reference energies of the convex hull, for stability.",
    "phases": "Find phases of a chemical system: generate, relax, and place them on the convex hull.",
    "evaluate": "Evaluate crystals: validity, coverage, novelty, stability and more.",
    "export": "Write crystals for the evaluators of others: LeMat-GenBench, MatterGen.",
    "compare": "Train and evaluate several systems alike, or put evaluations side by side.",
    "report": "Write an HTML page of evaluations: tables, plots, structures.",
    "degeneracy": "Find crystals that a descriptor does not tell apart.",
    "models": "List the models that come with the package, or show the card of one.",
    "backends": "List the systems that can be trained.",
    "info": "Describe a workspace, a run's folder, or a file of one.",
}


RENAMED = {
    "evaluate": {"floor": "baseline", "floor-size": "baseline-size", "floor-halves": "baseline-halves"},
    "compare": {"floor": "baseline"},
    "generate": {"composition-temperature": "temperature"},
}
"""Flags that had another name once, by verb."""
OUT_OF_MEMORY = (
    "memory is not enough; what is finished is kept: give the same command again with more `memory` if that was the "
    "limit, or with fewer workers or smaller batches"
)
log = logging.getLogger(__name__)
WORDS = "repdiff.words"  # key of the words after the verb


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
            case "models":
                return _models_command()
            case "sample":
                from repdiff.cli.sample import sample_command

                return sample_command(HELP[cmd_name], ctx.meta.get(WORDS, []))
        from repdiff.cli.verbs import verb_command

        return verb_command(cmd_name, HELP[cmd_name], ctx.meta.get(WORDS, []))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Keep the words after the verb, which decide what options it has."""
        if args and args[0] in RENAMED:
            args = [args[0], *(_new_flag(args[0], word) for word in args[1:])]
        ctx.meta[WORDS] = args[1:]
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the verbs without putting them together."""
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


def _new_flag(verb: str, word: str) -> str:
    """Return a word of the command line as it is written now, with a note if it is an old flag."""
    flag, equals, value = word.partition("=")
    for old in (flag.removeprefix("--"), flag.removeprefix("--no-")):
        if flag.startswith("--") and (new := RENAMED[verb].get(old)):
            renamed = flag[: -len(old)] + new
            log.warning("%s is called %s now; the old name is still taken", flag, renamed)
            return renamed + equals + value
    return word


@click.group(cls=Verbs, invoke_without_command=True, context_settings=CONTEXT)
@click.version_option(package_name="repdiff", prog_name="repdiff")
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
    with messages(prefix, verb):
        try:
            status = cli.main(list(argv), prog_name="repdiff", standalone_mode=False)
        except click.ClickException as error:
            return complain(prefix, f"{error.format_message()} (see {prefix} --help)", verb)
        except UserError as error:
            return complain(prefix, str(error), verb)
        except click.Abort as error:
            notes = getattr(error.__cause__, "__notes__", [])
            print("; ".join([f"{prefix}: interrupted", *notes]), file=sys.stderr)
            return INTERRUPTED
        except Exception as error:
            if INTERRUPTS.raised:  # a library has turned the interrupt into an error of its own
                print(f"{prefix}: interrupted", file=sys.stderr)
                return INTERRUPTED
            from reconstruction.out_of_memory import is_out_of_memory
            from repdiff.runs.atomic_files import disk_trouble

            if is_out_of_memory(error):
                return complain(prefix, OUT_OF_MEMORY, verb)

            if (trouble := disk_trouble(error)) is None:
                raise
            return complain(prefix, trouble, verb)
    return status if isinstance(status, int) else 0


def run(commands: Sequence[Sequence[str]] | None = None) -> None:
    """Run a command and exit; a polite kill counts as Ctrl-C.

    Args:
        commands: Command lines to run one after the other, up to the first that fails; None takes the arguments of this
            process.
    """
    INTERRUPTS.install()
    try:
        statuses = (main(words) for words in commands or [sys.argv[1:]])
        status = next((status for status in statuses if status), 0)
    except KeyboardInterrupt:  # between two commands
        return leave("repdiff: interrupted")
    if status == INTERRUPTED:
        atexit._run_exitfuncs()  # which hand back what processes share
        leave()
    sys.exit(status)


def _info_command() -> click.Command:
    def show(path: Path) -> None:
        from repdiff.commands.info import describe
        from repdiff.settings.paths import readable

        click.echo(readable(describe(path)))

    where = click.Argument(["path"], type=HOME_PATH)
    return _plain_command("info", show, [where])


def _backends_command() -> click.Command:
    def show() -> None:
        from repdiff.backends import BACKENDS
        from repdiff.backends.described import description

        for name in BACKENDS:
            click.echo(description(name))

    return _plain_command("backends", show, [])


def _models_command() -> click.Command:
    def show(name: str | None) -> None:
        from repdiff.runs.shipped_models import shipped_models

        cards = shipped_models()
        if name is not None and name not in cards:
            raise UserError(unknown("model", name, list(cards)))
        for one in cards.values():
            if name is None:
                click.echo(
                    f"{one.name}: {one.summary} ({one.backend}, {one.path.stat().st_size / 1e6:.1f} MB)"
                )
            elif one.name == name:
                click.echo(one.text())

    return _plain_command("models", show, [click.Argument(["name"], required=False)])


def _download_command() -> click.Command:
    def fetch(name: str, data_dir: Path | None, workspace: Path) -> None:
        from repdiff.datasets.download import download_benchmark
        from repdiff.runs.workspace import Workspace

        click.echo(download_benchmark(name, (data_dir or Workspace(root=workspace).data_dir) / name))

    params: list[click.Parameter] = [
        click.Argument(["name"]),
        click.Option(
            ["--data-dir"],
            type=HOME_PATH,
            help="Where to put it.",
            show_default="WORKSPACE/data",
        ),
        workspace_option(),
    ]
    return _plain_command("download", fetch, params, "\n\nNAME: perov_5, carbon_24 or mp_20.")


def _plain_command(
    name: str, work: Callable[..., None], params: list[click.Parameter], more: str = ""
) -> click.Command:
    """Make a command that has no settings."""
    return click.Command(
        name,
        callback=work,
        params=params,
        help=HELP[name] + more,
        epilog=examples_text(name),
        context_settings=CONTEXT,
    )
