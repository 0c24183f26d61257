"""Every example in a docstring, and the Python of the README, does what it says."""

import doctest
import importlib
import inspect
import multiprocessing
import re
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from known_crystals import family

import repdiff as rd

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("descriptors", "reconstruction", "repdiff")
WITH_EXAMPLES = sorted(
    ".".join(file.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for file in (REPOSITORY / package).rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


# They limit the memory of their process: one of many tests holds more than that already, and dies of it.
LIMITING = {"repdiff.execution.memory"}
MODEL = {
    f"Model.{name}": call for name, call in inspect.getmembers(rd.Model, inspect.isfunction) if name[0] != "_"
}
OFFERED = {name: getattr(rd, name) for name in rd.__all__ if name != "Model"} | MODEL


@pytest.mark.parametrize("name", OFFERED)
def test_everything_that_python_offers_has_an_example(name):
    assert ">>> " in (inspect.getdoc(OFFERED[name]) or "")


def run_examples(module):
    """Run the examples of a module, and return how many were run and how many failed."""
    result = doctest.testmod(
        importlib.import_module(module),
        optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS,
    )
    return result.attempted, result.failed


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_of_a_module_hold(module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if module in LIMITING:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as fresh:
            attempted, failed = fresh.submit(run_examples, module).result()
    else:
        attempted, failed = run_examples(module)
    assert attempted
    assert not failed


@pytest.mark.usefixtures("_tiny_composition_model", "_quick_search")
def test_the_python_of_the_readme_goes_from_cif_files_to_new_crystals_and_a_table(
    tmp_path, monkeypatch, capsys
):
    (block,) = re.findall(
        r"```python\n(.*?)```", (REPOSITORY / "README.md").read_text(encoding="utf-8"), re.S
    )
    assert len(block.strip().splitlines()) <= 12
    folder = tmp_path / "my_cifs"
    folder.mkdir()
    for number, structure in enumerate(family()):
        structure.to(str(folder / f"{number:02d}.cif"))
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(compile(block, "README.md", "exec"), names)
    assert "validity" in capsys.readouterr().out
    assert list(tmp_path.glob("new_crystals/*.extxyz"))
