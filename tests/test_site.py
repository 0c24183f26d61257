"""The documentation builds without a warning, loads nothing from elsewhere, has every public name, flag and config."""

import inspect
import re
import runpy
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag

import pytest
from known_crystals import family

import reconstruction
import repdiff as rd
import repdiff.testing
from repdiff.cli.main import HELP
from repdiff.settings import SECTIONS
from repdiff.settings.backends import OWN
from repdiff.settings.compose import completed
from repdiff.settings.configs import shipped_configs
from repdiff.settings.leaves import leaves

pytestmark = pytest.mark.slow  # one build for all
ROOT = Path(__file__).resolve().parents[1]


class Page(HTMLParser):
    """What a page links to, what it loads, and what can be linked to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = set()
        self.shown: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("script", "img", "iframe", "source") and given.get("src"):
            self.loaded.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loaded.append(given["href"])

    def handle_data(self, data):
        self.shown.append(data)

    @property
    def text(self):
        return "".join(self.shown)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return {path.relative_to(folder).as_posix(): Page(path) for path in sorted(folder.rglob("*.html"))}


@pytest.fixture(scope="module")
def python_anchors(site):
    return {
        anchor
        for name, page in site.items()
        if name.startswith("reference/python/")
        for anchor in page.anchors
    }


METHODS = [
    f"repdiff.api.model.Model.{name}"
    for name, _ in inspect.getmembers(rd.Model, inspect.isfunction)
    if name[0] != "_"
]
PUBLIC = [
    *(f"repdiff.{name}" for name in rd.__all__),
    *(f"repdiff.testing.{name}" for name in repdiff.testing.__all__),
    *(f"reconstruction.{name}" for name in reconstruction.__all__),
]


@pytest.mark.parametrize("name", [*PUBLIC, *METHODS])
def test_every_public_name_is_on_a_page(python_anchors, name):
    assert {name, name.replace("repdiff.api.model.", "repdiff.")} & python_anchors


def test_every_link_leads_to_a_page_and_an_anchor(site):
    broken = []
    for name, page in site.items():
        for link in page.links:
            if re.match(r"[a-z]+:", link) or name == "404.html":
                continue
            target, fragment = urldefrag(unquote(link))
            path = (Path("/") / Path(name).parent / target).resolve() if target else Path("/") / name
            found = site.get(path.relative_to("/").as_posix())
            if path.suffix == ".html" and (
                found is None or (fragment and fragment not in found.anchors | {"__skip"})
            ):
                broken.append((name, link))
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(site):
    assert [one for page in site.values() for one in page.loaded if re.match(r"([a-z]+:)?//", one)] == []


def test_marks_for_tests_are_not_shown(site):
    assert [
        name for name, page in site.items() if re.search(r"<!--|figures: \w+\.json|try: \"", page.text)
    ] == []


@pytest.mark.parametrize("verb", HELP)
def test_every_flag_of_every_system_is_on_the_page_of_its_command(site, verb):
    page = site[f"reference/commands/{verb}.html"].text
    if verb in SECTIONS:
        backends = (SECTIONS[verb].only_backend,) if SECTIONS[verb].only_backend else OWN
        models = [completed(SECTIONS[verb], str(backend)) for backend in backends]
        flags = {leaf.flag for model in models for leaf in leaves(model)
                 if not leaf.extra.get("positional") and not leaf.extra.get("only_in_file")}  # fmt: skip
        assert [flag for flag in sorted(flags) if f"--{flag}" not in page] == []
    assert f"repdiff {verb}" in page


def test_every_shipped_config_is_shown(site):
    assert set(shipped_configs()) <= site["reference/configs.html"].anchors


def test_constants_of_protocols_are_those_of_the_code(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "scripts" / "documents")
    shown = runpy.run_path(str(ROOT / "scripts" / "documents" / "metric_pages.py"))
    crystals = family()[:4]
    families = ["validity", "composition", "symmetry", "uniqueness", "matching", "metre"]
    scores = rd.evaluate(crystals, reference=crystals, training=crystals, metrics=families, progress=False)
    recorded, unrecorded = shown["constants"](), set()
    for result in scores.results.values():
        for protocol, constants in result.protocols.items():
            plain = {key: value for key, value in constants.items() if not shown["OF_A_RUN"].match(key)}
            if protocol not in recorded:
                unrecorded.add(protocol)
            else:
                assert plain == {key: recorded[protocol].get(key) for key in plain}
    assert unrecorded == {"pairs", "pairs-cdvae"}  # of crystals that have the names of the reference
