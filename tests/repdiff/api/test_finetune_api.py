"""Teaching properties from Python."""

import pytest
import torch

import repdiff as rd


@pytest.fixture(scope="module")
def sized(encoded):
    """Labels by id for all crystals but one."""
    return {crystal.id: {"size": float(crystal.n_atoms)} for crystal in encoded.crystals[1:]}


@pytest.fixture(scope="module")
def tuned(model, encoded, sized, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned") / "model"
    return rd.finetune(
        model, encoded, property="size", labels=sized, folder=folder, max_steps=3, batch_size=8, warmup_steps=0,
        device="cpu", progress=False,
    )  # fmt: skip


def test_what_was_taught_can_be_asked_for_and_the_model_stays_as_it_was(model, tuned):
    how = {"sampler": "ddim", "steps": 3, "progress": False}
    before = model.sample_representations(2, **how).vectors
    asked = tuned.sample_representations(2, conditions={"size": 5}, guidance=3.0, **how).vectors
    assert asked.shape == before.shape
    assert torch.equal(before, model.sample_representations(2, **how).vectors)
    with pytest.raises(rd.UserError, match="unknown property 'size'"):
        model.sample_representations(2, conditions={"size": 5}, **how)
    again = rd.load_model(tuned.path, device="cpu")
    assert torch.equal(
        asked, again.sample_representations(2, conditions={"size": 5}, guidance=3.0, **how).vectors
    )


def test_other_labels_in_the_same_folder_are_refused(model, encoded, sized, tuned):
    other = {name: {"size": -labels["size"]} for name, labels in sized.items()}
    with pytest.raises(rd.UserError, match="holds a training on other crystals"):
        rd.finetune(model, encoded, property="size", labels=other, folder=tuned.path, progress=False)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"property": ()}, "`property` is missing"),
        ({"property": ("size", "size")}, "each once"),
        ({"property": "gap"}, "unknown property 'gap'"),
        ({"property": "size", "labels": {"nobody": {"size": 1.0}}}, "labels has none of the"),
        ({"property": "size", "labels": "none.csv"}, "no such file"),
        ({"property": "size", "weights": "some"}, "option weights is 'some'"),
        ({"property": "size", "max_stepz": 1}, "unknown option 'max_stepz'"),
    ],
)
def test_what_cannot_be_taught_is_refused_in_one_line(how, message, model, encoded):
    with pytest.raises(rd.UserError, match=message):
        rd.finetune(model, encoded, device="cpu", progress=False, **how)


def test_a_model_that_takes_no_properties_is_refused(encoded, sized):
    other = rd.train(encoded, backend="retrieval", device="cpu", progress=False)
    with pytest.raises(rd.UserError, match="takes no properties, expected one of mattergen or structrepdiff"):
        rd.finetune(other, encoded, property="size", labels=sized, device="cpu", progress=False)
