"""Load the settings of a verb: YAML file first, flags over it, every mistake as one line."""

import logging
import types
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from repdiff.errors import UserError, unknown
from repdiff.settings import SECTIONS
from repdiff.settings.backends import DEFAULT_BACKEND, backend_names
from repdiff.settings.base import BOUNDS, Settings
from repdiff.settings.compose import OLD_KEY, completed, expanded, modernised, owners
from repdiff.settings.leaves import Leaf, leaves, nested_model
from repdiff.settings.limits import cut, shown
from repdiff.settings.renamed import under_new_names
from repdiff.settings.yaml_text import parse_yaml, read_yaml

S = TypeVar("S", bound=Settings)
MAX_ERRORS = 3
log = logging.getLogger(__name__)


def load_settings(
    model: type[S],
    file: Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    *,
    backend: str | None = None,
    defaults: Callable[[set[str]], Mapping[str, Any]] | None = None,
) -> S:
    """Read the settings of one verb from its section of a YAML file, then apply overrides.

    The top-level key `seed` of the file serves every verb that has a seed and does not set its own. What the
    options of a backend complete is completed by those of the backend that is meant.

    Args:
        model: Which settings, for example `TrainSettings`.
        file: YAML with sections named after the verbs; may be absent.
        overrides: Values by name or dotted path ("max_epochs", "network.width"), as flags give them: text is
            converted.
        backend: Backend whose options are accepted; None takes the one that overrides or file name.
        defaults: Tells, of the names of the settings that overrides and file give, what holds for others.

    Raises:
        UserError: If the file cannot be read, or a section, a key or a value is wrong.
    """
    document = {} if file is None else read_document(file)
    section, given = _section(document, model.verb, file), under_new_names(model.verb, overrides or {})
    backend = backend or _backend_meant(model, document, section, given)
    target = completed(model, backend)
    if file is not None:
        _check_other_sections(document, model, backend, file)
    values = expanded(modernised(section, model, backend))
    if file is not None:
        _check_keys(target, values, f"section {model.verb}", file, owner=(model, backend))
    if "seed" in document and "seed" in model.model_fields:
        values.setdefault("seed", document["seed"])
    if OLD_KEY in section or OLD_KEY in given:
        log.info("%s is the old form, which is still read: its settings stand beside the others now", OLD_KEY)
    named = dict(_leaf_values(target, model, backend, given))
    for leaf, value in named.values():
        _put(values, leaf.path, _read_text(leaf, value))
    if defaults is not None:
        values = {**defaults(set(values)), **values}
    try:
        return target.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, target, file, set(named))) from error


def load_common(model: type[S], file: Path) -> S:
    """Read the settings of one verb that all backends share, whatever else its section of a YAML file holds.

    Raises:
        UserError: If the file cannot be read, or a section, a key or a value is wrong.
    """
    document = read_document(file)
    _check_other_sections(document, None, None, file)
    values = {
        name: value
        for name, value in _section(document, model.verb, file).items()
        if name in model.model_fields
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, model, file, set())) from error


def read_document(file: Path) -> dict[Any, Any]:
    """Read a YAML file of sections; an empty one has none.

    Raises:
        UserError: If it cannot be read, or is not a mapping.
    """
    document = read_yaml(file)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(f"{file}: holds a {type(document).__name__}, expected sections such as `train:`")
    return document


def _section(document: Mapping[str, Any], verb: str, file: Path | None) -> dict[str, Any]:
    section = document.get(verb)
    if not isinstance(section, dict | None):
        raise UserError(f"{file}: section {verb} is {shown(section)}, expected settings as `name: value`")
    return under_new_names(verb, section or {})


def _backend_meant(
    model: type[Settings], document: Mapping[str, Any], section: Mapping[str, Any], given: Mapping[str, Any]
) -> str:
    if model.only_backend is not None:
        return model.only_backend
    train = document.get("train")
    of_file = train.get("backend") if isinstance(train, dict) else None
    return str(given.get("backend") or section.get("backend") or of_file or DEFAULT_BACKEND)


def _check_other_sections(
    document: Mapping[str, Any], model: type[Settings] | None, backend: str | None, file: Path
) -> None:
    """Check the names in all sections but one, before hours are spent."""
    for verb in document:
        if verb == "seed":
            continue
        if verb not in SECTIONS:
            raise UserError(f"{file}: {unknown('section', str(verb), [*SECTIONS, 'seed'])}")
        section = _section(document, verb, file)
        if model is not None and verb == model.verb:
            continue
        trained = backend if model is not None and model.verb == "train" else None
        errors = []
        for name in _backends_of_section(SECTIONS[verb], document, section, trained):
            values = expanded(modernised(section, SECTIONS[verb], name))
            try:
                target = completed(SECTIONS[verb], name)
                _check_keys(target, values, f"section {verb}", file, owner=(SECTIONS[verb], name))
                break
            except UserError as error:
                errors.append(error)
        else:
            raise errors[0]


def _backends_of_section(
    model: type[Settings], document: Mapping[str, Any], section: Mapping[str, Any], trained: str | None
) -> tuple[str, ...]:
    """List the backends whose options a section may hold: one where the file says which, else all."""
    if model.only_backend is not None:
        return (model.only_backend,)
    if "compare" in document or section.get("model") is not None:
        return backend_names()
    train = document.get("train") or {}
    named = section.get("backend") or trained or (train.get("backend") if isinstance(train, dict) else None)
    return (
        (str(named),)
        if named
        else (DEFAULT_BACKEND, *(name for name in backend_names() if name != DEFAULT_BACKEND))
    )


def _check_keys(
    model: type[BaseModel],
    section: Mapping[str, Any],
    where: str,
    file: Path,
    *,
    owner: tuple[type[Settings], str] | None = None,
) -> None:
    for name, value in section.items():
        if name not in model.model_fields:
            if owner is not None and (theirs := belonging(*owner, str(name))):
                raise UserError(f"{file}: {name} in {where} {theirs}")
            message = unknown("setting", str(name), list(model.model_fields))
            raise UserError(f"{file}: {message.replace(';', f' in {where};', 1)}")
        inner = nested_model(model.model_fields[name])
        if inner is not None and isinstance(value, dict):
            _check_keys(inner, value, f"{where}.{name}", file)


def belonging(model: type[Settings], backend: str, name: str) -> str | None:
    """Say to which backends an option belongs that this one does not have; None where no backend has it."""
    if not (others := owners(model, name)):
        return None
    return f"is an option of {' and '.join(others)}, not of {backend}"


def _leaf_values(
    target: type[Settings], model: type[Settings], backend: str, given: Mapping[str, Any]
) -> Iterator[tuple[str, tuple[Leaf, Any]]]:
    """Find the settings that overrides mean, those of the old form first."""
    known = {leaf.key: leaf for leaf in leaves(target)}
    if (old := given.get(OLD_KEY)) is not None:
        pairs = pairs_of_text(OLD_KEY, old) if isinstance(old, str) else old
        given = {**modernised({OLD_KEY: pairs}, model, backend), **given}
    for key, value in given.items():
        if key == OLD_KEY:
            continue
        if key in known:
            yield key, (known[key], value)
        elif isinstance(value, Mapping) and key in target.model_fields:
            inner = {f"{key}.{name}": one for name, one in value.items()}
            yield from _leaf_values(target, model, backend, inner)
        elif (first := key.partition(".")[0]) not in target.model_fields and (
            theirs := belonging(model, backend, first)
        ):
            raise UserError(f"{key} {theirs}")
        else:
            raise UserError(unknown("setting", key, list(known)))


def _put(values: dict[str, Any], path: tuple[str, ...], value: object) -> None:
    for name in path[:-1]:
        nested = values.get(name)
        values[name] = dict(nested) if isinstance(nested, dict) else {}
        values = values[name]
    values[path[-1]] = value


def _read_text(leaf: Leaf, value: object) -> object:
    """Convert what only the command line writes as text: `none`, and lists with commas."""
    if not isinstance(value, str):
        return value
    if value.lower() == "none" and types.NoneType in leaf.types:
        return None
    if any(get_origin(kind) in (tuple, list) for kind in leaf.types):
        parts = [part.strip() for part in value.split(",") if part.strip()]
        if not parts and leaf.default == ():
            raise UserError(f"`{leaf.key}` is empty, expected names: leave it out where none is meant")
        return parts
    if leaf.takes_pairs:
        return pairs_of_text(leaf.key, value)
    return value


def pairs_of_text(key: str, text: str) -> dict[str, object]:
    """Read values by name, as the command line writes them: NAME=VALUE, with commas between several.

    Raises:
        UserError: If it is something else, or a name comes twice.
    """
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and mark for name, mark, _ in pairs):
        raise UserError(f"`{key}` is {shown(text)}, expected NAME=VALUE, with commas between several")
    names = [name.strip() for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"`{key}` gives {twice[0]} twice, expected each name once")
    return {name.strip(): _value_of_text(value) for name, _, value in pairs}


def _value_of_text(text: str) -> object:
    """Read a number, a list or the like; what is none of YAML, such as ">=3", is text."""
    import yaml

    try:
        return parse_yaml(text)
    except yaml.YAMLError:
        return text.strip()


def _explain(error: ValidationError, model: type[Settings], file: Path | None, given: set[str]) -> str:
    named = {leaf.path: leaf for leaf in leaves(model)}
    found: dict[tuple[str, ...], tuple[Leaf | None, Any]] = {}  # the first mistake in each setting
    for item in error.errors(include_url=False):
        path = tuple(str(name) for name in item["loc"])
        leaf = next((named[path[:end]] for end in range(len(path), 0, -1) if path[:end] in named), None)
        found.setdefault(leaf.path if leaf else path, (leaf, item))
    parts = []
    for path, (leaf, item) in list(found.items())[:MAX_ERRORS]:
        if leaf is None:
            where = f"{'.'.join(path)}: " if path else ""
            parts.append(where + str(item.get("ctx", {}).get("error", item["msg"])))
            continue
        if item["type"] == "missing" and len(item["loc"]) == len(path):
            parts.append(f"`{leaf.key}` is missing: {leaf.field.description}")
            continue
        of_flag = leaf.key in given or file is None
        where = f"`{leaf.key}`" if of_flag else f"{file}: {leaf.key}"
        if isinstance(told := item.get("ctx", {}).get("error"), UserError):
            parts.append(f"{where} is {told}")
            continue
        value = item["input"]
        several = isinstance(value, list | tuple) and all(isinstance(one, str) for one in value)
        words = ",".join(value) if several else value
        told = cut(str(words or repr(words))) if of_flag and isinstance(words, str) else shown(value)
        parts.append(f"{where} is {told}, expected {_expected(leaf, item)}")
    more = f"; and {len(found) - MAX_ERRORS} more" if len(found) > MAX_ERRORS else ""
    return "; ".join(parts) + more


def _expected(leaf: Leaf, item: Mapping[str, Any]) -> str:
    for name, words in BOUNDS.items():
        if name in item.get("ctx", {}):
            return f"{words} {item['ctx'][name]}"
    if leaf.choices:
        return f"one of {', '.join(map(str, leaf.choices))}"
    if item["type"] == "finite_number" and int not in leaf.types:
        return "a finite number"
    if several := next((get_args(kind) for kind in leaf.types if get_origin(kind) is tuple), ()):
        inner = get_args(several[0])[0] if get_origin(several[0]) is Annotated else several[0]
        names = {int: "whole numbers", float: "numbers", str: "names", Path: "paths"}
        return f"{'' if Ellipsis in several else f'{len(several)} '}{names[inner]} with commas between them"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    wanted = [names[kind] for kind in leaf.types if kind in names]
    return " or ".join(wanted) or str(item["msg"])
