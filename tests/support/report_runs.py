"""How the tests of the report make an evaluation."""

from pathlib import Path

from repdiff.cli.main import main

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>"
ONLY = ["--only", "validity,composition,symmetry"]


def evaluate(root: Path, structures: Path, reference: str | None, *more: str) -> Path:
    """Run `repdiff evaluate` and return the folder of its output."""
    against = ["--reference", reference] if reference else []
    before = set((root / "evaluate").glob("[!.]*"))
    assert main(["evaluate", str(structures), *against, *ONLY, *more, "--workspace", str(root)]) == 0
    (made,) = set((root / "evaluate").glob("[!.]*")) - before
    return made
