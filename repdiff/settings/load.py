"""Load the settings of a verb: YAML file first, flags over it, every mistake as one line."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from repdiff.errors import UserError, unknown
from repdiff.settings import SECTIONS
from repdiff.settings.base import Settings

S = TypeVar("S", bound=Settings)
MAX_ERRORS = 3
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One setting that holds a value, not further settings.

    `path` leads to it through nested models; `flag` is its name on the command line, without dashes.
    """

    path: tuple[str, ...]
    flag: str
    field: FieldInfo

    @property
    def key(self) -> str:
        """The path with dots, as overrides name it."""
        return ".".join(self.path)

    @property
    def extra(self) -> Mapping[str, Any]:
        """Role and position, as `repdiff.settings.base.setting` wrote them; empty for plain fields."""
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, Mapping) else {}

    @property
    def types(self) -> tuple[Any, ...]:
        """The types it takes: the members of a union, or the single one."""
        annotation = self.field.annotation
        return get_args(annotation) if get_origin(annotation) in (Union, types.UnionType) else (annotation,)

    @property
    def choices(self) -> tuple[str, ...]:
        """The values it takes if they are a fixed few, else nothing."""
        return tuple(value for kind in self.types if get_origin(kind) is Literal for value in get_args(kind))

    @property
    def takes_pairs(self) -> bool:
        """Whether it takes values by name; the command line takes it several times."""
        return any(get_origin(kind) is dict for kind in self.types)

    @property
    def metavar(self) -> str | None:
        """What the command line shows for the value; None for a switch."""
        if self.choices:
            return f"[{'|'.join(self.choices)}]"
        names = {int: "INT", float: "NUMBER", Path: "PATH", bool: None}
        if self.takes_pairs:
            return "NAME=VALUE,..."
        return next((names[kind] for kind in self.types if kind in names), "TEXT")

    @property
    def help(self) -> str:
        """The line of help: description, default and bounds."""
        facts = [
            f"{BOUNDS[name]} {getattr(mark, name)}" for mark in self.field.metadata for name in _bounds(mark)
        ]
        default = self.field.default
        if default not in (None, PydanticUndefined, {}):
            text = ",".join(map(str, default)) if isinstance(default, tuple) else str(default)
            facts.insert(0, f"default {text.lower() if isinstance(default, bool) else text}")
        return f"{self.field.description}." + (f"  [{'; '.join(facts)}]" if facts else "")


def leaves(model: type[BaseModel]) -> list[Leaf]:
    """List the settings of a model, nested ones included.

    A flag is the name of the setting with dashes for underscores. A nested `name` or `kind` takes the
    name of its parent (`denoiser.name` is `--denoiser`). Nested settings that share a name carry their
    parent's too.
    """
    found = list(_walk(model, ()))
    short = [_own_flag(field) or _flag(path) for path, field in found]
    return [
        Leaf(
            path=path,
            field=field,
            flag="-".join(path).replace("_", "-") if short.count(flag) > 1 and path[1:] else flag,
        )
        for (path, field), flag in zip(found, short, strict=True)
    ]


def load_settings(
    model: type[S], file: Path | None = None, overrides: Mapping[str, object] | None = None
) -> S:
    """Read the settings of one verb from its section of a YAML file, then apply overrides.

    The top-level key `seed` of the file serves every verb that has a seed and does not set its own.

    Args:
        model: Which settings, for example `TrainSettings`.
        file: YAML with sections named after the verbs; may be absent.
        overrides: Values by dotted path ("epochs", "denoiser.width"), as flags give them: text is converted.

    Raises:
        UserError: If the file cannot be read, or a section, a key or a value is wrong.
    """
    values: dict[str, Any] = {} if file is None else _section(model, file)
    known = {leaf.key: leaf for leaf in leaves(model)}
    for key, value in (overrides or {}).items():
        if key not in known:
            raise UserError(unknown("setting", key, list(known)))
        _put(values, known[key].path, _read_text(known[key], value))
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain(error, model, file, set(overrides or {}))) from error


def value_at(settings: BaseModel, leaf: Leaf) -> Any:  # noqa: ANN401
    """Look a setting up."""
    value: Any = settings
    for name in leaf.path:
        value = getattr(value, name)
    return value


def _walk(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], FieldInfo]]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, path)
        else:
            yield path, field


def _own_flag(field: FieldInfo) -> str | None:
    extra = field.json_schema_extra
    return str(extra["flag"]) if isinstance(extra, Mapping) and extra.get("flag") else None


def _flag(path: tuple[str, ...]) -> str:
    return (path[-2] if path[-1] in ("name", "kind") and path[1:] else path[-1]).replace("_", "-")


def _section(model: type[Settings], file: Path) -> dict[str, Any]:
    """Read the section of a verb; the keys of all other sections are checked too, before hours are spent."""
    document = read_document(file)
    for name, section in document.items():
        if name == "seed":
            continue
        if name not in SECTIONS:
            raise UserError(f"{file}: {unknown('section', str(name), [*SECTIONS, 'seed'])}")
        if not isinstance(section, dict | None):
            raise UserError(f"{file}: section {name} is {section!r}, expected settings as `name: value`")
        _check_keys(SECTIONS[name], section or {}, f"section {name}", file)
    values = dict(document.get(model.verb) or {})
    if "seed" in document and "seed" in model.model_fields:
        values.setdefault("seed", document["seed"])
    return values


def read_document(file: Path) -> dict[Any, Any]:
    """Read a YAML file of sections; an empty one has none.

    Raises:
        UserError: If it cannot be read, or is not a mapping.
    """
    import yaml

    try:
        document = yaml.load(file.read_text(encoding="utf-8"), Loader=_strict_loader())
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}, expected a readable YAML file after --config") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file, expected YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{file}: not valid YAML{line}: {error.problem}") from error
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise UserError(f"{file}: holds a {type(document).__name__}, expected sections such as `train:`")
    return document


@cache
def _strict_loader() -> type:
    """Make a safe loader that takes no key twice, where YAML's own keeps the last one silently."""
    import yaml
    import yaml.constructor

    class StrictLoader(yaml.SafeLoader):
        """Safe loader that refuses a key that stands twice in one mapping."""

        def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
            """Construct a mapping.

            Raises:
                yaml.constructor.ConstructorError: If a key stands in it twice.
            """
            seen: set[str] = set()
            for key, _ in node.value:
                name = str(key.value)
                if name in seen and key.tag != "tag:yaml.org,2002:merge":
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {name!r} stands twice, expected each once", key.start_mark
                    )
                seen.add(name)
            return super().construct_mapping(node, deep)

    return StrictLoader


def _check_keys(model: type[BaseModel], section: Mapping[str, Any], where: str, file: Path) -> None:
    for name, value in section.items():
        if name not in model.model_fields:
            message = unknown("setting", str(name), list(model.model_fields))
            raise UserError(f"{file}: {message.replace(';', f' in {where};', 1)}")
        annotation = model.model_fields[name].annotation
        if isinstance(value, dict) and isinstance(annotation, type) and issubclass(annotation, BaseModel):
            _check_keys(annotation, value, f"{where}.{name}", file)


def _bounds(mark: object) -> list[str]:
    return [name for name in BOUNDS if name in getattr(mark, "__slots__", ())]


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
        return [part.strip() for part in value.split(",") if part.strip()]
    if leaf.takes_pairs:
        return _read_pairs(leaf, value)
    return value


def _read_pairs(leaf: Leaf, text: str) -> dict[str, object]:
    import yaml

    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    if not all(name.strip() and mark for name, mark, _ in pairs):
        raise UserError(f"--{leaf.flag} is {text!r}, expected NAME=VALUE, with commas between several")
    names = [name.strip() for name, _, _ in pairs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise UserError(f"--{leaf.flag} gives {twice[0]} twice, expected each name once")
    return {name.strip(): yaml.safe_load(value) for name, _, value in pairs}


def _explain(error: ValidationError, model: type[Settings], file: Path | None, flags: set[str]) -> str:
    found = error.errors(include_url=False)
    named = {leaf.path: leaf for leaf in leaves(model)}
    parts = []
    for item in found[:MAX_ERRORS]:
        path = tuple(str(name) for name in item["loc"])
        leaf = next((named[path[:end]] for end in range(len(path), 0, -1) if path[:end] in named), None)
        if leaf is None:
            parts.append(str(item.get("ctx", {}).get("error", item["msg"])))
            continue
        if item["type"] == "missing":
            name = leaf.key.upper() if leaf.extra.get("positional") else f"--{leaf.flag}"
            parts.append(f"{name} is missing: {leaf.field.description}")
            continue
        if leaf.key in flags or file is None:
            found_there = f"--{leaf.flag} is {item['input'] or repr(item['input'])}"
        else:
            found_there = f"{file}: {leaf.key} is {item['input']!r}"
        parts.append(f"{found_there}, expected {_expected(leaf, item)}")
    more = f"; and {len(found) - MAX_ERRORS} more" if len(found) > MAX_ERRORS else ""
    return "; ".join(parts) + more


def _expected(leaf: Leaf, item: Mapping[str, Any]) -> str:
    for name, words in BOUNDS.items():
        if name in item.get("ctx", {}):
            return f"{words} {item['ctx'][name]}"
    if leaf.choices:
        return f"one of {', '.join(map(str, leaf.choices))}"
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text", Path: "a path"}
    wanted = [names[kind] for kind in leaf.types if kind in names]
    return " or ".join(wanted) or str(item["msg"])
