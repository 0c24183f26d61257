"""What every registered backend must do: learn, be saved, be resumed, sample, and honour what it is given."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from stand_in_gpu import GPU, stand_in_gpu

from repdiff.backends import BACKENDS, backend_of
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.formula import count_elements
from repdiff.crystals.geometry import check_structures
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.settings.backends import backend_options
from repdiff.training import TrainingSettings, train
from repdiff.training.log import read_metrics

SMALL = {
    "structrepdiff": {
        "denoiser_options": {"width": 32, "n_blocks": 1},
        "timesteps": 20,
    },
    "dpcdvae": {
        "network.width": 16,
        "network.n_blocks": 1,
        "network.n_neighbors": 8,
        "network.max_neighbors": 12,
        "encoder.width": 16,
        "encoder.n_blocks": 1,
        "encoder.n_neighbors": 8,
        "encoder.max_neighbors": 12,
        "n_latent": 16,
        "head_width": 16,
        "timesteps": 10,
    },
    "gemsdiff": {
        "network.width": 16,
        "network.n_blocks": 1,
        "network.n_neighbors": 8,
        "network.max_neighbors": 12,
        "torus.timesteps": 10,
        "lattice.timesteps": 10,
    },
    "mattergen": {
        "network.width": 16,
        "network.n_blocks": 1,
        "network.n_neighbors": 8,
        "network.max_neighbors": 12,
        "timesteps": 10,
    },
}
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("_tiny_composition_model")


@pytest.fixture(scope="module")
def encoded(tiny_workspace):
    return EncodedSet.read(tiny_workspace / "encode" / "tiny-ead")


def fit(name, encoded, folder, *, steps, resume=False, **changes):
    chosen = TrainingSettings(**{"batch_size": 8, "max_steps": steps} | changes)
    job = BACKENDS[name].prepare(encoded, options=SMALL[name], seed=chosen.seed, folder=folder)
    quick = {
        "log_every": 1,
        "validate_every": 5,
        "warmup_steps": 0,
        "ema_every": 1,
        "lr_schedule": "constant",
    }
    return train(
        job.model,
        job.training,
        job.validation,
        chosen.model_copy(update=quick),
        folder,
        metadata=job.metadata,
        tensors=job.tensors,
        resume=resume,
        progress=False,
    )


@pytest.fixture(scope="module")
def trained(encoded, tmp_path_factory):
    folders = {}

    def get(name):
        if name not in folders:
            folders[name] = tmp_path_factory.mktemp(name)
            fit(name, encoded, folders[name], steps=12)
        return folders[name]

    return get


def sample(backend, n, **asked):
    made = backend.sample(n, **asked)
    if backend.makes == "representations":
        return made.representations.vectors
    return torch.stack([as_vector(crystal) for crystal in made.crystals])


def as_vector(crystal):
    padded = torch.zeros(200, dtype=torch.float64)
    flat = np.concatenate([crystal.lattice.ravel(), crystal.atomic_numbers, crystal.frac_coords.ravel()])
    padded[: len(flat)] = torch.from_numpy(flat)
    return padded


def formulas(backend, made):
    if backend.makes == "crystals":
        return [dict(count_elements(crystal)) for crystal in made.crystals]
    made = made.representations
    blocks = made.layout.representation().blocks
    counts = (made.vectors[:, blocks["composition"]] * made.vectors[:, blocks["n_atoms"]]).round().long()
    return [
        {made.layout.elements[column]: int(count) for column, count in enumerate(row) if count}
        for row in counts
    ]


def test_every_backend_has_a_small_model_to_be_tested_with():
    assert set(SMALL) == set(BACKENDS)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_backend_describes_itself_in_one_line(name):
    backend = BACKENDS[name]
    assert 20 < len(backend.description) <= 100
    assert "\n" not in backend.description
    assert backend.conditions <= {"composition", "properties"}


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_the_loss_falls(name, encoded, tmp_path):
    fit(name, encoded, tmp_path, steps=60, learning_rate=5e-3)
    losses = [record["train_loss"] for record in read_metrics(tmp_path)]
    assert np.mean(losses[-15:]) < 0.9 * np.mean(losses[:5])


class OnGpu(Accelerator):
    """What accelerate would find where there is a GPU."""

    device = property(lambda self: GPU)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_gpu_trains_and_samples_as_the_processor(name, encoded, trained, tmp_path, monkeypatch):
    fit(name, encoded, tmp_path / "here", steps=3, precision="fp32")
    expected = sample(BACKENDS[name].load(trained(name), device=CPU), 3)
    monkeypatch.setattr("repdiff.training.loop.Accelerator", OnGpu)
    with stand_in_gpu() as gpu:
        fit(name, encoded, tmp_path / "there", steps=3, device="auto", precision="fp32")
        found = sample(BACKENDS[name].load(trained(name), device=gpu), 3)
    here, there = (
        [record["train_loss"] for record in read_metrics(tmp_path / run)] for run in ("here", "there")
    )
    assert there == pytest.approx(here, rel=1e-4)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def test_a_training_takes_the_gpu_it_is_told(encoded, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr("repdiff.training.loop.Accelerator", OnGpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for device in ("cpu:0", "cuda", "cuda:1"):
        with stand_in_gpu():
            fit("structrepdiff", encoded, tmp_path / device, steps=1, device=device, precision="fp32")
    assert taken == [torch.device("cuda:1")]


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_resumed_training_repeats_an_uninterrupted_one(name, encoded, tmp_path):
    fit(name, encoded, tmp_path / "whole", steps=8)
    fit(name, encoded, tmp_path / "parts", steps=4)
    fit(name, encoded, tmp_path / "parts", steps=8, resume=True)
    kind = BACKENDS[name].kind
    whole, _ = load_checkpoint(tmp_path / "whole", kind=kind)
    parts, _ = load_checkpoint(tmp_path / "parts", kind=kind)
    for key, value in whole.items():
        torch.testing.assert_close(parts[key], value, rtol=0, atol=0)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_trained_file_tells_its_backend_and_samples_alike_when_read_again(name, trained):
    assert backend_of(trained(name)) == name
    backends = [BACKENDS[name].load(trained(name), device=CPU) for _ in range(2)]
    first, second = (sample(backend, 3, seed=4) for backend in backends)
    assert torch.equal(first, second)
    assert not torch.equal(first, sample(backends[0], 3, seed=5))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_sample_does_not_depend_on_what_is_drawn_with_it(name, trained):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    together, apart = sample(backend, 5, seed=1), sample(backend, 2, seed=1, first=3)
    torch.testing.assert_close(together[3:], apart, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_samples_are_finite_and_have_the_size_of_training_crystals(name, trained, encoded):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    made = backend.sample(6, seed=2)
    sizes = {crystal.n_atoms for crystal in encoded.crystals}
    assert {sum(formula.values()) for formula in formulas(backend, made)} <= set(range(max(sizes) + 1))
    if backend.makes == "crystals":
        crystals = made.crystals
        assert all(isinstance(crystal, Crystal) for crystal in crystals)
        assert [crystal.id for crystal in crystals] == [f"gen-{number:06d}" for number in range(6)]
        assert all(np.isfinite(crystal.frac_coords).all() for crystal in crystals)
        assert all(check.volume and check.volume > 0.1 for check in check_structures(crystals))
    else:
        assert bool(made.representations.vectors.isfinite().all())


@pytest.mark.parametrize(
    "name", sorted(name for name in BACKENDS if "composition" in BACKENDS[name].conditions)
)
def test_a_given_composition_is_honoured_and_a_strange_element_refused(name, trained, encoded):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    elements = encoded.layout.elements
    asked = [{elements[0]: 1, elements[1]: 2}, {elements[2]: 3}]
    made = backend.sample(2, compositions=asked)
    assert formulas(backend, made) == asked
    with pytest.raises(UserError, match="atomic number 118"):
        backend.check(compositions=[{118: 2}])
    n_most = max(crystal.n_atoms for crystal in encoded.crystals)
    with pytest.raises(UserError, match=f"has {n_most + 90} atoms, expected at most"):
        backend.check(compositions=[asked[0], {elements[0]: n_most + 90}])


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_an_unknown_option_of_sampling_is_refused_before_anything_is_made(name, trained):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    with pytest.raises(UserError, match="widht"):
        backend.check(options={"widht": 3})


def test_a_sampler_of_vectors_is_refused_by_a_backend_of_crystals(trained):
    backend = BACKENDS["gemsdiff"].load(trained("gemsdiff"), device=CPU)
    with pytest.raises(UserError, match=r"unknown option 'sampler'; known: .*positions"):
        backend.check(options={"sampler": "ddim"})


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_more_steps_than_in_training_are_refused_by_the_name_of_the_argument(name, trained):
    with pytest.raises(UserError, match=r"^`steps` is 21, expected at most [12]0, as in training$"):
        BACKENDS[name].load(trained(name), device=CPU).check(steps=21)


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"mattergen"}))
def test_conditions_are_refused_where_a_backend_takes_none(name, trained):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    with pytest.raises(ValueError, match="takes no properties"):
        backend.check(conditions={"band_gap": 1.5})


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_options_are_taken_built_or_by_name_and_give_the_same_samples(name, trained):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    changed = {"structrepdiff": {"sampler": "ddim"}}.get(name, {"crystals_at_once": 2})
    built = backend.sampling_options.model_validate(changed)
    torch.testing.assert_close(sample(backend, 2, options=built), sample(backend, 2, options=changed))


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_samples_are_either_crystals_or_representations_as_the_backend_says(name, trained):
    backend = BACKENDS[name].load(trained(name), device=CPU)
    made = backend.sample(2)
    other = "crystals" if backend.makes == "representations" else "representations"
    assert (
        len(made)
        == len(getattr(made, backend.makes) if other != "crystals" else made.representations.vectors)
        == 2
    )
    with pytest.raises(ValueError, match=f"expected {other}"):
        getattr(made, other)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_backend_declares_the_options_that_are_found_without_it(name):
    declared, backend = backend_options(name), BACKENDS[name]
    assert (backend.kind, backend.training_options, backend.sampling_options) == (
        declared.kind,
        declared.training,
        declared.sampling,
    )
    assert ("properties" in backend.conditions) == (declared.conditions is not None)


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_an_unknown_option_is_refused_and_the_nearest_named(name, encoded, tmp_path):
    wrong = {"denoiser_options": {"widht": 3}} if name == "structrepdiff" else {"network.widht": 3}
    with pytest.raises(UserError, match="width"):
        BACKENDS[name].prepare(encoded, options=wrong, folder=tmp_path)


def test_gemsdiff_samples_with_the_published_cell_settings_however_bad_its_network(encoded, tmp_path):
    published = {
        "lattice.gauge": "general",
        "lattice.standardize": False,
        "lattice.per_atom_volume": False,
        "lattice.rotation_noise": 1.0,
        "lattice.target": "posterior_mean",
    }
    options = SMALL["gemsdiff"] | published
    job = BACKENDS["gemsdiff"].prepare(encoded, options=options, folder=tmp_path)
    quick = TrainingSettings(max_steps=2, batch_size=8, warmup_steps=0)
    train(
        job.model, job.training, job.validation, quick, tmp_path, metadata=job.metadata, tensors=job.tensors
    )
    made = BACKENDS["gemsdiff"].load(tmp_path, device=CPU).sample(24, seed=5)
    assert all(1e-4 < crystal.volume < 1e4 for crystal in made.crystals)


def test_gemsdiff_refuses_inputs_that_it_does_not_give(encoded, tmp_path):
    with pytest.raises(UserError, match="condition_width"):
        BACKENDS["gemsdiff"].prepare(encoded, options={"network.condition_width": 8}, folder=tmp_path)


@pytest.mark.parametrize("makes", ["crystals"])
def test_a_backend_of_crystals_goes_through_the_verbs(makes, run):
    flags = [
        f"--{key.replace('.', '-').replace('_', '-')}={value}" for key, value in SMALL["gemsdiff"].items()
    ]
    code, model, said = run("train", "--backend", "gemsdiff", *flags, "--max-steps", "4", "--batch-size", "8")
    assert code == 0, said
    code, path, said = run("generate", "--model", str(model), "--n", "3", "--shard-size", "2")
    assert code == 0, said
    assert (path / "structures.extxyz").is_file()
    assert (path / "table.parquet").is_file()
    code, _, said = run("reconstruct", "--generated", str(path))
    assert (code, "nothing to reconstruct" in said) == (2, True)
    code, scores, said = run("evaluate", "--only", "validity", "--n-workers", "1")
    assert code == 0, said
    assert path.name in scores.name
