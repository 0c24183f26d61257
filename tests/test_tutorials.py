"""Every block of commands and of Python in the tutorials runs, in order, at small sizes."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from run_tutorial import RUN, steps

ROOT = Path(__file__).resolve().parents[1]
TUTORIALS = sorted(
    page for page in (ROOT / "docs" / "tutorials").glob("*.md") if steps(page.read_text(encoding="utf-8"))
)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", TUTORIALS, ids=lambda page: page.stem)
def test_the_blocks_of_a_tutorial_run_in_order(page, tmp_path):
    given = {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support'}", "PYTHONUTF8": "1"}
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:repdiff",
            ROOT / "tests" / "support" / "run_tutorial.py",
            page,
        ],
        cwd=tmp_path,
        env=os.environ | given | {"OMP_NUM_THREADS": str(torch.get_num_threads())},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]


def test_every_tutorial_that_the_list_names_is_run():
    named = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert {page.name for page in TUTORIALS} == {
        page.name for page in (ROOT / "docs" / "tutorials").glob("*.md") if f"({page.name})" in named
    }


def test_a_block_is_read_with_what_is_replaced_in_it():
    page = '# X\n\n<!-- try: "4" -> "1"; "a" -> "b" -->\n```bash\nrepdiff a 4\n```\n'
    page += "\n```text\nno\n```\n\n```python\nx = 4\n```\n"
    assert [(step.language, step.line, step.text) for step in steps(page)] == [
        ("bash", 5, "repdiff b 1\n"),
        ("python", 13, "x = 4\n"),
    ]
    assert {step.language for step in steps(page)} == set(RUN)


def test_a_replacement_that_finds_nothing_is_an_error():
    with pytest.raises(ValueError, match="'5' is to be replaced"):
        steps('<!-- try: "5" -> "1" -->\n```bash\nrepdiff a 4\n```\n')
