"""Several processes train as one does: every model, with its dropout, its means over atoms and its random settings."""

from pathlib import Path

import pytest
import torch
from torch import nn
from two_processes import run_in_two_processes

import repdiff as rd
from repdiff.backends import BACKENDS
from repdiff.backends.fit import train_job
from repdiff.networks.composition import CompositionModelSettings
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.testing.example_crystals import family
from repdiff.training import TrainingSettings
from repdiff.training.log import read_metrics
from repdiff.training.shares import WholeBatchDropout, mean_weight

NETWORK = {
    "network.width": 16,
    "network.n_blocks": 1,
    "network.n_neighbors": 8,
    "network.max_neighbors": 12,
}
ENCODER = {name.replace("network", "encoder"): value for name, value in NETWORK.items()}
VECTORS = {"denoiser_options": {"width": 32, "n_blocks": 1, "dropout": 0.3}, "timesteps": 20}
MODELS = {
    "protostructures": ("structrepdiff", VECTORS | {"protostructure_options": {"width": 16, "n_blocks": 1}}),
    "labels": (
        "structrepdiff",
        VECTORS
        | {"protostructure_options": {"width": 16, "n_blocks": 1}, "condition_on": ["formation_energy"]},
    ),
    "compositions": ("structrepdiff", VECTORS | {"compositions": "first"}),
    "gemsdiff": ("gemsdiff", NETWORK | {"torus.timesteps": 10, "lattice.timesteps": 10}),
    "mattergen": ("mattergen", NETWORK | {"timesteps": 10}),
    "dpcdvae": ("dpcdvae", NETWORK | ENCODER | {"n_latent": 16, "head_width": 16, "timesteps": 10}),
}
PROCESS_OF_TWO = """
import sys
import torch
from accelerate import Accelerator
from test_several_processes import train_all
from pathlib import Path

torch.set_num_threads(1)
assert Accelerator().num_processes == 2
train_all(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def train_all(encoded, folder):
    """Train every model for some steps."""
    settings = TrainingSettings(
        max_steps=4, max_epochs=2, batch_size=12, log_every=1, precision="fp32", warmup_steps=0, device="cpu"
    )
    data, small = EncodedSet.read(encoded), CompositionModelSettings(width=16, n_blocks=1)
    stages = "repdiff.backends.structrepdiff_stages"
    for name, (backend, options) in MODELS.items():
        place = folder / name
        with pytest.MonkeyPatch.context() as patch:  # in both alike, whatever other tests have set
            patch.setattr(f"{stages}.CompositionModelSettings", lambda: small)
            patch.setattr(f"{stages}.MAX_EPOCHS", 2)
            patch.setattr(f"{stages}.MAX_EPOCHS_OF_FORMULAS", 2)
            job = BACKENDS[backend].prepare(data, options=options, folder=place)
        train_job(job, settings, place, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Return the folders of models that one process trained, and that two did."""
    root = tmp_path_factory.mktemp("processes")
    crystals = [
        crystal.replace(labels={"formation_energy": row % 7 - 3.0}) for row, crystal in enumerate(family())
    ]
    encoded = rd.encode(crystals, device="cpu", progress=False)
    encoded.write(root / "encoded")
    (root / "process.py").write_text(PROCESS_OF_TWO)
    train_all(root / "encoded", root / "one")
    run_in_two_processes(root / "process.py", root / "encoded", root / "two", beside=Path(__file__).parent)
    return root / "one", root / "two"


def runs_of(folder):
    return sorted(file.parent for file in folder.rglob("metrics.jsonl"))


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(MODELS))
def test_two_processes_give_the_losses_and_the_weights_of_one(name, trained):
    one, two = ([*runs_of(folder / name)] for folder in trained)
    assert len(one) == len(two) == (2 if MODELS[name][0] == "structrepdiff" else 1)
    for here, there in zip(one, two, strict=True):
        alone, shared = read_metrics(here), read_metrics(there)
        assert len(alone) == len(shared) >= 2
        for expected, found in zip(alone, shared, strict=True):
            assert found["train_loss"] == pytest.approx(expected["train_loss"], rel=2e-6), here.name
            assert found["train_blocks"] == pytest.approx(expected["train_blocks"], rel=1e-5), here.name
            assert found["gradient_norm"] == pytest.approx(expected["gradient_norm"], rel=1e-4), here.name


@pytest.mark.slow
def test_two_processes_follow_the_latent_vectors_of_all_crystals(trained):
    stored = [
        load_checkpoint(folder / "dpcdvae" / "model.safetensors", kind="dpcdvae")[0] for folder in trained
    ]
    for name in ("network.moments.mean", "network.moments.square"):
        torch.testing.assert_close(stored[1][name], stored[0][name], atol=1e-5, rtol=1e-4)


COUNTS = torch.tensor([1, 3, 2, 2])
PARTS = [(slice(0, 2), slice(0, 4)), (slice(2, 4), slice(4, 8))]  # rows, and their units


def test_dropout_of_parts_is_that_of_the_whole():
    layers = nn.Sequential(nn.Dropout(0.4), nn.Linear(5, 5), nn.Dropout(0.2))
    values = torch.rand(8, 5)

    def run(rows):
        torch.manual_seed(3)
        return layers(values[rows])

    whole, found = run(slice(0, 8)), []
    for part, rows in PARTS:
        with WholeBatchDropout(COUNTS, part):
            found.append(run(rows))
    torch.testing.assert_close(torch.cat(found), whole)
    assert float((whole == 0).float().mean()) > 0.1


def test_dropout_of_the_whole_is_that_without_parts_to_the_last_bit():
    torch.manual_seed(3)
    expected = nn.functional.dropout(torch.ones(8, 5), 0.4)
    torch.manual_seed(3)
    with WholeBatchDropout(COUNTS, slice(0, 4)):
        assert torch.equal(nn.functional.dropout(torch.ones(8, 5), 0.4), expected)


def test_dropout_that_is_off_stays_off():
    values = torch.rand(4, 5)
    with WholeBatchDropout(COUNTS, slice(0, 2)):
        assert torch.equal(nn.Dropout(0.4).eval()(values), values)


def test_the_mean_of_the_shares_is_the_mean_over_the_batch():
    values = torch.rand(8, dtype=torch.float64)
    shares = [mean_weight(COUNTS, part) * values[rows].mean() for part, rows in PARTS]
    torch.testing.assert_close(sum(shares) / 2, values.mean())
    assert float(mean_weight(COUNTS, slice(0, 4))) == 1.0
