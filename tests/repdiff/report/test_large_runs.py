"""Pages of very large evaluations show some of the structures, and say so."""

import numpy as np
from sample_crystals import crystal

from repdiff.cli.main import main
from repdiff.crystals import structure_files
from repdiff.crystals.crystal import write_crystals
from repdiff.report import collect
from repdiff.report.collect import read_run
from repdiff.runs.workspace import Workspace


def test_a_page_of_a_large_run_shows_some_structures_and_says_so(tmp_path, monkeypatch, capsys):
    (tmp_path / "made").mkdir()
    some = [crystal(f"c{k}", [14, 6], np.eye(3) * (4 + k / 10), [[0, 0, 0], [0.5] * 3]) for k in range(12)]
    write_crystals(tmp_path / "made" / "table.parquet", some)
    place = ("--workspace", str(tmp_path / "w"))
    assert main(["evaluate", str(tmp_path / "made"), "--only", "validity", "--n-workers", "1", *place]) == 0
    folder = tmp_path / "w" / "evaluate" / "made"
    whole = read_run(folder, "", "title", Workspace(root=tmp_path / "w"), data_dir=None)
    assert (len(whole.records), whole.n_structures, whole.messages) == (12, 12, [])
    monkeypatch.setattr(collect, "SHOWN", 5)
    monkeypatch.setattr(structure_files, "LARGE", 5)
    run = read_run(folder, "", "title", Workspace(root=tmp_path / "w"), data_dir=None)
    assert (len(run.records), run.n_structures) == (5, 12)
    assert run.messages == [
        "generated: plots, reasons and the gallery show 5 of 12 structures, drawn at random"
    ]
    assert {place: one.id for place, one in run.crystals.items()} == {
        place: record["id"] for place, record in enumerate(run.records)
    }
    capsys.readouterr()
    page = tmp_path / "page.html"
    assert main(["report", "made", "-o", str(page), *place]) == 0
    text = page.read_text(encoding="utf-8")
    assert "show 5 of 12 structures" in text
    assert "12 structures" in text
