"""Pages of the notebooks, with the outputs that they hold."""

import re
from pathlib import Path

import nbformat
from nbconvert import MarkdownExporter

NOTEBOOKS = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
TABLE = re.compile(r'<table border="1" class="dataframe">')  # the theme lets tables without a class scroll
LINK = re.compile(r"\]\(([\w-]+)\.ipynb\)")


def pages() -> dict[str, str | bytes]:
    """Write the pages and their pictures, by their paths."""
    found: dict[str, str | bytes] = {}
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        name = path.stem
        text, made = MarkdownExporter().from_notebook_node(
            nbformat.read(path, as_version=4), {"output_files_dir": f"{name}_files", "unique_key": name}
        )
        title, _, rest = TABLE.sub("<table>", LINK.sub(r"](\1.md)", text)).lstrip().partition("\n")
        found[f"notebooks/{name}.md"] = f"{title}\n\n[Download this notebook]({name}.ipynb)\n{rest}"
        found |= {f"notebooks/{picture}": content for picture, content in made["outputs"].items()}
    return found
