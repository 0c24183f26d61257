"""Run the blocks of a tutorial in order, in this process: `python run_tutorial.py PAGE`.

A comment directly before a block makes it small enough for a test:

    <!-- try: "--max-minutes 4" -> "--max-steps 20" -->

Every text that is replaced has to be in the block. Lines that begin with `repdiff` are run by the command line's own
function, those joined by `&&` too; all else in a block of bash is run by bash. The force field `toy` can be named.
"""

import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

BLOCK = re.compile(
    r"(?:^<!-- try: (?P<tries>.*?) -->\n)?^```(?P<language>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
REPLACED = re.compile(r'"([^"]*)" -> "([^"]*)"')
RUN = ("bash", "python")


@dataclass(frozen=True)
class Step:
    """A block that is run: its language, its line in the page, and its text, made small."""

    language: str
    line: int
    text: str


def steps(page: str) -> list[Step]:
    """Read the blocks of a page that are to be run.

    Raises:
        ValueError: If a text to be replaced is not in its block.
    """
    found = []
    for block in BLOCK.finditer(page):
        text = block["text"]
        for old, new in REPLACED.findall(block["tries"] or ""):
            if old not in text:
                raise ValueError(f"{old!r} is to be replaced, and is not in the block {text!r}")
            text = text.replace(old, new)
        if block["language"] in RUN:
            found.append(Step(block["language"], page[: block.start("text")].count("\n") + 1, text))
    return found


def run(page: Path) -> None:
    """Run all blocks; Python ones share their names.

    Raises:
        RuntimeError: If a command fails.
    """
    from ase import Atoms
    from ase.build import bulk
    from toy_force_field import register

    register()
    bulk("NaCl", "rocksalt", a=5.6).write("salts.extxyz")  # known crystals of the system, for a hull
    for metal in ("Na", "Mg"):
        bulk(metal).write("salts.extxyz", append=True)
    Atoms("Cl2", [(0, 0, 0), (2, 0, 0)], cell=(5, 5, 5), pbc=True).write("salts.extxyz", append=True)
    sys.path.insert(0, ".")
    names: dict[str, object] = {}
    for step in steps(page.read_text(encoding="utf-8")):
        sys.stderr.write(f"--- {page.name}:{step.line}\n")
        if step.language == "python":
            exec(compile("\n" * (step.line - 1) + step.text, str(page), "exec"), names)
        else:
            _bash(step)


def _bash(step: Step) -> None:
    from repdiff.cli.main import main

    commands = [line for line in step.text.splitlines() if line.strip()]
    if not commands[0].startswith("repdiff "):
        subprocess.run(["bash", "-euc", step.text], check=True)
        return
    for command in [one for line in commands for one in line.split(" && ")]:
        if status := main(shlex.split(command, comments=True)[1:]):
            raise RuntimeError(f"line {step.line}: {command} ended with {status}")


if __name__ == "__main__":
    run(Path(sys.argv[1]))
