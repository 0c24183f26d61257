"""Adapters, guidance, and what a user can ask for wrongly."""

import logging
import math

import pytest
import torch

from descriptors.batch import CrystalBatch
from repdiff.backends.mattergen import MatterGen
from repdiff.backends.mattergen_training import MatterGenTraining, SymmetricData
from repdiff.backends.properties import as_input, fit_property, labels_of
from repdiff.errors import UserError
from repdiff.networks.crystal import AdapterInput
from repdiff.networks.property_embedding import (
    ChemicalSystemEmbedding,
    ScalarEmbedding,
    SpaceGroupEmbedding,
    built,
    describe,
    read_system,
)
from repdiff.representations.encoded_set import EncodedSet
from repdiff.training import TrainingSettings, train
from repdiff.training.seeds import derived_generator

CPU = torch.device("cpu")
SMALL = {
    "network.width": 16,
    "network.n_blocks": 2,
    "network.n_neighbors": 8,
    "network.max_neighbors": 12,
    "timesteps": 10,
}

pytestmark = pytest.mark.usefixtures("_tiny_composition_model")


def quick(job, folder, *, steps, dropout=None):
    settings = TrainingSettings(
        max_steps=steps, batch_size=8, learning_rate=5e-3, warmup_steps=0, ema_every=1, lr_schedule="constant"
    )
    train(
        job.model, job.training, job.validation, settings, folder,
        metadata=job.metadata, tensors=job.tensors, progress=False,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def encoded(tiny_workspace):
    """Crystals with a label for most of them: 0.1 for each atom in the cell."""
    made = EncodedSet.read(tiny_workspace / "encode" / "tiny-ead")
    crystals = [
        crystal.replace(labels={"size": 0.1 * crystal.n_atoms, "flat": 2.0, "word": "x", "gap": None})
        for crystal in made.crystals
    ]
    crystals[0] = crystals[0].replace(labels={})
    crystals[1] = crystals[1].replace(labels={"size": math.nan})
    return EncodedSet(crystals=crystals, representations=made.representations, layout=made.layout)


@pytest.fixture(scope="module")
def base(encoded, tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    return quick(MatterGen.prepare(encoded, options=SMALL, folder=folder), folder, steps=6)


@pytest.fixture(scope="module")
def tuned(encoded, base, tmp_path_factory):
    job = MatterGen.prepare_finetuning(encoded, base, names=["size", "chemical_system"])
    folder = tmp_path_factory.mktemp("tuned")
    return quick(job, folder, steps=12)


def made(backend, n=4, **asked):
    how = {"steps", "conditions", "guidance", "options"} & set(asked)
    backend.check(**{name: asked[name] for name in how})
    return backend.sample(n, **asked).crystals


def same(left, right):
    return all(
        (one.frac_coords == other.frac_coords).all()
        and (one.lattice == other.lattice).all()
        and (one.atomic_numbers == other.atomic_numbers).all()
        for one, other in zip(left, right, strict=True)
    )


def state_of(model, batch: CrystalBatch):
    state = model.process.encode(batch)
    times = torch.arange(batch.n_systems) % model.process.n_times
    return state._replace(numbers=torch.where(torch.arange(batch.n_atoms) % 2 == 0, 0, state.numbers)), times


@pytest.mark.parametrize("name", ["size", "chemical_system", "space_group"])
def test_a_fresh_adapter_leaves_every_output_as_it_is_bit_by_bit(name, encoded, base):
    before = MatterGen.load(base, device=CPU).diffusion
    job = MatterGen.prepare_finetuning(encoded, base, names=[name])
    assert isinstance(job.model, MatterGenTraining)
    assert isinstance(job.training, SymmetricData)
    after = job.model.diffusion.eval()
    state, times = state_of(after, job.training.batch)
    with torch.no_grad():
        old, new = (
            before.predict(state, times),
            after.predict(state, times, after.adapters(job.training.labels)),
        )
    assert all(torch.equal(one, other) for one, other in zip(old, new, strict=True))


def test_a_trained_adapter_changes_samples_and_the_value_that_is_asked_for_matters(tuned):
    backend = MatterGen.load(tuned, device=CPU)
    none, low, high = (
        made(backend),
        made(backend, conditions={"size": 0.1}),
        made(backend, conditions={"size": 0.8}),
    )
    assert not same(none, low)
    assert not same(low, high)


def test_guidance_of_one_is_the_conditional_model_and_of_zero_the_unconditional_one(tuned):
    backend = MatterGen.load(tuned, device=CPU)
    asked = {"size": 0.3}
    assert same(made(backend, conditions=asked, guidance=1.0), made(backend, conditions=asked))
    assert same(made(backend, conditions=asked, guidance=0.0), made(backend))
    assert not same(made(backend, conditions=asked, guidance=3.0), made(backend, conditions=asked))


def test_several_properties_can_be_asked_for_at_once(tuned, encoded):
    from ase.data import chemical_symbols

    backend = MatterGen.load(tuned, device=CPU)
    symbol = chemical_symbols[encoded.layout.elements[0]]
    both = made(backend, conditions={"size": 0.3, "chemical_system": symbol}, guidance=2.0)
    assert not same(both, made(backend, conditions={"size": 0.3}, guidance=2.0))


@pytest.mark.parametrize("strict", [True, False])
def test_a_chemical_system_rules_out_other_elements_without_an_adapter_or_if_told_to(
    strict, base, tuned, encoded
):
    from ase.data import chemical_symbols

    system = set(encoded.layout.elements[:2])
    asked = {"chemical_system": "-".join(chemical_symbols[number] for number in system)}
    backend = MatterGen.load(tuned if strict else base, device=CPU)
    options = {"strict_system": True} if strict else {}
    crystals = made(backend, n=8, conditions=asked, options=options)
    assert set().union(*(crystal.atomic_numbers.tolist() for crystal in crystals)) <= system


def test_an_adapter_can_be_added_to_a_model_that_has_others(tuned, encoded):
    job = MatterGen.prepare_finetuning(encoded, tuned, names=["space_group"])
    assert list(job.metadata["properties"]) == ["size", "chemical_system", "space_group"]
    with pytest.raises(UserError, match="adapter for size already"):
        MatterGen.prepare_finetuning(encoded, tuned, names=["size"])


def test_only_adapters_change_if_only_they_are_trained(encoded, base, tmp_path):
    job = MatterGen.prepare_finetuning(encoded, base, names=["size"], weights="adapters")
    tuned = MatterGen.load(quick(job, tmp_path, steps=6), device=CPU)
    before = MatterGen.load(base, device=CPU).diffusion.network.state_dict()
    after = tuned.diffusion.network.state_dict()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    new = {name for name in after if name not in before}
    assert any(bool(after[name].any()) for name in new if "mix_in" in name)


def test_labels_are_withheld_from_their_share_of_the_examples(encoded, base):
    job = MatterGen.prepare_finetuning(encoded, base, names=["chemical_system"], condition_dropout=0.5)
    rows = torch.arange(len(job.training)).repeat(40)
    generator = derived_generator(0, device=CPU)
    example = job.model.inputs(job.training, rows, slice(0, len(rows)), generator)
    assert float(example.labels["chemical_system"].has_label.double().mean()) == pytest.approx(0.5, abs=0.08)


def test_unlabelled_crystals_are_used_unconditionally_and_counted(encoded, base, caplog):
    with caplog.at_level(logging.WARNING):
        job = MatterGen.prepare_finetuning(encoded, base, names=["size"])
    n_train = len(encoded.rows("train"))
    missing = sum(row in (0, 1) for row in encoded.rows("train"))
    assert int(job.training.labels["size"].has_label.sum()) == n_train - missing
    if missing:
        assert f"{missing} of {n_train} training crystals have no label size" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("siez", "unknown property 'siez'.*Did you mean 'size'"),
        ("flat", "flat is 2.0 for all"),
        ("word", "word is 'x'|nothing to learn"),
        ("gap", "no training crystal has a label gap"),
    ],
)
def test_labels_that_do_not_serve_are_refused(name, message, encoded, base):
    with pytest.raises(UserError, match=message):
        MatterGen.prepare_finetuning(encoded, base, names=[name])


def test_text_and_infinite_labels_of_a_number_are_refused():
    for wrong in ("high", math.inf, True):
        with pytest.raises(UserError, match="expected finite numbers"):
            fit_property("gap", [1.0, 2.0, wrong], [8])


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"conditions": {"band_gap": 1.0}}, "unknown property 'band_gap'; known: .*size"),
        ({"conditions": {"size": "large"}}, "`conditions` size is 'large', expected a finite number"),
        ({"conditions": {"size": math.nan}}, "expected a finite number"),
        ({"conditions": {"chemical_system": "Xx-O"}}, "expected symbols of elements"),
        ({"conditions": {"chemical_system": "Og"}}, "Og is not in the training set|has Og"),
        ({"guidance": 2.0}, "`guidance` is 2 and no property of `conditions`"),
    ],
)
def test_what_a_model_cannot_be_asked_for_is_refused(asked, message, tuned):
    with pytest.raises(UserError, match=message):
        MatterGen.load(tuned, device=CPU).check(**asked)


def test_guidance_without_an_adapter_is_refused(base):
    with pytest.raises(UserError, match="finetune"):
        MatterGen.load(base, device=CPU).check(guidance=1.5)


def test_a_composition_out_of_the_chemical_system_asked_for_is_refused(tuned, encoded):
    from ase.data import chemical_symbols

    one, other, *_ = encoded.layout.elements
    wanted = {"chemical_system": chemical_symbols[one]}
    backend = MatterGen.load(tuned, device=CPU)
    backend.check(conditions=wanted, compositions=[{one: 4}])
    with pytest.raises(UserError, match="leave one of them out"):
        backend.check(conditions=wanted, compositions=[{one: 1, other: 1}])


def test_chemical_systems_are_read_from_symbols_in_any_order():
    assert read_system("Li-O") == read_system("O - Li") == frozenset({3, 8})
    for wrong in ("", "Li-", "LiO", 3, False):
        with pytest.raises(ValueError, match="such as Li-O"):
            read_system(wrong)


def test_embeddings_come_back_from_what_describes_them():
    properties = {
        "gap": ScalarEmbedding(1.0, 0.5),
        "chemical_system": ChemicalSystemEmbedding([8, 3]),
        "space_group": SpaceGroupEmbedding(),
    }
    again = built(describe(properties))
    for name, embedding in properties.items():
        again[name].load_state_dict(embedding.state_dict())
    for name, label in {"gap": 1.3, "chemical_system": "Li-O", "space_group": 225}.items():
        raw = torch.tensor([properties[name].read(label)])
        assert torch.equal(again[name](raw), properties[name](raw))


def test_labels_that_are_missing_are_not_given_and_do_no_harm():
    embedding = ScalarEmbedding(0.0, 1.0)
    column = as_input("gap", [1.0, None], embedding)
    assert isinstance(column, AdapterInput)
    assert column.has_label.tolist() == [True, False]
    assert bool(embedding(column.values).isfinite().all())


def test_the_space_group_is_found_where_no_label_tells_it(encoded):
    found = labels_of("space_group", encoded.crystals[:6])
    assert all(isinstance(number, int) and 1 <= number <= 230 for number in found)
    told = [crystal.replace(labels={"spacegroup": 12}) for crystal in encoded.crystals[:2]]
    assert labels_of("space_group", told) == [12, 12]


def test_a_model_goes_through_the_verbs_with_an_adapter(run, encoded):
    from ase.data import chemical_symbols

    flags = [f"--{key.replace('.', '-').replace('_', '-')}={value}" for key, value in SMALL.items()]
    code, base, said = run(
        "train",
        "--backend",
        "mattergen",
        *flags,
        "--max-steps",
        "4",
        "--batch-size",
        "8",
    )
    assert code == 0, said
    code, path, said = run(
        "finetune",
        "--property",
        "chemical_system",
        "--from",
        base.name,
        "--max-steps",
        "4",
        "--batch-size",
        "8",
    )
    assert code == 0, said
    assert path.parent.name == "finetune"
    symbols = [chemical_symbols[number] for number in encoded.layout.elements[:2]]
    asked = f"chemical_system={'-'.join(symbols)}"
    code, made, said = run("generate", "--condition", asked, "--guidance", "2", "--n", "2")
    assert code == 0, said
    assert "guidance2" in made.name
    assert path.name in made.name
    code, _, said = run(
        "generate", "--model", path.name, "--condition", asked, "--condition", asked, "--n", "2"
    )
    assert (code, "twice" in said) == (2, True)


def test_a_backend_without_adapters_is_refused(run):
    code, base, said = run("train", "--backend", "retrieval", "--name", "swapped")
    assert code == 0, said
    code, _, said = run("finetune", "--property", "chemical_system", "--from", base.name)
    assert (code, "takes no properties, expected one of mattergen or structrepdiff" in said) == (2, True)
    code, _, said = run("generate", "--model", base.name, "--guidance", "2")
    assert (code, "--guidance: it is an option of mattergen and structrepdiff" in said) == (2, True)
    for wrong in ([], ["--property", "a,a"]):
        code, _, said = run("finetune", *wrong)
        assert (code, "expected one or more names, each once" in said) == (2, True)
