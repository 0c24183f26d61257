"""A command whose options are listed under headings, and which knows the options of other backends."""

from collections.abc import Callable, Mapping

import click

TITLES = {
    "common": "Most used",
    "conditions": "Conditions: what samples are asked to be",
    "model": "Model",
    "noise process": "Noise process",
    "optimiser": "Optimiser and loss",
    "workers": "Workers",
    "more": "More",
    "output": "Output",
}
"""Headings of the help, by the group of a setting, in their order."""


class GroupedCommand(click.Command):
    """A command with grouped help.

    Args:
        groups: Group of each option, by the name of its parameter.
        strange: Explains an unknown option, such as one of another backend; None where there is nothing to say.
        arguments: Further arguments of `click.Command`.
    """

    def __init__(
        self, *, groups: Mapping[str, str], strange: Callable[[str], str | None], **arguments: object
    ) -> None:
        super().__init__(**arguments)  # ty: ignore[invalid-argument-type]
        self.groups, self.strange = groups, strange

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse, and say to which backend an unknown option belongs.

        Raises:
            click.UsageError: If an option is unknown.
        """
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            if (told := self.strange(error.option_name)) is None:
                raise
            raise click.UsageError(told, ctx) from error

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the options under their headings; the text above says what the arguments are."""
        listed: dict[str, list[tuple[str, str]]] = {title: [] for title in TITLES}
        for parameter in self.get_params(ctx):
            record = None if isinstance(parameter, click.Argument) else parameter.get_help_record(ctx)
            if record is not None:
                listed[self.groups.get(parameter.name or "", "output")].append(record)
        for group, records in listed.items():
            if records:
                with formatter.section(TITLES[group]):
                    formatter.write_dl(records)
