"""The configs that are shipped: found by name, in the wheel and in a checkout."""

from pathlib import Path

from repdiff.errors import UserError, unknown

PACKAGE = Path(__file__).parents[1]
PLACES = (PACKAGE / "configs", PACKAGE.parent / "configs")  # in the wheel, in a checkout


def shipped_configs() -> dict[str, Path]:
    """Return the shipped configs, by name."""
    folder = next((place for place in PLACES if place.is_dir()), None)
    return {} if folder is None else {file.stem: file for file in sorted(folder.glob("*.yaml"))}


def find_config(given: Path) -> Path:
    """Return the file a user means: a path, or the name of a shipped config, with or without .yaml.

    Raises:
        UserError: If there is neither; the message lists the names.
    """
    if given.exists():
        return given
    shipped = shipped_configs()
    name = given.stem if given.suffix in (".yaml", ".yml") else given.name
    if len(given.parts) == 1 and name in shipped:
        return shipped[name]
    if len(given.parts) > 1 or given.suffix in (".yaml", ".yml"):
        raise UserError(
            f"{given}: No such file or directory, expected a YAML file or one of {', '.join(shipped)}"
        )
    raise UserError(unknown("config", name, shipped))
