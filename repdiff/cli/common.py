"""What all commands share."""

from pathlib import Path

import click

CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


def workspace_option() -> click.Option:
    """Make the option that names the workspace."""
    from repdiff.settings.base import DEFAULT_ROOT

    return click.Option(
        ["--workspace"],
        type=click.Path(path_type=Path),
        default=DEFAULT_ROOT,
        show_default=True,
        metavar="DIR",
        help="Folder of all outputs.",
    )
