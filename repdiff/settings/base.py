"""What a setting is, and what the settings of all verbs and backends have in common."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from repdiff.errors import UserError
from repdiff.settings.paths import home_expanded

DEFAULT_ROOT = Path("repdiff-workspace")  # of the workspace, in the working directory
Role = Literal["result", "input", "speed", "extent", "budget", "adds"]
Group = Literal["common", "conditions", "model", "noise process", "optimiser", "workers", "more", "output"]
BOUNDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
MAX_SEED = 2**32 - 1  # what every generator of random numbers that is used takes
MAX_TIMESTEPS = 1_000_000  # more than any noise process needs; each has a row in tables
M = TypeVar("M", bound=BaseModel)


def setting(
    default: object,
    text: str,
    *,
    role: Role = "result",
    group: Group = "common",
    positional: bool = False,
    short: str | None = None,
    flag: str | None = None,
    only_in_file: bool = False,
    of: str | None = None,
    **bounds: int | float,
) -> Any:  # noqa: ANN401 (as pydantic's Field: the class attribute has the annotated type)
    """Declare one setting.

    Args:
        default: Its default; `...` where the user must give it.
        text: What it is, with its unit.
        role: How a run with another value stands to a folder that holds one. "result", for what shapes the
            output: they are different runs. "input", for paths: what they hold is compared, by its hash.
            "speed", for what leaves the output as it is: they are the same run. "extent", for how much is
            made: more makes a finished run go on. "budget", for when to stop: any change makes it go on.
            "adds", for what is computed beside the rest: given later, it is added to a finished run; not given
            again, it stays. None and False mean nothing, but for a tuple, which names parts, None means all.
        group: Under which heading the help lists it; "common" is the first, for what most people set.
        positional: Whether the command line takes it without a flag; a tuple takes all such words.
        short: One letter that stands for the flag.
        flag: Its name on the command line where that differs, without dashes.
        only_in_file: Whether it has no flag, because no word could say it.
        of: Setting of role "adds" that this one belongs to: it can be added with it, and not be changed later.
        bounds: `ge`, `gt`, `le`, `lt`, `multiple_of`, `min_length` of pydantic.
    """
    extra: dict[str, Any] = {
        "role": role,
        "group": group,
        "positional": positional,
        "short": short,
        "flag": flag,
        "only_in_file": only_in_file,
        "of": of,
    }
    return Field(default, description=text, json_schema_extra=extra, **cast("Any", bounds))


def seed_setting(text: str, *, group: Group = "common") -> Any:  # noqa: ANN401 (as pydantic's Field)
    """Declare the seed of random numbers, 0 by default."""
    return setting(0, text, group=group, ge=0, le=MAX_SEED)


def again(model: type[BaseModel], name: str, default: object) -> Any:  # noqa: ANN401 (as pydantic's Field)
    """Declare an inherited setting with another default; text, bounds and group stay what they are."""
    field = model.model_fields[name]
    bounds = {
        bound: getattr(mark, bound)
        for mark in field.metadata
        for bound in (*BOUNDS, "multiple_of", "min_length")
        if hasattr(mark, bound)
    }
    extra = cast("dict[str, Any]", field.json_schema_extra)
    return setting(default, str(field.description), **extra, **bounds)


class Options(BaseModel):
    """Base of all groups of settings: frozen, numbers are finite, unknown keys are errors, the schema is built late.

    A nested group that is given in part keeps the default of this group for the rest.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, protected_namespaces=(), defer_build=True
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_nested(cls, values: Any) -> Any:  # noqa: ANN401 (whatever is to be validated)
        if not isinstance(values, Mapping):
            return values
        filled = dict(values)
        for name, value in values.items():
            field = cls.model_fields.get(name)
            if field is not None and isinstance(field.default, BaseModel) and isinstance(value, Mapping):
                filled[name] = {**field.default.model_dump(), **value}
        return filled

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_empty(cls, value: object) -> object:
        """Refuse an empty text, such as that of a shell variable that is not set: as a path it is the folder here."""
        if "" in (value if isinstance(value, list | tuple) else (value,)):
            raise UserError("empty, expected a value: leave it out where none is meant")
        return value

    @field_validator("*", mode="after")
    @classmethod
    def expand_home(cls, value: object) -> object:
        """Replace `~` at the beginning of a path by the home folder; a shell does not do it behind `=`."""
        return home_expanded(value) if isinstance(value, Path) else value

    def part(self, model: type[M]) -> M:
        """Hand the settings that `model` has too on to it, such as the options of a backend."""
        return model.model_validate(
            {name: getattr(self, name) for name in model.model_fields if name in type(self).model_fields}
        )


class Settings(Options):
    """Base of the settings of a verb.

    Attributes:
        verb: The command.
        completed_by: Which options of a backend belong to the command too: those of "training" or of "sampling".
        only_backend: The one backend that the command works with; None where it works with any.
    """

    verb: ClassVar[str]
    completed_by: ClassVar[Literal["training", "sampling"] | None] = None
    only_backend: ClassVar[str | None] = None
