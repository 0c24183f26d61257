"""Run the notebooks of the documents, and keep their outputs in them.

Each runs in an empty folder, from its first cell to its last; what it writes there is removed. Nothing of the machine
is kept but the outputs. A notebook that fails is left as it was.

Example:
    python scripts/run_notebooks.py docs/notebooks/hull.ipynb
    python scripts/run_notebooks.py  # all
"""

import argparse
import tempfile
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parents[1] / "docs" / "notebooks"
SECONDS_A_CELL = 900


def run(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Run a notebook in an empty folder.

    Raises:
        nbclient.exceptions.CellExecutionError: If a cell fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        where = {"metadata": {"path": folder}}
        client = NotebookClient(
            notebook, timeout=SECONDS_A_CELL, kernel_name="python3", record_timing=False, resources=where
        )
        return client.execute()


def kept(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take out what depends on the machine alone: versions of its kernel, and what went to stderr."""
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = [one for one in cell.outputs if one.get("name") != "stderr"]
    return notebook


def main() -> None:
    """Run the notebooks that are named, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("notebooks", type=Path, nargs="*", help="default: all of docs/notebooks")
    for path in parser.parse_args().notebooks or sorted(NOTEBOOKS.glob("*.ipynb")):
        started = time.perf_counter()
        nbformat.write(kept(run(nbformat.read(path, as_version=4))), path)
        print(f"{path.name}: {time.perf_counter() - started:.0f} s", flush=True)


if __name__ == "__main__":
    main()
