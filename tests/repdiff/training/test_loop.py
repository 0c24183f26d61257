import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from small_training import FEATURES, NETWORKS, VALIDATION, model, run
from two_processes import run_in_two_processes

from repdiff.backends.structrepdiff_training import VectorTraining
from repdiff.diffusion.build import KIND, load_diffusion
from repdiff.errors import UserError
from repdiff.runs.checkpoint import load_checkpoint
from repdiff.training import TrainingSettings
from repdiff.training.log import read_metrics
from repdiff.training.seeds import epoch_order


def without_clock(records):
    return [{name: value for name, value in record.items() if name != "seconds"} for record in records]


def signal_when(condition, number):
    """Send this process a signal as soon as the condition holds."""

    def wait():
        for _ in range(10_000):
            if condition():
                os.kill(os.getpid(), number)
                return
            time.sleep(0.001)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("self_condition", [False, True])
@pytest.mark.parametrize("network", sorted(NETWORKS))
def test_a_resumed_run_repeats_an_uninterrupted_one_bit_for_bit(network, self_condition, precision, tmp_path):
    def start(name, **settings):
        diffusion = model(NETWORKS[network], self_condition=self_condition)
        steps = {"max_steps": 8, "checkpoint_every": 3}  # within an epoch, a log and a validation
        return run(tmp_path / name, diffusion=diffusion, precision=precision, **steps, **settings)

    start("whole")
    start("parts")
    for newest in sorted((tmp_path / "parts" / "checkpoints").iterdir())[1:]:  # as if it had died at step 5
        for file in newest.iterdir():
            file.unlink()
        newest.rmdir()
    torch.manual_seed(99)
    start("parts", resume=True)
    assert without_clock(read_metrics(tmp_path / "parts")) == without_clock(read_metrics(tmp_path / "whole"))
    for file in ("model.safetensors", "best.safetensors", "checkpoints/step-0000000008/training.safetensors"):
        kind = "training-state" if "training" in file else KIND
        resumed, _ = load_checkpoint(tmp_path / "parts" / file, kind=kind)
        whole, _ = load_checkpoint(tmp_path / "whole" / file, kind=kind)
        assert resumed.keys() == whole.keys()
        assert all(torch.equal(resumed[name], whole[name]) for name in whole), file


PROCESS_OF_TWO = """
import sys
import torch
from accelerate import Accelerator
from test_loop import run
from pathlib import Path

torch.set_num_threads(1)
assert Accelerator().num_processes == 2
for steps in (14, 30):  # the second goes on from the middle of a span between two records
    run(Path(sys.argv[1]), max_steps=steps, lr_schedule="constant", precision="fp32", resume=True)
"""


@pytest.mark.slow
def test_two_processes_and_their_resumption_give_the_losses_of_one(tmp_path):
    run(tmp_path / "one", lr_schedule="constant", precision="fp32")
    script = tmp_path / "process.py"
    script.write_text(PROCESS_OF_TWO)
    run_in_two_processes(script, tmp_path / "two", beside=Path(__file__).parent)
    one, two = (read_metrics(tmp_path / name) for name in ("one", "two"))
    assert [record["step"] for record in two] == [record["step"] for record in one]
    for name in ("train_loss", "gradient_norm", "lr"):
        assert [record[name] for record in two] == pytest.approx([record[name] for record in one], rel=1e-5)
    averaged = [load_checkpoint(tmp_path / name, kind=KIND)[0] for name in ("one", "two")]
    for name, value in averaged[0].items():
        torch.testing.assert_close(averaged[1][name], value, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("network", ["mlp with dropout", "unet1d"])
def test_a_batch_too_large_for_the_memory_is_taken_in_parts_with_the_same_losses(
    network, tmp_path, monkeypatch
):
    settings = {"max_steps": 6, "precision": "fp32", "log_every": 1}
    run(tmp_path / "whole", diffusion=model(NETWORKS[network]), **settings)
    plain, tried = VectorTraining.forward, []

    def forward(self, inputs):
        tried.append(len(inputs[0]))
        if len(inputs[0]) > 6:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return plain(self, inputs)

    monkeypatch.setattr(VectorTraining, "forward", forward)
    run(tmp_path / "parts", diffusion=model(NETWORKS[network]), **settings)
    assert tried[:6] == [16, 8, 4, 4, 4, 4]  # rows of a batch; what was too much is not tried again
    whole, parts = (read_metrics(tmp_path / name) for name in ("whole", "parts"))
    for name in ("train_loss", "validation_loss", "gradient_norm"):
        found = [record[name] for record in parts if name in record]
        assert found == pytest.approx([record[name] for record in whole if name in record], rel=2e-5)


def test_a_single_row_that_does_not_fit_ends_the_training(tmp_path, monkeypatch):
    def forward(self, inputs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(VectorTraining, "forward", forward)
    with pytest.raises(RuntimeError, match="can't allocate"):
        run(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_run_that_can_be_resumed(number, tmp_path):
    handler = signal.getsignal(number)
    thread = signal_when(lambda: len(read_metrics(tmp_path)) > 2, number)
    result = run(tmp_path, max_steps=100_000, lr_schedule="constant")
    thread.join()
    assert result.stopped_by == "signal"
    assert signal.getsignal(number) == handler
    newest = sorted((tmp_path / "checkpoints").iterdir())[-1]
    assert newest.name == f"step-{result.step:010d}"
    after = run(tmp_path, max_steps=result.step + 7, lr_schedule="constant", resume=True)
    assert (after.step, after.stopped_by) == (result.step + 7, "budget")
    run(tmp_path / "whole", max_steps=result.step + 7, lr_schedule="constant")
    resumed, whole = (load_checkpoint(folder, kind=KIND)[0] for folder in (tmp_path, tmp_path / "whole"))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_training_lowers_the_validation_loss(tmp_path):
    diffusion = model()
    result = run(tmp_path, diffusion=diffusion, validation=FEATURES, max_steps=400, validate_every=50)
    losses = [record["validation_loss"] for record in read_metrics(tmp_path) if "validation_loss" in record]
    assert len(losses) == 8
    assert losses[-1] < 0.6 * losses[0]
    assert result.validation_loss == losses[-1]


def test_records_name_blocks_rates_and_time(tmp_path):
    run(tmp_path)
    records = read_metrics(tmp_path)
    assert [record["step"] for record in records] == [4, 6, 8, 12, 16, 18, 20, 24, 28, 30]
    assert records[2]["epoch"] == pytest.approx(8 / 3)
    assert (
        set(records[1]["validation_blocks"]) == set(records[1]["train_blocks"]) == {"descriptor", "lattice"}
    )
    assert {"train_loss", "lr", "gradient_norm", "seconds"} <= records[0].keys()
    assert "validation_loss" not in records[0]


def test_the_two_newest_checkpoints_the_best_and_the_newest_weights_are_kept(tmp_path):
    result = run(tmp_path, checkpoint_every=7)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "best.safetensors",
        "checkpoints",
        "metrics.jsonl",
        "model.safetensors",
    ]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == [
        "step-0000000028",
        "step-0000000030",
    ]
    _, others, header = load_diffusion(tmp_path)
    assert (header["step"], header["layout"], set(others)) == (30, ["a", "b"], {"normaliser.low"})
    losses = [record["validation_loss"] for record in read_metrics(tmp_path) if "validation_loss" in record]
    assert load_diffusion(result.best)[2]["validation_loss"] == min(losses)


def test_the_saved_weights_are_averages(tmp_path):
    diffusion = model()
    run(tmp_path, diffusion=diffusion)
    averaged, _, _ = load_diffusion(tmp_path)
    difference = averaged.denoiser.exit.weight - diffusion.denoiser.exit.weight
    assert 1e-6 < difference.abs().max() < 0.1


@pytest.mark.parametrize(
    ("budget", "steps"),
    [({"max_epochs": 4}, 12), ({"max_epochs": 4, "max_steps": 5}, 5), ({"max_epochs": 1, "max_steps": 5}, 3)],
)
def test_the_first_budget_to_be_used_up_ends_the_run(budget, steps, tmp_path):
    assert run(tmp_path, **{"max_steps": None, **budget}).step == steps


def test_a_budget_in_minutes_ends_the_run_with_the_lowest_rate(tmp_path):
    result = run(tmp_path, max_steps=None, max_minutes=0.02, log_every=1)
    assert result.stopped_by == "budget"
    assert 1.2 <= result.seconds < 10
    records = read_metrics(tmp_path)
    assert records[-1]["lr"] < 0.1 * max(record["lr"] for record in records)


def test_minutes_may_be_those_of_the_processor(tmp_path, monkeypatch):
    spent = iter(range(10_000))
    monkeypatch.setattr("repdiff.training.loop.time.process_time", lambda: next(spent))
    result = run(tmp_path, max_steps=None, max_minutes=0.5, clock="processor")
    assert result.seconds == 30
    assert result.step == 29  # the clock is read once to begin with, and once before each step


def test_no_budget_is_refused():
    with pytest.raises(ValidationError, match="no budget"):
        TrainingSettings()


def test_few_vectors_make_one_batch_and_none_are_refused(tmp_path):
    assert run(tmp_path / "few", features=FEATURES[:3], max_steps=None, max_epochs=2).step == 2
    with pytest.raises(UserError, match="0 training examples"):
        run(tmp_path / "none", features=FEATURES[:0])


def test_without_validation_vectors_there_is_no_best(tmp_path):
    result = run(tmp_path, validation=FEATURES[:0])
    assert result.best is None
    assert result.validation_loss is None
    assert not (tmp_path / "best.safetensors").exists()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_not_finite_are_named(bad, tmp_path):
    features = FEATURES.clone()
    features[12, 3] = bad
    with pytest.raises(UserError, match=r"training features: 1 rows are not finite, the first is row 12"):
        run(tmp_path, features=features)


def test_features_of_another_width_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"training features have shape \(50, 3\), expected \(n, 7\)"):
        run(tmp_path, features=FEATURES[:, :3], validation=VALIDATION[:, :3])


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path):
    with pytest.raises(UserError, match=r"training loss is (nan|inf) at step .*lower `learning_rate`"):
        run(tmp_path, learning_rate=1e30, warmup_steps=0)
    assert not (tmp_path / "checkpoints").exists()


def test_a_folder_with_a_run_is_not_overwritten(tmp_path):
    run(tmp_path, max_steps=3)
    with pytest.raises(UserError, match="already holds a run at step-0000000003"):
        run(tmp_path, max_steps=3)


def test_resuming_a_finished_run_changes_nothing(tmp_path):
    run(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    assert run(tmp_path, resume=True).step == 30
    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_resuming_with_another_model_or_setting_is_refused(tmp_path):
    run(tmp_path, max_steps=3)
    with pytest.raises(UserError, match=r"batch_size was 16 and is 8 now"):
        run(tmp_path, resume=True, batch_size=8)
    with pytest.raises(UserError, match=r"model denoiser was"):
        run(tmp_path, resume=True, diffusion=model(NETWORKS["mlp with dropout"]))


def test_a_folder_that_cannot_be_made_is_reported_before_training(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        run(tmp_path / "file" / "run")


def test_training_leaves_the_global_generator_alone(tmp_path):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    run(tmp_path)
    assert torch.equal(torch.get_rng_state(), state)


def test_the_order_of_an_epoch_is_a_permutation_that_seed_and_epoch_decide():
    order = epoch_order(100, seed=1, epoch=2)
    assert sorted(order.tolist()) == list(range(100))
    assert torch.equal(order, epoch_order(100, seed=1, epoch=2))
    assert not torch.equal(order, epoch_order(100, seed=1, epoch=3))
    assert not torch.equal(order, epoch_order(100, seed=2, epoch=2))


def test_the_cosine_rate_rises_over_the_warm_up_and_falls_with_the_budget():
    settings = TrainingSettings(max_steps=1000, warmup_steps=10, learning_rate=1.0, final_lr_fraction=0.1)
    assert settings.rate(0, 0.0) == pytest.approx(0.1)
    assert settings.rate(9, 0.0) == pytest.approx(1.0)
    assert settings.rate(500, 0.5) == pytest.approx(0.55)
    assert settings.rate(1000, 1.0) == pytest.approx(0.1)


def test_tensorboard_files_are_written_on_demand(tmp_path):
    pytest.importorskip("tensorboard")
    run(tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").glob("events.*"))


def test_a_missing_tensorboard_is_named_with_the_way_out(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"pip install 'repdiff\[tensorboard\]'"):
        run(tmp_path, tensorboard=True)
