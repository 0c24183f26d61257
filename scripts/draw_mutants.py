#!/usr/bin/env python
"""Draw small faults at random places of the code: operators of cosmic-ray, and exchanges of names.

    pip install cosmic-ray     (in an environment of its own; nothing of this project is imported)
    python scripts/draw_mutants.py [--n 340] [--seed 0] [--out benchmarks/mutation.json]

A place is drawn first, then one of the faults that are possible there, so that places with many operators count once.
Annotations, decorators, assertions, log lines and messages of errors are left alone: a fault there changes no result.
A record that exists keeps what was found about the mutants that are drawn again. `mutate.py` runs the tests.
"""

import argparse
import ast
import builtins
import difflib
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast  # ty: ignore[import-not-found]
from cosmic_ray.mutating import mutate_code  # ty: ignore[import-not-found]
from cosmic_ray.operators.operator import Operator  # ty: ignore[import-not-found]
from cosmic_ray.plugins import get_operator, operator_names  # ty: ignore[import-not-found]
from parso.python.tree import Name

REPOSITORY = Path(__file__).resolve().parents[1]
ROOMS = (
    "descriptors",
    "reconstruction",
    "repdiff/datasets",
    "repdiff/diffusion",
    "repdiff/metrics",
    "repdiff/training",
)
UNUSED = (
    "RemoveDecorator",
    "VariableReplacer",
    "VariableInserter",
)  # most change nothing, or are drawn at random
ARITHMETIC = {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow"}
EXCHANGED = {
    "min": "max", "amin": "amax", "argmin": "argmax", "minimum": "maximum", "sum": "mean", "any": "all",
    "sin": "cos", "floor": "ceil", "exp": "expm1", "log": "log1p", "cumsum": "cumprod", "zeros_like": "ones_like",
    "new_zeros": "new_ones", "sqrt": "square", "std": "var", "one": "other", "first": "second", "lower": "upper",
}  # fmt: skip
NO_RESULT = {"assert_stmt", "decorator", "raise_stmt", "tfpdef", "import_from", "import_name"}
SHOWN_OR_CHECKED = {
    "strict",
    "frozen",
    "progress",
    "disable",
    "label",
    "desc",
    "unit",
}  # arguments that change no result


class ExchangeName(Operator):
    """Takes another name of the same kind: the largest for the smallest, a mean for a sum."""

    both_ways = EXCHANGED | {new: old for old, new in EXCHANGED.items()}

    def mutation_positions(self, node: Any) -> Iterator[tuple[Any, Any]]:  # noqa: ANN401 (any node of a tree)
        """Find uses of such names, not their definitions."""
        if isinstance(node, Name) and node.value in self.both_ways and not node.is_definition():
            bare = node.get_previous_leaf() is None or node.get_previous_leaf().value != "."
            known = node.get_root_node().get_used_names()
            if not bare or hasattr(builtins, node.value) or self.both_ways[node.value] in known:
                yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:  # noqa: ANN401
        """Exchange the name."""
        node.value = self.both_ways[node.value]
        return node

    @classmethod
    def examples(cls) -> tuple[()]:
        """Give no examples; only cosmic-ray's own tests want them."""
        return ()


def changes_a_result(node: Any) -> bool:  # noqa: ANN401
    """Tell whether a fault at this node can show in what the program computes."""
    child = node
    while (parent := child.parent) is not None:
        if parent.type in NO_RESULT:
            return False
        if parent.type == "argument" and parent.get_first_leaf().value in SHOWN_OR_CHECKED:
            return False
        if parent.type == "annassign" and child is parent.children[1]:
            return False
        if parent.type == "funcdef" and child is parent.annotation:
            return False
        if parent.type in ("if_stmt", "atom_expr") and parent.get_first_leaf().get_next_leaf() is not None:
            code = parent.get_code(include_prefix=False)
            if code.startswith(("if TYPE_CHECKING", "log.")):
                return False
        child = parent
    return True


def is_likely(operator: str) -> bool:
    """Tell whether a person could make this mistake; a shift of a number in place of a sum only breaks the program."""
    _, _, pair = operator.partition("ReplaceBinaryOperator_")
    old_and_new = set(pair.split("_")) if pair else set()
    return old_and_new <= ARITHMETIC or not old_and_new & ARITHMETIC


def faults_of(source: str) -> dict[tuple[int, int], list[tuple[str, Operator, int]]]:
    """List the faults that are possible at each place of a file: operator, and which of its occurrences."""
    nodes = list(ast_nodes(get_ast(source)))
    names = [name for name in operator_names() if not name.endswith(UNUSED) and is_likely(name)]
    operators = {name.split("/")[1]: get_operator(name)() for name in names} | {
        "ExchangeName": ExchangeName()
    }
    found = defaultdict(list)
    for name, operator in operators.items():
        occurrence = 0
        for node in nodes:
            for start, _ in operator.mutation_positions(node):
                if changes_a_result(node):
                    found[start].append((name, operator, occurrence))
                occurrence += 1
    return found


def mutant(file: str, source: str, operator_name: str, operator: Operator, occurrence: int) -> dict | None:
    """Describe one fault by the lines it replaces; None if it is no program or the same one."""
    changed = mutate_code(source, operator, occurrence)
    try:
        if changed is None or ast.dump(ast.parse(changed)) == ast.dump(ast.parse(source)):
            return None
        compile(changed, file, "exec")
    except (SyntaxError, ValueError):
        return None
    old, new = source.splitlines(), changed.splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_opcodes()
    edits = [block for block in blocks if block[0] != "equal"]
    first, last = edits[0][1], edits[-1][2]
    return {
        "file": file,
        "line": first + 1,
        "operator": operator_name,
        "before": "\n".join(old[first:last]),
        "after": "\n".join(new[edits[0][3] : edits[-1][4]]),
    }


def draw(n: int, seed: int) -> list[dict]:
    """Draw `n` mutants."""
    generator = random.Random(seed)
    places = []
    for path in (path for room in ROOMS for path in sorted((REPOSITORY / room).rglob("*.py"))):
        source = path.read_text(encoding="utf-8")
        faults = faults_of(source)
        places += [
            (path.relative_to(REPOSITORY).as_posix(), source, faults[start]) for start in sorted(faults)
        ]
    generator.shuffle(places)
    mutants: list[dict] = []
    for file, source, faults in places:
        found = mutant(file, source, *generator.choice(faults))
        if found is not None:
            mutants.append(found)
        if len(mutants) == n:
            break
    return mutants


def main() -> None:
    """Draw, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--n", type=int, default=340, help="mutants to draw")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "mutation.json")
    arguments = parser.parse_args()
    old = json.loads(arguments.out.read_text(encoding="utf-8")) if arguments.out.is_file() else {}
    known = {(one["file"], one["before"], one["after"]): one for one in old.get("mutants", [])}
    drawn = draw(arguments.n, arguments.seed)
    mutants = [known.get((one["file"], one["before"], one["after"]), {}) | one for one in drawn]
    record = old | {"seed": arguments.seed, "rooms": list(ROOMS), "mutants": mutants}
    arguments.out.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(mutants)} mutants, {sum('status' in one for one in mutants)} of them run: {arguments.out}")


if __name__ == "__main__":
    main()
