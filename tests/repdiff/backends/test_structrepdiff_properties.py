"""Properties of StructRepDiff: taught with the model or afterwards, asked for, and refused."""

import logging
import math

import pytest
import torch

from repdiff.backends.fit import train_job
from repdiff.backends.structrepdiff import StructRepDiff
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.training import TrainingSettings

CPU = torch.device("cpu")
SMALL = {
    "timesteps": 10,
    "denoiser_options.width": 16,
    "denoiser_options.n_blocks": 1,
    "encoder_width": 16,
    "protostructure_options.width": 16,
    "protostructure_options.n_blocks": 1,
}
QUICK = {"batch_size": 8, "learning_rate": 5e-3, "warmup_steps": 0, "ema_every": 1, "lr_schedule": "constant"}

pytestmark = pytest.mark.usefixtures("_tiny_composition_model")


@pytest.fixture(scope="module")
def encoded(tiny_workspace):
    """Crystals with labels for most of them."""
    made = EncodedSet.read(tiny_workspace / "encode" / "tiny-ead")
    crystals = [
        crystal.replace(
            labels={
                "size": 0.1 * crystal.n_atoms,
                "oxide": 8 in crystal.atomic_numbers,
                "flat": 2.0,
                "gap": None,
            }
        )
        for crystal in made.crystals
    ]
    train = made.rows("train")
    crystals[train[0]] = crystals[train[0]].replace(labels={})
    crystals[train[1]] = crystals[train[1]].replace(labels={"size": math.nan})
    return EncodedSet(
        crystals=crystals,
        representations=made.representations,
        layout=made.layout,
        symmetry=made.symmetry,
    )


def trained(job, folder, *, steps=4, **changes):
    settings = TrainingSettings.model_validate({"max_steps": steps, **QUICK, **changes})
    train_job(job, settings, folder, progress=False)
    return folder


@pytest.fixture(scope="module")
def base(encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return trained(StructRepDiff.prepare(encoded, options=SMALL, folder=folder), folder)


@pytest.fixture(scope="module")
def taught(encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("taught")
    options = {**SMALL, "condition_on": ("size", "oxide")}
    return trained(StructRepDiff.prepare(encoded, options=options, folder=folder), folder, steps=40)


@pytest.fixture(scope="module")
def tuned(encoded, base, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tuned")
    job = StructRepDiff.prepare_finetuning(encoded, base, names=["size"])
    return trained(job, folder, steps=40)


def made(path, n=6, **asked):
    backend = StructRepDiff.load(path, device=CPU)
    how = {"conditions", "guidance", "options"} & set(asked)
    backend.check(**{name: asked[name] for name in how})
    found = backend.sample(n, seed=3, **asked).representations
    assert found.symmetry is not None
    return found.vectors, found.symmetry.protostructures


def same(left, right):
    return left[1] == right[1] and torch.equal(left[0], right[0])


@pytest.mark.parametrize("model", ["taught", "tuned"])
def test_guidance_of_one_is_the_conditional_model_and_of_zero_the_unconditional_one(model, request):
    path, asked = request.getfixturevalue(model), {"size": 0.2}
    assert same(made(path, conditions=asked, guidance=1.0), made(path, conditions=asked))
    assert same(made(path, conditions=asked, guidance=0.0), made(path))
    assert not same(made(path, conditions=asked), made(path))
    assert not same(made(path, conditions=asked, guidance=3.0), made(path, conditions=asked))


def test_fresh_adapters_leave_every_sample_as_it_is(encoded, base, tmp_path):
    job = StructRepDiff.prepare_finetuning(encoded, base, names=["size"])
    assert job.first is not None
    untrained = {f"network.{name}": value for name, value in job.model.learnt.state_dict().items()}
    first = {f"{job.first.name}.{name}": value for name, value in job.first.model.learnt.state_dict().items()}
    metadata = {**job.metadata, "model": job.model.describe(), job.first.name: job.first.model.describe()}
    path = tmp_path / "model.safetensors"
    save_checkpoint(path, {**job.tensors, **untrained, **first}, metadata, kind=StructRepDiff.kind)
    plain, told, mixed = (
        made(base),
        made(path, conditions={"size": 0.5}),
        made(path, conditions={"size": 0.5}, guidance=4.0),
    )
    assert same(told, plain)
    assert mixed[1] == plain[1]
    torch.testing.assert_close(mixed[0], plain[0], rtol=1e-3, atol=1e-3)


def test_the_condition_reaches_the_vectors_of_given_protostructures(taught, encoded):
    given = [one for one in encoded.symmetry.protostructures if one is not None][:4]
    low, high = (made(taught, 4, protostructures=given, conditions={"size": size}) for size in (0.2, 0.5))
    assert low[1] == high[1]
    assert not torch.equal(low[0], high[0])


def test_classes_are_asked_for_by_name(taught):
    assert not same(
        made(taught, conditions={"oxide": True}, guidance=3.0),
        made(taught, conditions={"oxide": "false"}, guidance=3.0),
    )
    with pytest.raises(UserError, match="oxide is 'maybe', expected one of false, true"):
        made(taught, conditions={"oxide": "maybe"})


def test_exact_conditions_stay_exact_beside_learnt_ones(taught):
    _, found = made(taught, 12, conditions={"size": 0.5, "space_group": 221}, guidance=3.0)
    assert {one.number for one in found if one is not None} == {221}


def test_only_adapters_change_if_only_they_are_trained(encoded, base, tmp_path):
    job = StructRepDiff.prepare_finetuning(encoded, base, names=["size"], weights="adapters")
    path = trained(job, tmp_path, steps=6)
    before, _ = load_checkpoint(base, kind=StructRepDiff.kind)
    after, _ = load_checkpoint(path, kind=StructRepDiff.kind)
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    moved = [name for name in after if name not in before and "mix_in" in name and bool(after[name].any())]
    assert {name.partition(".")[0] for name in moved} == {"network", "protostructures"}


def test_another_property_can_be_added_and_the_first_stays(encoded, tuned, tmp_path):
    job = StructRepDiff.prepare_finetuning(encoded, tuned, names=["oxide"])
    assert set(job.n_labelled) == {"size", "oxide"}
    path = trained(job, tmp_path)
    assert len(made(path, 3, conditions={"size": 0.2, "oxide": True}, guidance=2.0)[1]) == 3
    with pytest.raises(UserError, match="adapter for size already"):
        StructRepDiff.prepare_finetuning(encoded, tuned, names=["size"])


def test_unlabelled_crystals_are_used_and_counted(encoded, base, caplog):
    with caplog.at_level(logging.WARNING):
        job = StructRepDiff.prepare_finetuning(encoded, base, names=["size"])
    n_train = len(encoded.rows("train"))
    assert len(job.training) == n_train
    assert job.n_labelled == {"size": n_train - 2}
    assert f"2 of {n_train} training crystals have no label size" in caplog.text


def test_training_without_properties_is_what_it_was(encoded, base, tmp_path):
    _, metadata = load_checkpoint(base, kind=StructRepDiff.kind)
    assert metadata["model"]["properties"] is None
    assert "properties" not in metadata["protostructures"]
    del metadata["model"]["properties"]  # as older files
    tensors, _ = load_checkpoint(base, kind=StructRepDiff.kind)
    old = tmp_path / "old.safetensors"
    save_checkpoint(old, tensors, metadata, kind=StructRepDiff.kind)
    assert same(made(old), made(base))


def test_values_beyond_the_labels_are_warned_of(taught, caplog):
    with caplog.at_level(logging.WARNING):
        made(taught, 1, conditions={"size": 7})
    assert caplog.text.count("size=7 is asked for: the training labels go from 0.2 to 0.5") == 1


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("siez", "unknown property 'siez'.*Did you mean 'size'"),
        ("flat", "flat is 2.0 for all"),
        ("gap", "no training crystal has a label gap"),
        ("space_group", "names space_group, which structrepdiff satisfies exactly"),
        ("chemical_system", "names chemical_system, which structrepdiff satisfies exactly"),
    ],
)
def test_labels_that_do_not_serve_are_refused(name, message, encoded, base, tmp_path):
    with pytest.raises(UserError, match=message):
        StructRepDiff.prepare_finetuning(encoded, base, names=[name])
    with pytest.raises(UserError, match=message):
        StructRepDiff.prepare(encoded, options={**SMALL, "condition_on": (name,)}, folder=tmp_path)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"conditions": {"band_gap": 1.0}},
            "unknown property 'band_gap'; known: .*size.*finetune --property",
        ),
        ({"conditions": {"size": "large"}}, "`conditions` size is 'large', expected a finite number"),
        ({"guidance": 2.0}, "`guidance` is 2 and no property of `conditions` has an adapter"),
    ],
)
def test_what_a_model_cannot_be_asked_for_is_refused(asked, message, taught):
    with pytest.raises(UserError, match=message):
        StructRepDiff.load(taught, device=CPU).check(**asked)


@pytest.mark.parametrize("how", ["first", "joint"])
def test_models_without_protostructures_are_refused(how, encoded, tmp_path):
    options = {**SMALL, "compositions": how}
    with pytest.raises(UserError, match="expected it with `compositions` 'protostructure' only"):
        StructRepDiff.prepare(encoded, options={**options, "condition_on": ("size",)}, folder=tmp_path)
    if how == "joint":
        path = trained(StructRepDiff.prepare(encoded, options=options, folder=tmp_path), tmp_path, steps=1)
        with pytest.raises(UserError, match="draws no protostructures"):
            StructRepDiff.prepare_finetuning(encoded, path, names=["size"])


def test_your_own_table_goes_through_the_verbs_in_one_command(run, encoded, tmp_path):
    table = tmp_path / "my.csv"
    rows = [f"{crystal.id},{crystal.volume / crystal.n_atoms}" for crystal in encoded.crystals[3:]]
    table.write_text("\n".join(["id,roominess", *rows, "stranger,1.0"]))
    words = [
        "finetune",
        "--labels",
        str(table),
        "--property",
        "roominess",
        "--max-steps",
        "3",
        "--batch-size",
        "8",
    ]
    code, path, said = run(*words)
    assert code == 0, said
    assert "3 of 41 crystals are not in" in said
    assert "1 rows of" in said
    code, found, said = run(
        "generate", "--condition", "roominess=20", "--guidance", "2", "--n", "2", "--steps", "3"
    )
    assert code == 0, said
    assert path.name in found.name
    assert "guidance2" in found.name


def test_a_model_taught_in_training_is_asked_without_fine_tuning(run, encoded, workspace):
    encoded.write(workspace / "encode" / "tiny-ead")
    code, path, said = run(
        "train", "--condition-on", "size", "--max-steps", "3", "--batch-size", "8", "--timesteps", "10",
        "--denoiser-options", "width=16,n_blocks=1", "--name", "sized",
    )  # fmt: skip
    assert code == 0, said
    code, found, said = run("generate", "--condition", "size=0.2", "--n", "2")
    assert code == 0, said
    assert found.name.startswith(path.name)
