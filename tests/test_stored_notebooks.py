"""The notebooks hold the outputs of one run from top to bottom, and nothing of the machine that they ran on."""

import runpy
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))
MOST_BYTES = 600_000


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.stem)
def path(request):
    return request.param


@pytest.fixture
def cells(path):
    return [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]


def test_there_are_notebooks_and_the_list_names_each():
    listed = (ROOT / "docs" / "notebooks" / "index.md").read_text(encoding="utf-8")
    assert len(NOTEBOOKS) == 6
    assert [path.stem for path in NOTEBOOKS if f"({path.stem}.md)" not in listed] == []


def test_a_notebook_is_valid_and_small(path):
    nbformat.validate(nbformat.read(path, as_version=4))
    assert path.stat().st_size < MOST_BYTES


def test_its_cells_were_run_in_order_and_none_failed(cells):
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert not [one for cell in cells for one in cell.outputs if one.output_type == "error"]
    assert [one for cell in cells for one in cell.outputs if "image/png" in one.get("data", {})]


def test_it_tells_nothing_of_the_machine(path, cells):
    text = path.read_text(encoding="utf-8")
    assert not [name for name in ("/home/", "/root/", "/tmp/", "/work/", "site-packages") if name in text]
    assert not [one for cell in cells for one in cell.outputs if one.get("name") == "stderr"]


def test_its_page_shows_its_pictures_and_leads_to_pages(path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "documents")
    pages = runpy.run_path(str(ROOT / "scripts" / "documents" / "notebook_pages.py"))["pages"]()
    page = pages[f"notebooks/{path.stem}.md"]
    pictures = [name for name in pages if name.startswith(f"notebooks/{path.stem}_files/")]
    assert pictures
    assert all(name.removeprefix("notebooks/") in page for name in pictures)
    assert page.startswith("# ")
    assert page.count(".ipynb)") == 1  # to download it
