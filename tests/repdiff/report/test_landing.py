"""The page that lists all evaluations of a workspace."""

import json
import shutil

import known_crystals
import pytest
from report_runs import evaluate

from repdiff.cli.main import main
from repdiff.report.landing import best_of
from repdiff.runs.manifest import read_manifest


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    """A workspace with two evaluations, one with a name that pages must escape."""
    root = tmp_path_factory.mktemp("landing")
    good = known_crystals.write_extxyz(root / "good.extxyz", known_crystals.family()[:10])
    bad = known_crystals.write_extxyz(root / "bad.extxyz", known_crystals.family()[:6])
    evaluate(root, good, None, "--name", "good")
    evaluate(root, bad, None, "--name", "a<b>bad")
    return root


def report(root, *more):
    return main(["report", "--all", "--gallery", "2", "--workspace", str(root), *more])


def test_every_evaluation_has_a_page_and_a_row_that_leads_to_it(workspace, capsys):
    assert report(workspace) == 0
    said = capsys.readouterr()
    landing = workspace / "report" / "index.html"
    assert said.out.strip() == str(landing)
    text = landing.read_text(encoding="utf-8")
    names = sorted(path.name for path in (workspace / "evaluate").glob("[!.]*"))
    assert len(names) == 2
    for name in names:
        assert (workspace / "report" / f"{name}.html").is_file()
    assert text.count('<th scope="row"><a href=') == 2
    assert "2 evaluations." in text
    assert "Composition" in text
    assert "<b>bad" not in text
    assert report(workspace) == 0  # pages that are there are kept


def test_a_damaged_evaluation_is_named_and_the_others_are_shown(workspace, tmp_path, capsys):
    root = shutil.copytree(workspace, tmp_path / "copy")
    shutil.rmtree(root / "report", ignore_errors=True)
    (first, *_) = sorted((root / "evaluate").glob("[!.]*"))
    (first / "metrics.json").write_text("{")
    assert report(root) == 0
    assert "left out" in capsys.readouterr().err
    text = (root / "report" / "index.html").read_text(encoding="utf-8")
    assert "1 evaluation." in text
    assert "is left out" in text


def test_unfinished_evaluations_and_empty_workspaces_are_one_line(workspace, tmp_path, capsys):
    assert report(tmp_path / "empty") == 2
    assert "holds no finished evaluation" in capsys.readouterr().err
    root = shutil.copytree(workspace, tmp_path / "copy")
    for folder in (root / "evaluate").glob("[!.]*"):
        assert read_manifest(folder).status == "finished"
        document = json.loads((folder / "manifest.json").read_text())
        document.pop("checksum", None)
        (folder / "manifest.json").write_text(json.dumps(document | {"status": "interrupted"}))
    assert report(root) == 2


@pytest.mark.parametrize("more", [("good",), ("--output", "x.html"), ("--png", "plots")])
def test_all_goes_with_nothing_that_names_one(workspace, more, capsys):
    assert report(workspace, *more) == 2
    assert "leave out" in capsys.readouterr().err


def test_the_best_are_marked_in_the_direction_that_is_better():
    assert best_of([1.0, 3.0, None, 3.0], "up") == [False, True, False, True]
    assert best_of([1.0, 3.0, None], "down") == [True, False, False]


@pytest.mark.slow
def test_headings_sort_and_the_page_fits_a_phone(workspace, browser):
    assert report(workspace) == 0
    window = browser.new_context(offline=True, viewport={"width": 390, "height": 800}).new_page()
    trouble = []
    window.on("pageerror", lambda error: trouble.append(str(error)))
    window.goto((workspace / "report" / "index.html").as_uri())

    def crystals():
        return [int(text) for text in window.locator("tbody td:nth-of-type(3)").all_inner_texts()]

    window.get_by_role("button", name="Crystals").click()
    assert crystals() == [10, 6]
    window.get_by_role("button", name="Crystals").click()
    assert crystals() == [6, 10]
    window.get_by_role("button", name="Evaluation", exact=True).click()
    names = window.locator("tbody th").all_inner_texts()
    assert names == sorted(names)
    assert window.evaluate("() => document.documentElement.scrollWidth") <= 390
    window.locator("tbody th a").first.click()
    assert "repdiff report" in window.locator("header").inner_text().lower()
    window.context.close()
    assert trouble == []
