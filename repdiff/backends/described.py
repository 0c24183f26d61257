"""What each system honours, in words: the lines of `repdiff backends`, and the table of the documents."""

from repdiff.backends import BACKENDS
from repdiff.conditions import GRAMMAR, How, honoured

NAMES = ("composition", "protostructure", *GRAMMAR, "properties")
"""All that can be asked for, "properties" being labels that a model was taught."""


def description(name: str) -> str:
    """Describe a system: what it makes, and what it can be asked for in which way.

    Example:
        >>> print(description("retrieval").splitlines()[1])
          by selection: lattice_a, lattice_b, lattice_c, lattice_alpha, lattice_beta, lattice_gamma, density, ...
    """
    backend = BACKENDS[name]
    lines = [f"{name}: {backend.description}; makes {backend.makes}; can be asked for"]
    for how in How:
        if names := [one for one in NAMES if honoured(backend.conditions).get(one) is how]:
            lines.append(f"  {how.value}: {', '.join(names)}")
    return "\n".join(lines)


def conditions_table() -> str:
    """Write how each system honours each condition, as a table in Markdown; the cell lengths and angles in one row."""
    names = [name for name in BACKENDS]
    shown = [one for one in NAMES if not one.startswith("lattice_") or one == "lattice_a"]
    rows = [
        "| condition | " + " | ".join(f"`{name}`" for name in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for one in shown:
        called = {"lattice_a": "`lattice`", "properties": "labels of the data set"}.get(one, f"`{one}`")
        ways = [honoured(BACKENDS[name].conditions).get(one) for name in names]
        rows.append(f"| {called} | " + " | ".join("–" if way is None else way.value for way in ways) + " |")
    return "\n".join(rows)
