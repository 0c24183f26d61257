import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
DOCUMENTS = sorted(
    [*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md"), *(REPOSITORY / ".github").rglob("*.md")]
)
GENERATED = {  # pages of the site's menu that are made when it is built, which fails without them
    REPOSITORY / "docs" / name
    for name in re.findall(r"[\w/-]+\.md$", (REPOSITORY / "mkdocs.yml").read_text(), re.MULTILINE)
    if name.startswith(("notebooks/", "reference/commands/", "reference/python/"))
    or name in ("reference/configs.md", "reference/models.md", "reference/protocols.md", "notes/changelog.md")
}
FENCED = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def read(path):
    return FENCED.sub("", path.read_text())


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def missing(document, target):
    name, _, fragment = target.partition("#")
    path = document.parent / name if name else document
    if path.resolve() in GENERATED:
        return False
    if not path.exists():
        return True
    return bool(fragment) and fragment not in {anchor(found) for found in HEADING.findall(read(path))}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_every_link_to_a_file_or_heading_leads_somewhere(document):
    inside = [target for target in LINK.findall(read(document)) if not re.match(r"[a-z]+:", target)]
    assert [target for target in inside if missing(document, target)] == []


@pytest.mark.parametrize("target", ["absent.md", "README.md#no-such-heading", "#no-such-heading"])
def test_a_link_that_leads_nowhere_is_found(target):
    assert missing(REPOSITORY / "README.md", target)
