"""The single settings of a model, nested ones included, and what the command line makes of them."""

import types
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from repdiff.settings.base import BOUNDS, Group


@dataclass(frozen=True, kw_only=True)
class Leaf:
    """One setting that holds a value, not further settings.

    Attributes:
        path: Names that lead to it through nested models.
        field: Its declaration.
        default: Its value where nothing is given, which may be that of the model it is nested in.
    """

    path: tuple[str, ...]
    field: FieldInfo
    default: object

    @property
    def key(self) -> str:
        """The path with dots, as overrides name it."""
        return ".".join(self.path)

    @property
    def flag(self) -> str:
        """Its name on the command line, without dashes in front: the path with dashes."""
        return str(self.extra.get("flag") or "-".join(self.path).replace("_", "-"))

    @property
    def extra(self) -> Mapping[str, Any]:
        """Role, group and position, as `repdiff.settings.base.setting` wrote them; empty for plain fields."""
        extra = self.field.json_schema_extra
        return extra if isinstance(extra, Mapping) else {}

    @property
    def group(self) -> Group:
        """The heading it stands under in the help."""
        return self.extra.get("group", "common")

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
            f"{BOUNDS[name]} {getattr(mark, name)}"
            for mark in self.field.metadata
            for name in BOUNDS
            if name in getattr(mark, "__slots__", ())
        ]
        if self.default not in (None, PydanticUndefined, {}, ()):
            value = self.default
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            facts.insert(0, f"default {text.lower() if isinstance(value, bool) else text}")
        return f"{self.field.description}." + (f"  [{'; '.join(facts)}]" if facts else "")


def leaves(model: type[BaseModel]) -> list[Leaf]:
    """List the settings of a model, nested ones included.

    A flag is the path with dashes: `network.width` is `--network-width`, so that no new setting changes it.
    """
    return list(_walk(model, (), None))


def value_at(settings: BaseModel, leaf: Leaf) -> Any:  # noqa: ANN401
    """Look a setting up."""
    value: Any = settings
    for name in leaf.path:
        value = getattr(value, name)
    return value


def nested_model(field: FieldInfo) -> type[BaseModel] | None:
    """Return the model of a setting that holds further settings; None for a plain one."""
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _walk(model: type[BaseModel], above: tuple[str, ...], defaults: object) -> Iterator[Leaf]:
    for name, field in model.model_fields.items():
        path = (*above, name)
        default = (
            field.get_default(call_default_factory=True) if defaults is None else getattr(defaults, name)
        )
        if (inner := nested_model(field)) is not None:
            yield from _walk(inner, path, default if isinstance(default, BaseModel) else None)
        else:
            yield Leaf(path=path, field=field, default=default)
