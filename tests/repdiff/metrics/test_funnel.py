"""What was left after each stage, counted from the files of runs."""

import json

import pytest

from repdiff.metrics.base import MetricResult
from repdiff.metrics.bootstrap import interval_of_mean
from repdiff.metrics.evaluation_views import funnel_lines
from repdiff.metrics.funnel import MEANING, Stage, find_funnel
from repdiff.representations.draws import (
    DRAWS_FILE,
    DrawRecord,
    join_parts,
    read_draws,
    write_draws,
    write_part,
)
from repdiff.runs.atomic_files import write_json
from repdiff.runs.manifest import Input, Manifest

STABILITY = MetricResult(
    values={},
    protocols={},
    columns={
        "stable": [True, False, None, True, False],
        "relaxed_energy": [-1.0, -2.0, None, -3.0, None],
        "e_above_hull": [0.0, 0.3, None, 0.1, None],
        "sun": [True, False, None, False, False],
    },
)


def draws():
    """Ten draws in two blocks: one known, two that are the same."""
    records = [DrawRecord(block=0, protostructure="known", outcome="known")]
    for block in (0, 1):
        for number in range(4):
            name = "same" if number == 3 else f"{block}-{number}"
            outcome = "kept" if number < 2 else "duplicate" if number == 3 and block else "not kept"
            sample = 2 * block + number if outcome == "kept" else None
            records.append(
                DrawRecord(
                    block=block, protostructure=name, outcome=outcome, predicted=0.1 * number, sample=sample
                )
            )
    return [*records, DrawRecord(block=1, protostructure="known", outcome="known")]


def write_manifest(folder, verb, *, config=None, summary=None, inputs=None):
    folder.mkdir(parents=True, exist_ok=True)
    manifest = Manifest(
        verb=verb, name=folder.name, config=config or {}, summary=summary or {}, inputs=inputs or {}
    )
    write_json(folder / "manifest.json", manifest.model_dump(mode="json"))
    return folder


def workspace(root, **config):
    made = write_manifest(root / "generate" / "made", "generate", config=config, summary={"n": 3})
    write_draws(made / DRAWS_FILE, draws())
    source = {"generated": Input(path=str(made), sha256="0")}
    return write_manifest(root / "reconstruct" / "built", "reconstruct", inputs=source)


def counted(stages):
    return [(stage.name, stage.n, stage.of) for stage in stages]


def test_every_stage_that_was_run_is_counted_from_its_records(tmp_path):
    built = workspace(tmp_path, keep_best=0.5, new_only=True)
    found = find_funnel(built, {"stability": STABILITY}, n_crystals=5, n_failed=1)
    assert counted(found) == [
        ("drawn", 10, None),
        ("distinct", 8, 10),
        ("new", 7, 8),
        ("kept", 3, 7),  # of four in two blocks
        ("built", 5, 6),
        ("relaxed", 3, 4),
        ("stable", 2, 3),
        ("sun", 1, 3),
    ]
    assert [stage.name for stage in found] == list(MEANING)


def test_stages_that_were_not_run_are_left_out(tmp_path):
    found = find_funnel(workspace(tmp_path), {}, n_crystals=4, n_failed=0)
    assert counted(found) == [("drawn", 10, None), ("distinct", 8, 10), ("built", 4, 4)]


def test_without_a_hull_nothing_is_called_stable(tmp_path):
    columns = {**STABILITY.columns, "e_above_hull": [None] * 5, "sun": [None] * 5}
    bare = MetricResult(values={}, protocols={}, columns=columns)
    found = find_funnel(workspace(tmp_path), {"stability": bare}, n_crystals=5, n_failed=0)
    assert counted(found)[-1] == ("relaxed", 3, 4)


def test_a_workspace_that_was_moved_still_tells(tmp_path):
    workspace(tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    found = find_funnel(tmp_path / "new" / "reconstruct" / "built", {}, n_crystals=1, n_failed=0)
    assert found[0].name == "drawn"


def test_crystals_of_elsewhere_have_no_funnel(tmp_path):
    assert find_funnel(tmp_path, {"stability": STABILITY}, n_crystals=5, n_failed=0) == ()
    known = write_manifest(tmp_path / "known", "reconstruct", config={"dataset": "mp_20"})
    assert find_funnel(known, {}, n_crystals=5, n_failed=0) == ()


def test_a_damaged_table_of_draws_is_named_and_stops_nothing(tmp_path, caplog):
    built = workspace(tmp_path)
    (tmp_path / "generate" / "made" / DRAWS_FILE).write_bytes(b"PAR1")
    assert find_funnel(built, {}, n_crystals=4, n_failed=0) == ()
    assert "generate again" in caplog.text


def test_shares_have_the_intervals_of_the_project():
    stage = Stage(name="stable", n=30, of=40)
    assert stage.share == 0.75
    assert stage.interval == interval_of_mean([1.0] * 30 + [0.0] * 10)
    assert Stage(name="stable", n=0, of=0).share is None
    assert json.dumps(stage.to_json())


def test_the_text_has_a_line_for_each_stage():
    lines = funnel_lines((Stage(name="drawn", n=10), Stage(name="kept", n=3, of=10)))
    assert len(lines) == 5
    assert "30.0 %" in lines[-1]
    assert funnel_lines(()) == []


def test_records_come_back_and_a_block_that_was_cut_comes_once(tmp_path):
    first, second = draws()[:5], draws()[5:]
    write_part(tmp_path, 0, first)
    write_part(tmp_path, 1, [first[1], *second])  # resumed inside block 0
    assert join_parts(tmp_path, 4) == {"kept": 4, "not kept": 3, "known": 2, "duplicate": 1}
    assert join_parts(tmp_path, 3) == {"kept": 3, "not kept": 3, "known": 2, "duplicate": 1, "to spare": 1}
    assert read_draws(tmp_path / DRAWS_FILE) == [*first, *second]


def test_a_run_without_draws_has_no_table(tmp_path):
    assert join_parts(tmp_path, 4) == {}
    assert not (tmp_path / DRAWS_FILE).exists()


@pytest.mark.parametrize("content", [b"", b"PAR1"])
def test_a_damaged_file_is_one_line(tmp_path, content):
    from repdiff.errors import UserError

    (tmp_path / DRAWS_FILE).write_bytes(content)
    with pytest.raises(UserError, match="generate again"):
        read_draws(tmp_path / DRAWS_FILE)
