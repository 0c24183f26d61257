import hashlib
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import repdiff as rd
from repdiff.backends.find_model import find_model
from repdiff.cli.main import main
from repdiff.errors import UserError
from repdiff.runs import shipped_models as shipped
from repdiff.runs.atomic_files import write_json
from repdiff.runs.shipped_models import ModelCard, card_of, sampling_unless, shipped_models
from repdiff.runs.workspace import Workspace

NAMES = list(shipped_models())


@pytest.mark.parametrize("name", NAMES)
def test_a_card_belongs_to_its_weights_and_was_judged(name):
    card = shipped_models()[name]
    assert card.name == name
    assert hashlib.sha256(card.path.read_bytes()).hexdigest() == card.sha256
    assert card.path.stat().st_size <= 20_000_000
    assert len(card.figures) >= 8
    assert all(
        one.interval is None or one.interval[0] <= one.value <= one.interval[1] for one in card.figures
    )
    assert card.weak_at
    assert card.sampling


@pytest.mark.parametrize("name", NAMES)
def test_the_conditions_of_a_card_are_those_of_its_weights(name):
    model = rd.load_model(name, device="cpu")
    assert model.card is not None
    assert model.backend_name == model.card.backend
    learnt = getattr(getattr(model.backend, "model", None), "properties", {})
    assert set(model.card.conditions) == set(learnt)


def test_all_weights_together_leave_room_in_a_wheel():
    assert sum(card.path.stat().st_size for card in shipped_models().values()) < 80e6


def test_a_shipped_model_makes_crystals_of_a_chemical_system_offline():
    made = rd.load_model("mp_20", device="cpu").sample(
        3, chemical_system="Li-Fe-O", steps=10, search="fast", progress=False
    )
    assert len(made) == 3
    assert {frozenset(crystal.atomic_numbers.tolist()) for crystal in made.crystals} == {
        frozenset((3, 8, 26))
    }


def test_a_run_of_the_workspace_goes_before_a_shipped_model_of_its_name(tmp_path):
    workspace = Workspace(root=tmp_path)
    assert find_model(Path("mp_20"), workspace) == shipped_models()["mp_20"].path
    own = tmp_path / "train" / "mp_20"
    own.mkdir(parents=True)
    assert find_model(Path("mp_20"), workspace) == own


def test_a_model_that_is_nowhere_is_refused_with_the_names_of_those_that_are(tmp_path):
    with pytest.raises(
        UserError, match=r"mp_2: no such path; models of the package: .*mp_20.* Did you mean 'mp_20'"
    ):
        find_model(Path("mp_2"), Workspace(root=tmp_path))


def card(**changes):
    values = shipped_models()["mp_20"].model_dump(mode="json")
    return ModelCard.model_validate(values | changes)


def test_settings_of_the_card_hold_unless_others_are_given(monkeypatch):
    one = card(sampling={"sampler": "ddim", "steps": 100, "temperature": 0.9})
    monkeypatch.setattr(shipped, "shipped_models", lambda: {"mp_20": one})
    assert sampling_unless(one.path, {"temperature"}) == {"sampler": "ddim", "steps": 100}
    assert sampling_unless(one.path, {"steps"}) == {"sampler": "ddim", "temperature": 0.9}
    assert sampling_unless(one.path, {"sampler"}) == {"temperature": 0.9}
    assert sampling_unless(one.path, {"hold"}) == {"temperature": 0.9}
    assert sampling_unless(Path("elsewhere/mp_20.safetensors"), set()) == {}


def test_a_copy_of_shipped_weights_is_a_model_without_a_card(tmp_path):
    copy = rd.load_model("mp_20", device="cpu").save(tmp_path / "mine.safetensors")
    assert card_of(copy) is None
    assert rd.load_model(copy, device="cpu").card is None


def test_a_damaged_card_says_so(tmp_path):
    write_json(tmp_path / "card.json", {"name": "mp_20"})
    with pytest.raises(UserError, match=r"card.json: damaged, no card of a model: install repdiff again"):
        shipped.read_card(tmp_path / "card.json")


def test_the_command_lists_models_and_shows_cards(capsys):
    assert main(["models"]) == 0
    assert [line.partition(":")[0] for line in capsys.readouterr().out.splitlines()] == NAMES
    assert main(["models", "mp_20"]) == 0
    shown = capsys.readouterr().out
    assert shipped_models()["mp_20"].sha256 in shown
    assert main(["models", "mp20"]) == 2
    assert "unknown model 'mp20'" in capsys.readouterr().err


def test_scales_and_templates_keep_their_precision():
    with safe_open(shipped_models()["mp_20"].path, framework="pt") as file:
        kinds = {name: file.get_tensor(name).dtype for name in file.keys()}  # noqa: SIM118
    assert kinds["templates.cells"] == kinds["templates.free"] == torch.float32
    assert torch.int8 in kinds.values()


def test_where_nothing_was_trained_the_models_of_the_package_are_named(tmp_path):
    with pytest.raises(
        UserError, match=r"run `repdiff train` first, or name a model of the package by `model`: .*mp_20"
    ):
        find_model(None, Workspace(root=tmp_path))
