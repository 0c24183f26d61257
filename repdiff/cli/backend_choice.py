"""Find the backend whose options a command takes, by a first look at its words before they are parsed."""

from collections.abc import Mapping, Sequence
from typing import Any

import click

from repdiff.errors import UserError
from repdiff.settings.backends import DEFAULT_BACKEND, backend_options
from repdiff.settings.base import DEFAULT_ROOT, Settings
from repdiff.settings.conditions import asks_for_learnt
from repdiff.settings.paths import home_expanded

LOOKED_AT = ("config", "workspace", "backend", "model", "condition")


def choose_backend(model: type[Settings], words: Sequence[str]) -> tuple[str | None, dict[str, Any]]:
    """Find the backend whose options a command takes, and the model that it will use.

    Args:
        model: The settings of the verb.
        words: The command line after the verb.

    Returns:
        The backend, None if the verb takes options of none; and settings that are decided by this already.

    Raises:
        UserError: If there is no such backend, file or model, unless help is asked for, which is shown anyway.
    """
    if model.completed_by is None or model.only_backend is not None:
        return model.only_backend, {}
    helping = any(word in ("-h", "--help") for word in words)
    try:
        found = _first_look(words)
        if found.get("backend") is not None:
            backend_options(str(found["backend"]))
        section = _section(model, found)
        backend = found.get("backend") or section.get("backend")
        if model.completed_by == "training":
            name = str(backend or DEFAULT_BACKEND)
            backend_options(name)
            return name, {}
        if helping and backend is not None:
            return str(backend), {}
        return _of_model(found, section, backend)
    except UserError:
        if not helping or (given := _first_look(words).get("backend")) is not None:
            raise
        return given or DEFAULT_BACKEND, {}


def _of_model(
    found: Mapping[str, Any], section: Mapping[str, Any], backend: object
) -> tuple[str, dict[str, Any]]:
    from repdiff.backends.find_model import backend_of, find_model, newest_verb
    from repdiff.runs.workspace import Workspace

    given = next((one["model"] for one in (found, section) if one.get("model") is not None), None)
    root = found.get("workspace")
    words = [
        pair.partition("=")[0].strip() for text in found.get("condition") or () for pair in text.split(",")
    ]
    asked = words or section.get("condition") or ()
    workspace = Workspace(root=home_expanded(DEFAULT_ROOT if root is None else root))
    path = find_model(
        None if given is None else home_expanded(str(given)),
        workspace,
        newest=newest_verb(asks_for_learnt(asked), workspace),
        backend=None if backend is None else str(backend),
    )
    return backend_of(path), {"model": path}


def _first_look(words: Sequence[str]) -> dict[str, Any]:
    """Read the few options that decide, whatever else there is."""
    parameters = [click.Option([f"--{name}"], multiple=name == "condition") for name in LOOKED_AT]
    command = click.Command(
        "look",
        params=[*parameters, click.Argument(["rest"], nargs=-1)],
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        add_help_option=False,
    )
    return command.make_context("look", list(words), resilient_parsing=True).params


def _section(model: type[Settings], found: Mapping[str, Any]) -> dict[str, Any]:
    """Read the section of the verb in the file that is named; what is wrong with it is found later."""
    from repdiff.settings.configs import find_config
    from repdiff.settings.load import read_document

    if found.get("config") is None:
        return {}
    section = read_document(find_config(home_expanded(found["config"]))).get(model.verb)
    return section if isinstance(section, dict) else {}
