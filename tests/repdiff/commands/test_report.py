import json
import re
import shutil
import sys
from html.parser import HTMLParser

import known_crystals
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from report_runs import HOSTILE, evaluate

from repdiff.cli.main import main
from repdiff.crystals.crystal import from_structure
from repdiff.crystals.structure_files import write_structures
from repdiff.report.collect import distinct_names, known_name
from repdiff.report.html import coded
from repdiff.runs.atomic_files import read_json, write_json


class Outline(HTMLParser):
    """Collect the tags of a page and the addresses it refers to."""

    def __init__(self):
        super().__init__()
        self.tags, self.addresses, self.ids = [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [found[name] for name in ("src", "href", "action") if name in found]
        self.ids += [found["id"]] if "id" in found else []


def outline(page):
    parser = Outline()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def data_of(page):
    text = page.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="report-data">(.*?)</script>', text, re.S).group(1))


@pytest.fixture
def report(report_workspace, tmp_path, capsys):
    """Run `repdiff report`: the exit code, the page, and what was said on stderr in the end."""

    def call(*argv, output=None):
        output = output or tmp_path / "page.html"
        capsys.readouterr()
        code = main(["report", *map(str, argv), "-o", str(output), "--workspace", str(report_workspace)])
        return code, output, capsys.readouterr().err

    return call


def test_the_page_names_nothing_outside_itself(page):
    assert all(address.startswith(("#", "data:")) for address in outline(page).addresses if address)


def test_ids_of_the_page_are_distinct(page):
    ids = outline(page).ids
    assert len(ids) == len(set(ids))


def test_text_from_files_cannot_become_markup(page):
    text = page.read_text(encoding="utf-8")
    assert HOSTILE not in text
    assert "img" not in outline(page).tags
    assert outline(page).tags.count("script") == 3
    assert "gone-<b>" not in text
    assert "gone-&lt;b&gt;" in text
    assert HOSTILE in [structure["id"] for structure in data_of(page)["structures"]]


def test_failed_structures_are_counted_and_named(page):
    text = page.read_text(encoding="utf-8")
    assert "2 of 22 structures of generated do not exist or could not be read" in text
    assert "took too long" in text


def test_the_page_names_the_sets_that_were_compared_with(page):
    said = re.search(r"generated is compared with ([^<]*)", page.read_text(encoding="utf-8"))[1]
    assert re.search(r"reference: \S*known\.extxyz:test \(\d+ crystals\)", said)
    assert re.search(r"training: \S*known\.extxyz:train \(\d+ crystals\)", said)


def test_the_page_holds_all_plots_and_structures(page):
    data = data_of(page)
    assert {
        "density", "volume-per-atom", "n-elements", "n-atoms", "representations", "space-groups",
        "crystal-systems", "elements-generated-1", "elements-difference-1", "loss", "confidence", "stopped",
    } <= set(data["figures"])  # fmt: skip
    assert len(data["structures"]) == 20
    assert [trace["name"] for trace in data["figures"]["density"]["data"]] == [
        "known.extxyz train",
        "known.extxyz test",
        "generated",
    ]


def test_the_page_tells_seed_versions_hardware_and_hashes(page):
    text = page.read_text(encoding="utf-8")
    for word in ("sha256", "pymatgen", "processor", "seed", "baseline"):
        assert word in text


def test_baselines_stand_beside_the_values(page):
    assert re.search(r"baseline: <span[^>]*>training [\d.]+</span>", page.read_text(encoding="utf-8"))


def test_the_same_runs_give_the_same_page(report, evaluation, page):
    _, again, _ = report(evaluation)
    assert data_of(again) == data_of(page)


def test_several_runs_stand_side_by_side(report, report_workspace, evaluation, tmp_path):
    other = shutil.copytree(evaluation, tmp_path / "other")
    code, page, _ = report(evaluation, other, "--gallery", "3")
    assert code == 0
    data = data_of(page)
    assert len(data["structures"]) == 6
    assert len({structure["run"] for structure in data["structures"]}) == 2
    assert len(data["figures"]["density"]["data"]) == 4


def test_the_newest_evaluation_is_taken_if_none_is_named(report, evaluation):
    code, page, told = report()
    assert code == 0
    assert evaluation.name in told
    assert page.is_file()


def test_a_page_is_not_replaced_unasked(report, evaluation, tmp_path):
    (tmp_path / "page.html").write_text("mine")
    code, page, told = report(evaluation)
    assert code == 2
    assert "exists" in told
    assert page.read_text() == "mine"
    assert report(evaluation, "--overwrite")[0] == 0


def test_the_page_of_the_same_runs_is_kept_and_plots_are_added(report, evaluation, tmp_path, monkeypatch):
    written = []
    monkeypatch.setattr(
        "repdiff.report.png.write_pngs", lambda plots, folder: written.append((plots, folder))
    )
    _, page, _ = report(evaluation, "--gallery", "2")
    before = (page.read_bytes(), page.stat().st_mtime_ns)
    code, _, told = report(evaluation, "--gallery", "2")
    assert code == 0
    assert "is kept" in told
    assert written == []
    assert report(evaluation, "--gallery", "2", "--png", tmp_path / "png")[0] == 0
    assert written[0][0]
    assert (page.read_bytes(), page.stat().st_mtime_ns) == before
    code, _, told = report(evaluation, "--gallery", "1")
    assert code == 2
    assert "of other runs or settings" in told
    assert "--overwrite" in told


def test_a_run_that_is_none_is_told_in_one_line(report, report_workspace, evaluation, tmp_path):
    unfinished = shutil.copytree(evaluation, tmp_path / "unfinished")
    manifest = read_json(unfinished / "manifest.json")
    write_json(unfinished / "manifest.json", {**manifest, "status": "interrupted"})
    damaged = shutil.copytree(evaluation, tmp_path / "damaged")
    (damaged / "per_structure.parquet").write_bytes(b"PAR1")
    (tmp_path / "empty").mkdir()
    for run, why in (
        (tmp_path / "nothing", "no such path"),
        (tmp_path / "empty", "holds no metrics.json"),
        (unfinished, "is interrupted, expected a finished evaluation"),
        (damaged, "cannot be read"),
    ):
        code, page, told = report(run)
        assert code == 2
        assert "Traceback" not in told
        assert why in told.splitlines()[-1]
        assert not page.exists()


def test_the_output_of_another_verb_is_told_in_one_line(report, tmp_path, evaluation):
    other = shutil.copytree(evaluation, tmp_path / "other")
    manifest = read_json(other / "manifest.json")
    write_json(other / "manifest.json", {**manifest, "verb": "train"})
    code, _, told = report(other)
    assert (code, told.count("\n")) == (2, 1)
    assert "is an output of `repdiff train`" in told


def test_structures_that_are_gone_leave_the_numbers(report, report_workspace, evaluation, tmp_path):
    moved = tmp_path / "elsewhere" / "evaluate" / "run"
    shutil.copytree(evaluation, moved)
    manifest = read_json(moved / "manifest.json")
    manifest["config"]["structures"] = str(tmp_path / "gone")
    manifest["inputs"] = {}
    write_json(moved / "manifest.json", manifest)
    code, page, _ = report(moved)
    assert code == 0
    assert "its structures cannot be read" in page.read_text(encoding="utf-8")
    assert data_of(page)["structures"] == []


@pytest.mark.parametrize("kind", ["one", "all broken", "no reference"])
def test_strange_sets_still_make_a_page(report, report_workspace, tmp_path, kind):
    crystals = [from_structure(s, id=f"c{n}") for n, s in enumerate(known_crystals.family()[:4])]
    if kind == "one":
        crystals = crystals[:1]
    if kind == "all broken":
        crystals = [crystal.replace(frac_coords=np.zeros_like(crystal.frac_coords)) for crystal in crystals]
    write_structures(tmp_path / "few", crystals)
    reference = None if kind == "no reference" else f"{report_workspace / 'known.extxyz'}:test"
    code, page, _ = report(evaluate(tmp_path, tmp_path / "few", reference))
    assert code == 0
    assert len(data_of(page)["structures"]) == len(crystals)


def test_an_empty_set_still_makes_a_page(report, report_workspace, tmp_path):
    write_structures(tmp_path / "few", [])
    code, page, _ = report(evaluate(tmp_path, tmp_path / "few", None))
    assert code == 0
    assert "There is no structure to show." in page.read_text(encoding="utf-8")


def test_energies_and_stability_are_shown_where_the_evaluation_has_them(report, evaluation, tmp_path):
    copy = shutil.copytree(evaluation, tmp_path / "copy")
    table = pq.read_table(copy / "per_structure.parquet")
    n = table.num_rows
    above = [None if n - row <= 2 else 0.05 * row for row in range(n)]
    for name, values in {
        "e_above_hull": above,
        "relaxed_energy": above,
        "stable": [value is not None and value <= 0.1 for value in above],
        "novel": [row % 2 == 0 for row in range(n)],
    }.items():
        table = table.append_column(name, pa.array(values))
    pq.write_table(table, copy / "per_structure.parquet")
    _, page, _ = report(copy)
    data = data_of(page)
    assert {"e-above-hull", "relaxed-energy"} <= set(data["figures"])
    third = next(structure for structure in data["structures"] if structure["id"] == "gen-02")
    assert ["Energy above hull", "0.1 eV/atom"] in third["facts"]
    assert {"stable", "novel"} <= set(third["flags"])
    text = page.read_text(encoding="utf-8")
    assert '<option value="stable">' in text
    assert '<option value="unique">' not in text
    assert "Energies: not computed" not in text


def test_umap_is_asked_for_and_not_chosen_by_what_is_installed(report, evaluation, monkeypatch):
    monkeypatch.setitem(sys.modules, "umap", None)
    code, page, told = report(evaluation, "--embedding", "umap")
    assert (code, page.exists()) == (2, False)
    assert "pip install umap-learn" in told.splitlines()[-1]


def test_without_a_browser_png_files_are_refused_with_the_way_out(report, evaluation, tmp_path, monkeypatch):
    import plotly.io

    def missing(**_):
        raise RuntimeError("Kaleido requires Google Chrome to be installed.")

    monkeypatch.setattr(plotly.io, "write_images", missing)
    code, _, told = report(evaluation, "--png", tmp_path / "png")
    assert code == 2
    assert "plotly_get_chrome" in told.splitlines()[-1]


def test_code_between_backticks_is_marked_and_the_rest_escaped():
    assert coded("run `a <b>` & go") == "run <code>a &lt;b&gt;</code> &amp; go"
    assert coded("a ` alone") == "a ` alone"


def test_runs_are_named_as_shortly_as_tells_them_apart(tmp_path):
    assert distinct_names([tmp_path / "x-vs-mp_20-test", tmp_path / "y-vs-mp_20-test"]) == ["x", "y"]
    assert distinct_names([tmp_path / "x-vs-a", tmp_path / "x-vs-b"]) == ["x-vs-a", "x-vs-b"]
    assert distinct_names([tmp_path / "p" / "x", tmp_path / "q" / "x"]) == ["p/x", "q/x"]


def test_known_sets_are_named_for_people():
    assert known_name("mp_20:test") == "mp_20 test"
    assert known_name("/data/my.extxyz") == "my.extxyz"
