import sys
import types
from pathlib import Path

import click
import pytest

from repdiff.cli.main import main
from repdiff.crystals.crystal import read_crystals
from repdiff.runs.shipped_models import shipped_models


@pytest.fixture
def calls(monkeypatch, tmp_path):
    """Verbs that only note what they are told; `generate` makes vectors."""
    monkeypatch.chdir(tmp_path)
    noted = []

    def fake(verb):
        def run(settings, workspace):
            noted.append((verb, settings, workspace))
            click.echo(f"the table of {verb}")
            return tmp_path / verb

        monkeypatch.setitem(
            sys.modules, f"repdiff.commands.{verb}", types.SimpleNamespace(**{f"run_{verb}": run})
        )

    for verb in ("generate", "reconstruct", "evaluate", "report"):
        fake(verb)
    return noted


def test_without_a_model_twenty_crystals_are_drawn_by_that_of_mp_20_as_its_card_says(calls):
    assert main(["sample", "--chemical-system", "Li-Fe-O"]) == 0
    verb, settings, _ = calls[0]
    card = shipped_models()["mp_20"]
    assert (verb, settings.model, settings.n) == ("generate", card.path, 20)
    assert {name: getattr(settings, name) for name in card.sampling} == card.sampling
    assert [verb for verb, _, _ in calls] == ["generate", "reconstruct", "evaluate", "report"]


def test_each_verb_takes_what_the_one_before_made(calls, tmp_path):
    assert main(["sample", "--n", "3", "--preset", "fast"]) == 0
    settings = {verb: settings for verb, settings, _ in calls}
    assert settings["reconstruct"].generated == tmp_path / "generate"
    assert settings["reconstruct"].preset == "fast"
    assert str(settings["evaluate"].structures) == str(tmp_path / "reconstruct")
    assert [str(run) for run in settings["report"].runs] == [str(tmp_path / "evaluate")]


def test_a_model_that_makes_crystals_needs_no_reconstruction(calls, tmp_path):
    (tmp_path / "generate").mkdir()
    (tmp_path / "generate" / "structures.extxyz").touch()
    assert main(["sample"]) == 0
    assert [verb for verb, _, _ in calls] == ["generate", "evaluate", "report"]


def test_place_and_name_hold_for_all_verbs(calls, tmp_path):
    assert main(["sample", "--workspace", "there", "--name", "mine", "--overwrite"]) == 0
    assert {(str(place.root), place.name, place.overwrite) for _, _, place in calls} == {
        ("there", "mine", True)
    }


def test_the_table_is_left_to_the_page_which_opens_if_asked(calls, tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr(click, "launch", opened.append)
    assert main(["sample"]) == 0
    assert opened == []
    assert main(["sample", "--open"]) == 0
    assert opened == [str(tmp_path / "report")]
    assert "the table of evaluate" not in capsys.readouterr().out


def test_a_mistake_is_one_line_of_this_verb(calls, capsys):
    assert main(["sample", "--chemical-sistem", "Li-Fe-O"]) == 2
    assert main(["sample", "--model", "nowhere"]) == 2
    assert main(["sample", "--backend", "nothing"]) == 2
    assert main(["sample", "--preset", "fastest"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.startswith("repdiff sample: ") for line in lines] == [True] * 4
    assert not calls


def test_crystals_and_a_page_from_nothing(tmp_path, capsys):
    words = f"--model perov_5 --n 2 --steps 5 --preset fast --name two --workspace {tmp_path}".split()
    assert main(["sample", *words]) == 0
    page = Path(capsys.readouterr().out.splitlines()[-1])
    assert "<html" in page.read_text(encoding="utf-8")[:2000]
    crystals = tmp_path / "reconstruct" / "two"
    assert (crystals / "cif.zip").exists()
    assert len(read_crystals(crystals / "table.parquet")) == 2
