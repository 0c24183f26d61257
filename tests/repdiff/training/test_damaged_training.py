"""Files of a training that are damaged or were not finished: said in a line, and gone on from what is whole."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_training import run

from repdiff.errors import UserError
from repdiff.runs.checkpoint import numbered
from repdiff.training.log import read_metrics


@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_a_truncated_checkpoint_is_named_and_not_skipped(name, tmp_path):
    run(tmp_path)
    file = tmp_path / "checkpoints" / "step-0000000030" / name
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(
        UserError, match=rf"step-0000000030/{name} cannot be read.*train anew with `overwrite`"
    ):
        run(tmp_path, resume=True, max_steps=40)


def cut_short(file):
    file.write_bytes(file.read_bytes()[:-10])


def other_metadata(text):
    def replace(file):
        save_file(load_file(file), file, metadata={"repdiff": text})

    return replace


DAMAGES = {
    "cut short": cut_short,
    "gone": lambda file: file.unlink(),
    **{text: other_metadata(text) for text in ("{}", "[]", "null")},
    "no model": other_metadata('{"format": 1, "kind": "training-state"}'),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["model.safetensors", "training.safetensors"])
def test_training_goes_on_from_the_checkpoint_before_a_damaged_one(name, damage, tmp_path, caplog):
    if name == "model.safetensors" and damage is DAMAGES["no model"]:
        pytest.skip("of the other file")
    run(tmp_path / "whole", max_steps=20)
    run(tmp_path / "damaged", max_steps=20, checkpoint_every=8)
    folder = tmp_path / "damaged" / "checkpoints"
    assert [path.name for path in numbered(folder)] == ["step-0000000016", "step-0000000020"]
    damage(folder / "step-0000000020" / name)
    run(tmp_path / "damaged", max_steps=20, checkpoint_every=8, resume=True)
    assert "step-0000000020" in caplog.text
    assert "going on from step-0000000016" in caplog.text
    whole, again = (load_file(tmp_path / one / "model.safetensors") for one in ("whole", "damaged"))
    assert all(torch.equal(whole[key], again[key]) for key in whole)


@pytest.mark.parametrize("damage", [cut_short, DAMAGES["gone"]])
def test_weights_that_are_damaged_after_the_last_step_are_written_again(damage, tmp_path):
    run(tmp_path, max_steps=20)
    file = tmp_path / "model.safetensors"
    whole = file.read_bytes()
    damage(file)
    run(tmp_path, max_steps=20, resume=True)
    assert file.read_bytes() == whole


def test_a_kill_before_the_last_checkpoint_has_its_name_leaves_no_older_weights(tmp_path, monkeypatch):
    run(tmp_path / "whole", max_steps=20)

    def killed(*arguments, **options):
        raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr("repdiff.training.state.publish_folder", killed)
        with pytest.raises(SystemExit):
            run(tmp_path / "killed", max_steps=20)
    assert (tmp_path / "killed" / "model.safetensors").is_file()
    run(tmp_path / "killed", max_steps=20, resume=True)
    files = [tmp_path / one / "model.safetensors" for one in ("whole", "killed")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("line", ["{}", "[]", "null", '{"step": 3'])
def test_damaged_lines_of_metrics_are_counted_and_left_out(line, tmp_path, caplog):
    run(tmp_path)
    complete = read_metrics(tmp_path)
    file = tmp_path / "metrics.jsonl"
    file.write_text(f"{line}\n{file.read_text()}")
    assert read_metrics(tmp_path) == complete
    assert f"1 of {len(complete) + 1} lines are damaged" in caplog.text


def test_a_metrics_line_cut_short_by_a_crash_is_dropped(tmp_path):
    run(tmp_path)
    complete = read_metrics(tmp_path)
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 31, "tra')
    assert read_metrics(tmp_path) == complete
