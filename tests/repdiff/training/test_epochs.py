"""What a training run is shown, through the loop itself: every example once an epoch."""

import pytest
from safetensors.torch import load_file
from torch import nn

from repdiff.training import TrainingSettings, train
from repdiff.training.trainable import Trainable, TrainingData

BATCH, N_EPOCHS = 8, 3


class Numbers(TrainingData):
    """Examples that are their own numbers."""

    def __init__(self, n):
        self.n = n

    def __len__(self):
        return self.n

    def to(self, device):
        return self


class Watched(Trainable):
    """A model of one weight, which keeps the rows of every batch of the training set."""

    kind = "watched"

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.batches, self.weights = [], []

    @property
    def learnt(self):
        return self.layer

    @property
    def parts(self):
        return {"all": slice(0, 1)}

    @property
    def n_errors(self):
        return 1

    def inputs(self, data, rows, mine, generator):
        self.batches.append(rows[mine].tolist())
        self.weights.append(self.layer.weight.item())
        return rows[mine, None].float() / data.n

    def forward(self, inputs):
        error = (self.layer(inputs) ** 2).mean()
        return error, error.detach()[None]

    def describe(self):
        return {}


def batches(folder, n, *, n_steps, resume=False):
    model = Watched()
    settings = TrainingSettings(max_steps=n_steps, batch_size=BATCH, warmup_steps=0, checkpoint_every=2)
    train(
        model,
        Numbers(n),
        Numbers(0),
        settings,
        folder,
        metadata={},
        tensors={},
        resume=resume,
        progress=False,
    )
    return model.batches


def by_epochs(seen, n):
    n_batches = n // BATCH
    return [
        [row for batch in seen[first : first + n_batches] for row in batch]
        for first in range(0, len(seen), n_batches)
    ]


@pytest.mark.parametrize("n", [BATCH, 40])
def test_an_epoch_shows_every_example_once(n, tmp_path):
    seen = batches(tmp_path, n, n_steps=N_EPOCHS * n // BATCH)
    epochs = by_epochs(seen, n)
    assert [sorted(epoch) for epoch in epochs] == [list(range(n))] * N_EPOCHS
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]


def test_what_fills_no_batch_is_left_out_and_nothing_comes_twice(tmp_path):
    n = 5 * BATCH + 3
    epochs = by_epochs(batches(tmp_path, n, n_steps=2 * N_EPOCHS * 5), n)
    assert [len(set(epoch)) for epoch in epochs] == [len(epoch) for epoch in epochs] == [40] * 2 * N_EPOCHS
    assert set().union(*epochs) == set(range(n)), "an example is never shown"


def test_a_run_resumed_in_the_middle_of_an_epoch_shows_the_rest_of_it(tmp_path):
    n = 5 * BATCH
    first = batches(tmp_path, n, n_steps=7)
    rest = batches(tmp_path, n, n_steps=15, resume=True)
    assert (len(first), len(rest)) == (7, 8)
    assert [sorted(epoch) for epoch in by_epochs(first + rest, n)] == [list(range(n))] * N_EPOCHS


@pytest.mark.parametrize("every", [1, 2])
@pytest.mark.parametrize("decay", [0.999, 0.1])
def test_averaged_weights_forget_the_first_soon_and_then_decay_as_asked(every, decay, tmp_path):
    """The mean after update n + 1 is d · mean + (1 - d) · weight, with d = min(decay ** every, (1 + n) / (10 + n))."""
    model, n_updates = Watched(), 5
    settings = TrainingSettings(
        max_steps=n_updates * every,
        batch_size=BATCH,
        warmup_steps=0,
        learning_rate=0.1,
        ema_every=every,
        ema_decay=decay,
    )
    train(model, Numbers(40), Numbers(0), settings, tmp_path, metadata={}, tensors={}, progress=False)
    after = [*model.weights[1:], model.layer.weight.item()][every - 1 :: every]
    expected = after[0]
    for n, weight in enumerate(after[1:], start=1):
        d = min(decay**every, (1 + n) / (10 + n))
        expected = d * expected + (1 - d) * weight
    (averaged,) = [
        value for name, value in load_file(tmp_path / "model.safetensors").items() if "weight" in name
    ]
    assert averaged.item() == pytest.approx(expected, rel=1e-5)
    assert len({round(weight, 5) for weight in after}) == n_updates, "the weights hardly move"
