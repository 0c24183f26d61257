"""Figures of README and docs stand in the records of benchmarks/; `support/figures.py` says how they are marked."""

import json
from pathlib import Path

import pytest
import scipy.stats
from figures import Block, blocks, numbers, unmarked_quantities, unmarked_tables, untraced

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "benchmarks"
MADE = (
    "<!-- made by scripts/"  # pages that a script makes of the records, to which tests of their own hold them
)
DOCUMENTS = [
    path
    for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
    if not path.read_text(encoding="utf-8").startswith(MADE)
]
MARKED = [block for document in DOCUMENTS for block in blocks(document)]


def block(text, *files, given=()):
    return Block(Path("x.md"), 1, text, files, frozenset(given))


@pytest.mark.parametrize("marked", MARKED, ids=lambda one: f"{one.document.name}:{one.line}")
def test_every_figure_of_a_marked_block_is_in_its_records(marked):
    assert all(list(RECORDS.glob(pattern)) for pattern in marked.files), "a record that is not there"
    assert untraced(marked, RECORDS) == []


def test_what_is_given_is_shown_somewhere_in_its_block():
    for marked in MARKED:
        assert marked.given <= set(numbers(marked.text)), f"{marked.document.name}:{marked.line}"


@pytest.mark.parametrize(
    ("record", "preset", "shown"),
    [
        ("invert_perov_5.json", "default", "99.3 to 100"),
        ("invert_mp_20.json", "default", "94.9 to 98.2"),
        ("invert_carbon_24.json", "default", "98.6 to 99.95"),
        ("paper_mp_20.json", "paper", "20 to 70"),
    ],
)
def test_intervals_of_match_rates_are_those_of_clopper_and_pearson(record, preset, shown):
    measured = json.loads((RECORDS / record).read_text(encoding="utf-8"))[preset]
    n_matched = round(measured["match_rate"] * measured["n"])
    interval = scipy.stats.binomtest(n_matched, measured["n"]).proportion_ci()
    for end, value in zip(shown.split(" to "), interval, strict=True):
        assert round(100 * value, len(end.partition(".")[2])) == float(end)
    assert shown in (ROOT / "docs" / "notes" / "inversion.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_figure_is_added_outside_the_blocks_that_name_their_records(document):
    found = unmarked_quantities(document)
    assert not found, f"name the records of {found}, see support/figures.py"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_no_table_of_figures_is_added_without_its_records(document):
    assert not unmarked_tables(document)


@pytest.fixture
def folder(tmp_path):
    record = {"rate": 0.9685, "n": 11356, "seconds": [159.2], "loss": None, "ok": True, "name": "12.5"}
    (tmp_path / "a.json").write_text(json.dumps(record))
    return tmp_path


@pytest.mark.parametrize("shown", ["0.97", "0.9685", "96.9 %", "11,356", "2.7 min", "159", "159.2"])
def test_a_number_is_found_as_it_is_rounded(folder, shown):
    assert untraced(block(f"| {shown} |", "a.json"), folder) == []


@pytest.mark.parametrize("shown", ["0.96", "96.7 %", "11,357", "160", "12.5", "0.132"])
def test_a_number_that_no_record_holds_is_named(folder, shown):
    assert untraced(block(f"| {shown} |", "a.json"), folder) == numbers(shown)
    assert untraced(block(f"| {shown} |", "a.json", given=numbers(shown)), folder) == []


def test_code_links_names_and_single_digits_are_no_figures():
    assert numbers("`17.3` [x](a-99.md) MP-20 Perov-5 6 trials, **97.7–99.2**") == ["97.7", "99.2"]


def test_quantities_are_decimals_and_percentages_outside_marked_blocks_and_code(tmp_path):
    text = "of 12 and 1,234.5 Å\n**97** % and 3% of `0.5`\n\n```\n0.7\n```\n\n<!-- figures: a.json -->\n1.5\n"
    (tmp_path / "d.md").write_text(text)
    assert unmarked_quantities(tmp_path / "d.md") == ["1: 1,234.5", "2: 97", "2: 3"]


def test_a_comment_holds_until_the_next_blank_line(tmp_path):
    text = "| 1.5 |\n\n<!-- figures: a.json; given: 2.5 -->\n| 2.5 |\n| 3.5 |\n\n| 4.5 |\n"
    (tmp_path / "d.md").write_text(text)
    (found,) = blocks(tmp_path / "d.md")
    assert (found.files, found.given, numbers(found.text)) == (("a.json",), {"2.5"}, ["2.5", "3.5"])
    assert unmarked_tables(tmp_path / "d.md") == ["| 1.5 |", "| 4.5 |"]
