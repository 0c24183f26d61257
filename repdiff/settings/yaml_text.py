"""YAML that may come from anywhere: plain values alone, no key twice, and no more of them than settings need."""

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from repdiff.errors import UserError
from repdiff.settings.limits import (
    MAX_CONFIG,
    MAX_YAML_DEPTH,
    MAX_YAML_INTEGER,
    MAX_YAML_VALUES,
    cut,
    shown_bytes,
)

if TYPE_CHECKING:
    import yaml


def read_yaml(file: Path) -> Any:  # noqa: ANN401 (YAML holds anything)
    """Read a YAML file.

    Raises:
        UserError: If it cannot be read, is too large, or is no YAML of plain values.
    """
    import yaml

    try:
        with file.open("rb") as stream:
            data = stream.read(MAX_CONFIG + 1)
        if len(data) > MAX_CONFIG:
            raise UserError(
                f"{file}: more than {shown_bytes(MAX_CONFIG)}, expected settings: is it the right file?"
            )
        return parse_yaml(data.decode("utf-8-sig"))
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}, expected a readable YAML file") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not a text file, expected YAML") from error
    except yaml.MarkedYAMLError as error:
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise UserError(f"{file}: not valid YAML{line}: {error.problem}") from error
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {' '.join(str(error).split())[:150]}") from error


def parse_yaml(text: str) -> Any:  # noqa: ANN401 (YAML holds anything)
    """Parse YAML of plain values.

    Raises:
        yaml.YAMLError: If it is none, is nested too deep, or says too much by aliases.
    """
    import yaml

    loader = _strict_loader()(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _count(node, 1, {}, ())
        return loader.construct_document(node)
    except RecursionError as error:
        raise yaml.YAMLError(_deep()) from error
    except (ValueError, ArithmeticError, TypeError, LookupError) as error:  # a date or number that is none
        raise yaml.YAMLError(f"a value cannot be read: {error}") from error
    finally:
        loader.dispose()


def _deep() -> str:
    return f"lists and mappings are nested deeper than {MAX_YAML_DEPTH}, expected settings: flatten them"


def _count(node: "yaml.Node", depth: int, known: dict[int, int], above: tuple[int, ...]) -> int:
    """Count the values of a node, those that aliases repeat each time.

    Raises:
        yaml.YAMLError: If there are too many, too deep, or a node holds itself.
    """
    import yaml

    if depth > MAX_YAML_DEPTH:
        raise yaml.YAMLError(_deep())
    if id(node) in above:
        raise yaml.YAMLError("an alias stands inside of what it repeats, expected plain values")
    if id(node) in known:
        return known[id(node)]
    inner: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        inner = node.value
    elif isinstance(node, yaml.MappingNode):
        inner = [one for pair in node.value for one in pair]
    total = 1 + sum(_count(one, depth + 1, known, (*above, id(node))) for one in inner)
    if total > MAX_YAML_VALUES:
        raise yaml.YAMLError(
            f"more than {MAX_YAML_VALUES} values, those that aliases repeat included: expected settings"
        )
    known[id(node)] = total
    return total


@cache
def _strict_loader() -> Any:  # noqa: ANN401 (a class of a library that is loaded here)
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

    def construct_int(loader: StrictLoader, node: yaml.ScalarNode) -> int:
        value = loader.construct_yaml_int(node)
        if abs(value) > MAX_YAML_INTEGER:
            raise yaml.constructor.ConstructorError(
                None, None, f"an integer has more than 64 bits: {cut(str(node.value))}", node.start_mark
            )
        return value

    StrictLoader.add_constructor("tag:yaml.org,2002:int", construct_int)
    return StrictLoader
