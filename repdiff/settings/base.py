"""What a setting is, and what the settings of all verbs have in common."""

from pathlib import Path
from typing import Any, ClassVar, Literal, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, field_validator

DEFAULT_ROOT = Path("repdiff-workspace")  # of the workspace, in the working directory
Role = Literal["result", "input", "speed", "extent", "budget"]
M = TypeVar("M", bound=BaseModel)


def setting(
    default: object,
    text: str,
    *,
    role: Role = "result",
    positional: bool = False,
    short: str | None = None,
    flag: str | None = None,
    only_in_file: bool = False,
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
        positional: Whether the command line takes it without a flag; a tuple takes all such words.
        short: One letter that stands for the flag.
        flag: Its name on the command line where that differs, without dashes.
        only_in_file: Whether it has no flag, because no word could say it.
        bounds: `ge`, `gt`, `le`, `lt` of pydantic.
    """
    extra: dict[str, Any] = {
        "role": role,
        "positional": positional,
        "short": short,
        "flag": flag,
        "only_in_file": only_in_file,
    }
    return Field(default, description=text, json_schema_extra=extra, **cast("Any", bounds))


def home_expanded(path: Path) -> Path:
    """Return a path without `~`; as it is where there is no such home folder."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path


class Settings(BaseModel):
    """Base of the settings of a verb: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())
    verb: ClassVar[str]

    @field_validator("*", mode="after")
    @classmethod
    def expand_home(cls, value: object) -> object:
        """Replace `~` at the beginning of a path by the home folder; a shell does not do it behind `=`."""
        return home_expanded(value) if isinstance(value, Path) else value

    def part(self, model: type[M]) -> M:
        """Hand the settings that `model` has too on to it, such as a layer's own settings."""
        return model.model_validate(
            {name: getattr(self, name) for name in model.model_fields if name in type(self).model_fields}
        )
