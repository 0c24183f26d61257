"""What `mkdocs build` does beyond its plugins: it adds pages made from the code, and takes out marks for tests."""

import re
from pathlib import Path

import command_pages
import metric_pages
import model_pages
import notebook_pages
import python_pages
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

CHANGES = Path(__file__).resolve().parents[2] / "CHANGELOG.md"

MARK = re.compile(r"^<!-- (figures:|try:|conditions|/conditions|made by).*?-->$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for made in (command_pages, python_pages, metric_pages, model_pages, notebook_pages):
        for path, content in made.pages().items():
            files.append(File.generated(config, path, content=content))
    changes = CHANGES.read_text(encoding="utf-8")
    files.append(File.generated(config, "notes/changelog.md", content=changes))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Take out the comments that name the records of figures, and how a tutorial is tried.

    A table that stands directly below a comment would be taken for a part of it.
    """
    return MARK.sub("", markdown)
