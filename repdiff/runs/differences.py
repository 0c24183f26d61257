"""How a run differs from an earlier one of its folder, and what of the earlier one stays."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_origin

from pydantic_core import PydanticUndefined, to_jsonable_python

from repdiff.runs.atomic_files import as_written
from repdiff.runs.manifest import Input, Manifest
from repdiff.settings.backends import DEFAULT_BACKEND
from repdiff.settings.base import Settings
from repdiff.settings.compose import OLD_KEY, modernised
from repdiff.settings.leaves import leaves, value_at
from repdiff.settings.renamed import under_new_names

S = TypeVar("S", bound=Settings)
MAX_TEXT = 80  # characters shown of one value


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One setting or input that is not what it was.

    Attributes:
        key: Its name.
        effect: "result" makes another run, "extent" makes a finished run go on, "adds" adds to it.
        text: What it was and what it is, in a few words.
    """

    key: str
    effect: Literal["result", "extent", "adds"]
    text: str


def differences(old: Manifest, settings: Settings, inputs: Mapping[str, Input]) -> list[Difference]:
    """List what sets a run apart from an earlier one of its folder.

    Args:
        old: Manifest of the earlier run.
        settings: Settings now, from `with_kept`.
        inputs: What the run reads now, by name.
    """
    config = _config(old, settings)
    found = list(_setting_differences(config, settings, {*old.inputs} & {*inputs}))
    added = {one.key for one in found if one.effect == "adds"}
    marks = (*added, *(f"{getattr(settings, key)} " for key in added))  # of the names of their inputs
    for key in sorted({*old.inputs, *inputs}):
        before, after = old.inputs.get(key), inputs.get(key)
        if before is None and key.startswith(marks):
            continue  # told by its setting
        if before is None or after is None or before.sha256 != after.sha256:
            text = _input_text(key, before, after)
            found.append(Difference(key=key, effect="result", text=text))
    return found


def with_kept(settings: S, old: Manifest) -> S:
    """Complete settings by those of an earlier run that only add and are not given again."""
    config, kept = _config(old, settings), {}
    for leaf in leaves(type(settings)):
        if leaf.extra.get("role") != "adds":
            continue
        now, before = value_at(settings, leaf), _dig(config, leaf.path, _plain(leaf.default))
        if any(get_origin(kind) is tuple for kind in leaf.types):
            every = before is None or now is None
            kept[leaf.key] = None if every else (*before, *(part for part in now if part not in before))
        elif _absent(now) and not _absent(before):
            kept[leaf.key] = before
    return type(settings).model_validate({**settings.model_dump(), **kept}) if kept else settings


def _setting_differences(
    config: Mapping[str, Any], settings: Settings, hashed: set[str]
) -> Iterator[Difference]:
    """Compare settings one by one; paths in `hashed` are compared by what they hold."""
    now = as_written(settings.model_dump(mode="json"))
    every = leaves(type(settings))
    defaults = {leaf.key: _plain(leaf.default) for leaf in every}
    for leaf in every:
        before = _dig(config, leaf.path, defaults[leaf.key])  # settings that were not there yet
        after = _dig(now, leaf.path, None)
        role = leaf.extra.get("role", "result")
        if before == after or role in ("speed", "input") or (role == "adds" and leaf.key in hashed):
            continue
        owner = leaf.extra.get("of")
        free = before if owner is None else _dig(config, (owner,), defaults[owner])
        effect = "result"
        if role == "budget" or (
            role == "extent" and (after is None or (before is not None and after > before))
        ):
            effect = "extent"
        elif role == "adds" and (_absent(free) or isinstance(before, list)):
            effect = "adds"
        text = f"`{leaf.key}` was {_short(before)}, now {_short(value_at(settings, leaf))}"
        yield Difference(key=leaf.key, effect=effect, text=text)


def _short(value: object) -> str:
    if isinstance(value, list | tuple):
        value = ",".join(map(str, value))
    text = "nothing" if value == "" else str(value)
    return text if len(text) <= MAX_TEXT else f"{text[: MAX_TEXT - 3]}..."


def _input_text(key: str, before: Input | None, after: Input | None) -> str:
    name = f"`{key}`" if key.isidentifier() else key
    if before is None or after is None:
        return f"{name} was {before and before.path}, now {after and after.path}"
    if before.path == after.path:
        return f"{before.path} has changed since"
    return f"{name} was {before.path}, now {after.path} with other contents"


def _config(old: Manifest, settings: Settings) -> Mapping[str, Any]:
    """Return the settings of an earlier run under today's names."""
    config = under_new_names(settings.verb, old.config)
    if OLD_KEY not in config:
        return config
    backend = config.get("backend") or old.summary.get("backend") or settings.only_backend or DEFAULT_BACKEND
    return modernised(config, type(settings), str(backend))


def _absent(value: object) -> bool:
    return value is None or value is False


def _plain(default: object) -> object:
    return None if default is PydanticUndefined else to_jsonable_python(default)


def _dig(config: Mapping[str, Any], path: tuple[str, ...], default: object) -> Any:  # noqa: ANN401 (JSON holds anything)
    value: Any = config
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return default
        value = value[name]
    return value
