import json

import pytest
import torch
from safetensors.torch import save_file

from repdiff.errors import UserError
from repdiff.runs.checkpoint import (
    load_checkpoint,
    numbered,
    optimizer_tensors,
    publish_folder,
    read_metadata,
    restore_optimizer,
    save_checkpoint,
    tensors_under,
)

TENSORS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(3)}


@pytest.fixture
def saved(tmp_path):
    return save_checkpoint(
        tmp_path / "model.safetensors", TENSORS, {"scale": 0.1, "Å": [1, None]}, kind="test"
    )


def test_what_is_saved_comes_back(saved):
    tensors, metadata = load_checkpoint(saved, kind="test")
    assert metadata == {"format": 1, "kind": "test", "scale": 0.1, "Å": [1, None]}
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], value) for name, value in TENSORS.items())


def test_a_folder_stands_for_the_model_inside(saved):
    assert load_checkpoint(saved.parent, kind="test")[1]["kind"] == "test"


def test_views_that_share_memory_are_saved(tmp_path):
    whole = torch.arange(6.0)
    path = save_checkpoint(
        tmp_path / "x.safetensors", {"head": whole[:3], "tail": whole[3:], "t": whole}, {}, kind="t"
    )
    assert torch.equal(load_checkpoint(path, kind="t")[0]["tail"], torch.tensor([3.0, 4.0, 5.0]))


@pytest.mark.parametrize("n_bytes", [0, 5, 60, -1])
def test_a_truncated_file_is_named(saved, n_bytes):
    content = saved.read_bytes()
    saved.write_bytes(content[:n_bytes])
    with pytest.raises(UserError, match=r"model.safetensors.*truncated"):
        load_checkpoint(saved, kind="test")


def test_a_pickle_is_refused(tmp_path):
    path = tmp_path / "model.pt"
    torch.save(TENSORS, path)
    with pytest.raises(UserError, match=r"model\.pt"):
        load_checkpoint(path, kind="test")


def test_a_safetensors_file_of_others_is_refused(tmp_path):
    save_file(TENSORS, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="not written by repdiff"):
        load_checkpoint(tmp_path / "other.safetensors", kind="test")


def test_another_kind_is_refused(saved):
    with pytest.raises(UserError, match="'test' file, expected 'model'"):
        load_checkpoint(saved, kind="model")


def test_a_later_format_is_refused(tmp_path):
    header = {"repdiff": json.dumps({"format": 99, "kind": "test"})}
    save_file(TENSORS, tmp_path / "new.safetensors", metadata=header)
    with pytest.raises(UserError, match="format 99"):
        read_metadata(tmp_path / "new.safetensors")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"nowhere.*no such checkpoint"):
        load_checkpoint(tmp_path / "nowhere", kind="test")


def test_a_disk_that_refuses_is_reported_and_leaves_nothing(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "model.safetensors", TENSORS, {}, kind="test")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_saving_leaves_no_temporary_file(saved):
    save_checkpoint(saved, TENSORS, {}, kind="test")
    assert [path.name for path in saved.parent.iterdir()] == ["model.safetensors"]


def test_numbers_that_are_not_finite_are_our_mistake(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "x.safetensors", TENSORS, {"loss": float("nan")}, kind="test")


def test_only_the_newest_folders_are_kept(tmp_path):
    for step in (1, 20, 3):
        (tmp_path / "new").mkdir()
        publish_folder(tmp_path / "new", tmp_path / f"step-{step:05d}", keep=2)
    assert [path.name for path in numbered(tmp_path)] == ["step-00003", "step-00020"]


@pytest.mark.parametrize("fused", [False, True])
def test_an_optimizer_goes_on_as_if_never_saved(tmp_path, fused):
    def start():
        layer = torch.nn.Linear(3, 1)
        torch.nn.init.constant_(layer.weight, 0.5)
        torch.nn.init.zeros_(layer.bias)
        return layer, torch.optim.AdamW(layer.parameters(), lr=0.1, fused=fused)

    def move(layer, optimizer, n):
        for _ in range(n):
            optimizer.zero_grad()
            layer(torch.ones(2, 3)).square().sum().backward()
            optimizer.step()

    straight, optimizer = start()
    move(straight, optimizer, 5)

    layer, optimizer = start()
    move(layer, optimizer, 2)
    moments, groups = optimizer_tensors(optimizer)
    tensors = {f"optimizer.{name}": value for name, value in moments.items()}
    path = save_checkpoint(tmp_path / "x.safetensors", tensors, {"groups": groups}, kind="t")
    _, fresh = start()
    tensors, metadata = load_checkpoint(path, kind="t")
    fresh = torch.optim.AdamW(layer.parameters(), lr=0.3, fused=fused)
    restore_optimizer(fresh, tensors_under("optimizer.", tensors)[0], metadata["groups"])
    move(layer, fresh, 3)
    assert torch.equal(layer.weight, straight.weight)


@pytest.mark.parametrize("text", ["nonsense", "{}", "999", '{"format": "1", "kind": "t"}', '{"format": 1}'])
def test_damaged_metadata_is_told_in_one_line(text, tmp_path):
    save_file(TENSORS, tmp_path / "damaged.safetensors", metadata={"repdiff": text})
    with pytest.raises(UserError, match="its metadata is damaged"):
        read_metadata(tmp_path / "damaged.safetensors")
