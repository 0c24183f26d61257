import json

import pytest

from repdiff.comparison.plan import BASELINE, Planner
from repdiff.runs.workspace import Workspace
from repdiff.settings import CompareSettings
from repdiff.settings.load import load_settings


def plan(path, tmp_path):
    settings = load_settings(CompareSettings, path)
    return Planner(file=path, name="c", settings=settings, workspace=Workspace(root=tmp_path / "w")).plan()


def test_every_seed_is_a_cell_of_every_system_and_of_the_baseline(write_comparison, tmp_path):
    path = write_comparison(lambda document: document["compare"].update(seeds=[0, 5]))
    cells = plan(path, tmp_path).cells
    assert [(cell.system, cell.seed) for cell in cells] == [
        ("vectors", 0), ("torus", 0), ("vectors", 5), ("torus", 5), (BASELINE, 0), (BASELINE, 5),
    ]  # fmt: skip
    verbs = {cell.system: [step.verb for step in cell.steps] for cell in cells}
    assert verbs["vectors"] == ["train", "generate", "reconstruct", "evaluate"]
    assert verbs["torus"] == ["train", "generate", "evaluate"]
    assert verbs[BASELINE] == ["evaluate"]
    train, generate, reconstruct, evaluate = cells[2].steps
    assert (train.settings.seed, generate.settings.seed, reconstruct.settings.seed) == (5, 5, 5)
    assert evaluate.settings.seed == 0
    assert generate.settings.model == tmp_path / "w" / "train" / train.name
    assert evaluate.settings.structures == str(tmp_path / "w" / "reconstruct" / reconstruct.name)


def test_data_that_systems_have_in_common_are_encoded_once(write_comparison, tmp_path):
    assert [cell.name for cell in plan(write_comparison(), tmp_path).shared] == ["c-encode"]
    path = write_comparison(
        lambda document: document["compare"]["systems"]["torus"].update(encode={"limit": 30})
    )
    assert [cell.name for cell in plan(path, tmp_path).shared] == ["c-encode", "c-torus-encode"]


@pytest.mark.parametrize(
    ("own", "verbs"),
    [
        ({"evaluate": {"structures": "others.cif"}}, ["evaluate"]),
        ({"generate": {"model": "MODEL"}}, ["generate", "reconstruct", "evaluate"]),
        ({"train": {"encoded": "SET"}}, ["train", "generate", "reconstruct", "evaluate"]),
        ({"relax": {"max_steps": 2}}, ["train", "generate", "reconstruct", "relax", "evaluate"]),
    ],
)
def test_a_system_starts_from_what_it_is_given(own, verbs, write_comparison, tmp_path, tiny_workspace):
    model = next((tiny_workspace / "train").glob("[!.]*"))
    text = json.dumps(own).replace("MODEL", str(model))
    path = write_comparison(
        lambda document: document["compare"].update(systems={"given": json.loads(text)}, baseline=False)
    )
    (cell,) = plan(path, tmp_path).cells
    assert [step.verb for step in cell.steps] == verbs
    if "relax" in own:
        assert cell.steps[-1].settings.structures == str(tmp_path / "w" / "reconstruct" / cell.name)
        assert cell.steps[-1].settings.relaxed == tmp_path / "w" / "relax" / cell.name
