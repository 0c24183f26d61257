"""What all commands share."""

from pathlib import Path
from typing import Any

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class HomePath(click.Path):
    """A path that may begin with `~`, which no shell replaces behind `=`."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401
        """Convert to a path, the home folder written out."""
        from repdiff.settings.paths import home_expanded

        return super().convert(home_expanded(value), param, ctx)


HOME_PATH = HomePath(path_type=Path)


def workspace_option() -> click.Option:
    """Make the option that names the workspace."""
    from repdiff.settings.base import DEFAULT_ROOT

    return click.Option(
        ["--workspace"],
        type=HOME_PATH,
        default=DEFAULT_ROOT,
        show_default=True,
        metavar="DIR",
        help="Folder of all outputs.",
    )
