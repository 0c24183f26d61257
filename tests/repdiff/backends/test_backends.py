"""What every registered backend must do: learn, be saved, be resumed, sample, and honour what it is given."""

import pytest
import torch
from accelerate import Accelerator
from stand_in_gpu import GPU, stand_in_gpu

from repdiff.backends import BACKENDS, Samples
from repdiff.errors import UserError
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.settings.backends import backend_options
from repdiff.settings.training import TrainingSettings
from repdiff.testing.backend import CHECKS, Trial, numbers, sample
from repdiff.testing.example_crystals import family
from repdiff.training import train
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
    "retrieval": {},
}
LEARNING = sorted(set(BACKENDS) - {"retrieval"})  # by gradients, and sampling in steps
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("_tiny_composition_model")


@pytest.fixture(scope="module")
def encoded(tiny_workspace):
    return EncodedSet.read(tiny_workspace / "encode" / "tiny-ead")


@pytest.fixture(scope="module")
def trials(encoded, tmp_path_factory):
    """Return the trial of a backend, whose model is trained once."""
    made = {}

    def get(name):
        if name not in made:
            made[name] = Trial(
                name=name, folder=tmp_path_factory.mktemp(name), options=SMALL[name], encoded=encoded
            )
        return made[name]

    return get


def test_every_backend_has_a_small_model_to_be_tested_with():
    assert set(SMALL) == set(BACKENDS)


@pytest.mark.parametrize("check", sorted(CHECKS))
@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_a_backend_passes_the_acceptance_kit(name, check, trials):
    CHECKS[check](trials(name))


def test_the_kit_catches_samples_that_depend_on_their_company(trials, monkeypatch):
    trial = trials("gemsdiff")
    monkeypatch.setattr(trial.kind, "sample", lambda self, n, **_: Samples(made=tuple(family()[:n])))
    with pytest.raises(AssertionError, match="samples 3 and 4 differ"):
        CHECKS["company"](trial)
    with pytest.raises(AssertionError, match="seeds 4 and 5 give the same"):
        CHECKS["files"](trial)
    with pytest.raises(AssertionError, match="is called 'halide-3-9', expected 'gen-000000'"):
        CHECKS["samples"](trial)


class OnGpu(Accelerator):
    """What accelerate would find where there is a GPU."""

    device = property(lambda self: GPU)


@pytest.mark.parametrize("name", LEARNING)
def test_a_gpu_trains_and_samples_as_the_processor(name, trials, tmp_path, monkeypatch):
    trial = trials(name)
    trial.fit(tmp_path / "here", steps=2, precision="fp32")
    expected = numbers(sample(trial.load(), 2))
    monkeypatch.setattr("repdiff.training.loop.Accelerator", OnGpu)
    with stand_in_gpu() as gpu:
        trial.fit(tmp_path / "there", steps=2, device="auto", precision="fp32")
        found = numbers(sample(trial.load(gpu), 2))
    here, there = (
        [record["train_loss"] for record in read_metrics(tmp_path / run)] for run in ("here", "there")
    )
    assert there == pytest.approx(here, rel=1e-4)
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=2e-3)


def test_a_training_takes_the_gpu_it_is_told(trials, tmp_path, monkeypatch):
    taken = []
    monkeypatch.setattr("repdiff.training.loop.Accelerator", OnGpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    for device in ("cpu:0", "cuda", "cuda:1"):
        with stand_in_gpu():
            trials("gemsdiff").fit(tmp_path / device, steps=1, device=device, precision="fp32")
    assert set(taken) == {torch.device("cuda:1")}


def test_a_sampler_of_vectors_is_refused_by_a_backend_of_crystals(trials):
    backend = trials("gemsdiff").load()
    with pytest.raises(UserError, match=r"unknown option 'sampler'; known: .*positions"):
        backend.check(options={"sampler": "ddim"})


@pytest.mark.parametrize("name", LEARNING)
def test_more_steps_than_in_training_are_refused_by_the_name_of_the_argument(name, trials):
    with pytest.raises(UserError, match=r"^`steps` is 21, expected at most [12]0, as in training$"):
        trials(name).load().check(steps=21)


@pytest.mark.parametrize("name", sorted(set(BACKENDS) - {"mattergen", "structrepdiff"}))
def test_conditions_are_refused_where_a_backend_takes_none(name, trials):
    backend = trials(name).load()
    with pytest.raises(ValueError, match="takes no properties"):
        backend.check(conditions={"band_gap": 1.5})


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_options_are_taken_built_or_by_name_and_give_the_same_samples(name, trials):
    backend = trials(name).load()
    changed = {"structrepdiff": {"sampler": "ddim"}, "retrieval": {"n_tries": 2}}.get(
        name, {"crystals_at_once": 2}
    )
    built = backend.sampling_options.model_validate(changed)
    first, second = (numbers(backend.sample(2, options=options)) for options in (built, changed))
    torch.testing.assert_close(first, second)


OF_ANY_LENGTH = {"gemsdiff": {"formulas"}, "mattergen": {"sizes"}}  # nothing else in the file tells how many


@pytest.mark.parametrize(
    ("name", "options"),
    [*((name, {}) for name in sorted(BACKENDS)), ("structrepdiff", {"compositions": "first"})],
)
def test_a_file_in_which_one_tensor_has_another_shape_is_refused_whichever_it_is(
    name, options, trials, encoded, tmp_path
):
    trial = trials(name)
    if options:
        trial = Trial(name=name, folder=tmp_path, options=SMALL[name] | options, encoded=encoded)
    kind = trial.kind.kind
    trial.load()  # takes what is right
    tensors, metadata = load_checkpoint(trial.trained(), kind=kind)
    del metadata["kind"], metadata["format"]
    learnt = [key for key in tensors if key.endswith((".weight", ".bias"))]
    for key in {*tensors} - {*learnt[1:]}:
        wrong = [tensors[key][None]]
        if key not in OF_ANY_LENGTH.get(name, ()) and tensors[key].ndim and tensors[key].numel():
            wrong.append(torch.cat([tensors[key], tensors[key]]))
        for tensor in wrong:
            file = save_checkpoint(
                tmp_path / "model.safetensors", tensors | {key: tensor}, metadata, kind=kind
            )
            with pytest.raises(UserError, match=f"^{file}: .*(shape|size)") as refused:
                trial.kind.load(file, device=CPU)
            assert "again" in str(refused.value), key
            assert "\n" not in str(refused.value), key


@pytest.mark.parametrize("name", sorted(BACKENDS))
def test_samples_are_either_crystals_or_representations_as_the_backend_says(name, trials):
    backend = trials(name).load()
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


@pytest.mark.parametrize("name", LEARNING)
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
