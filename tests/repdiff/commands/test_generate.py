import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from small_runs import SAMPLING, TRAINING

from repdiff.backends.structrepdiff_model import GIVEN, GenerativeModel
from repdiff.cli.main import main
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.shards import read_generated, shard_path
from repdiff.runs.atomic_files import read_json, write_json


@pytest.fixture(scope="module")
def model(tiny_workspace, tmp_path_factory):
    """A model that draws formulas first."""
    root = shutil.copytree(tiny_workspace, tmp_path_factory.mktemp("first") / "workspace")
    flags = ["--compositions", "first", "--name", "first", "--workspace", str(root)]
    assert main(["train", *TRAINING, *flags]) == 0
    return GenerativeModel.load(root / "train" / "first", device=torch.device("cpu"))


def generate(run, n, *flags):
    code, path, said = run("generate", "--n", str(n), *SAMPLING, *flags)
    assert code == 0, said
    return read_generated(path).vectors, path


def test_more_are_appended_and_the_first_stay_as_they_are(run):
    four, path = generate(run, 4)
    nine, again = generate(run, 9)
    assert again == path
    assert len(nine) == 9
    assert torch.equal(nine[:4], four)


def test_appended_vectors_are_those_of_one_go(run):
    generate(run, 4)
    in_two, _ = generate(run, 9)
    in_one, _ = generate(run, 9, "--name", "fresh")
    torch.testing.assert_close(in_two, in_one, rtol=1e-4, atol=1e-4)


def test_shards_change_nothing_but_the_files(run):
    small, path = generate(run, 7, "--name", "small", "--shard-size", "3")
    whole, _ = generate(run, 7, "--name", "whole")
    assert len(list((path / "shards").iterdir())) == 3
    torch.testing.assert_close(small, whole, rtol=1e-4, atol=1e-4)


def test_a_missing_shard_is_made_and_the_others_are_kept(run, monkeypatch):
    whole, _ = generate(run, 6, "--name", "whole", "--shard-size", "2")
    made = []

    def stop_after_two(folder, number, batch):
        if number == 2:
            raise KeyboardInterrupt
        made.append(number)
        write(folder, number, batch)

    from repdiff.representations.shards import write_shard as write

    with monkeypatch.context() as patch:
        patch.setattr("repdiff.commands.generate.write_shard", stop_after_two)
        code, _, said = run("generate", "--n", "6", *SAMPLING, "--name", "cut", "--shard-size", "2")
        assert (code, made) == (130, [0, 1])
        assert "keeps what was done" in said
    resumed, path = generate(run, 6, "--name", "cut", "--shard-size", "2")
    assert shard_path(path, 2).is_file()
    torch.testing.assert_close(resumed, whole, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("text", ["{}", "null", '{"format": 1, "kind": "generated"}', None])
def test_a_damaged_shard_of_an_interrupted_run_is_made_again(text, run):
    whole, path = generate(run, 6, "--name", f"damaged {text}", "--shard-size", "2")
    manifest = read_json(path / "manifest.json")
    write_json(path / "manifest.json", manifest | {"status": "interrupted"})
    file = shard_path(path, 1)
    if text is None:
        file.write_bytes(file.read_bytes()[:-10])
    else:
        save_file(load_file(file), file, metadata={"repdiff": text})
    again, _ = generate(run, 6, "--name", f"damaged {text}", "--shard-size", "2")
    assert torch.equal(again, whole)


def test_a_seed_decides_the_vectors(run):
    one, _ = generate(run, 4)
    other, path = generate(run, 4, "--seed", "1")
    assert path.name.endswith("seed1")
    assert not torch.allclose(one, other)


def test_fewer_than_there_are_is_refused_with_a_way_out(run):
    generate(run, 4)
    code, _, said = run("generate", "--n", "2", *SAMPLING)
    assert code == 2
    assert "--n was 4, now 2" in said.splitlines()[-1]
    assert "--name" in said.splitlines()[-1]


def test_more_steps_than_the_model_was_trained_with_are_refused(run):
    code, _, said = run("generate", "--n", "2", "--sampler", "ddpm", "--steps", "21")
    assert code == 2
    assert "--steps is 21, expected at most 20, as in training" in said.splitlines()[-1]


@pytest.mark.parametrize("sampler", ["ddpm", "dpm"])
def test_every_sampler_gives_finite_vectors(sampler, run):
    code, path, said = run("generate", "--n", "2", "--sampler", sampler)
    assert code == 0, said
    assert bool(read_generated(path).vectors.isfinite().all())


def test_a_drawn_formula_survives_though_no_training_crystal_has_its_frequencies(model, monkeypatch):
    elements = len(model.layout.elements)
    odd = torch.zeros(3, elements, dtype=torch.long)
    odd[0, 0], odd[0, 1] = 9, 1  # 90 %, where training knows 50 %
    odd[1, -1] = 7
    odd[2, :elements] = 1
    monkeypatch.setattr(model.compositions, "sample", lambda *_, **__: odd)
    vectors = model.sample(3, seed=0, sampler=SamplerSettings(name="ddim", n_steps=2)).vectors
    blocks = model.layout.representation().blocks
    counts = vectors[:, blocks[GIVEN[0]]] * vectors[:, blocks[GIVEN[1]]]
    torch.testing.assert_close(counts, odd.float())


def test_the_temperature_reaches_the_composition_model(model):
    def formulas(temperature, element_temperature=None):
        vectors = model.sample(
            60,
            seed=0,
            sampler=SamplerSettings(name="ddim", n_steps=1),
            temperature=temperature,
            element_temperature=element_temperature,
        ).vectors
        columns = model.layout.representation().blocks["composition"]
        return len(vectors[:, columns].unique(dim=0))

    assert formulas(0.05) < formulas(1.0)
    assert formulas(0.05) < formulas(0.05, 1.0)


@pytest.mark.parametrize("name", ["cud", "meta", "cuda:99", "mps"])
def test_a_device_that_is_not_here_is_a_users_mistake(name):
    with pytest.raises(UserError, match=f"device is '{name}'"):
        choose_device(name)


def test_auto_always_finds_a_device():
    assert choose_device("auto").type in ("cpu", "cuda")


def test_shards_are_read_once_when_a_run_goes_on_and_not_at_its_end(run, monkeypatch):
    from repdiff.representations import shards

    read, plain = [], shards.read_shard
    monkeypatch.setattr(shards, "read_shard", lambda path: read.append(path.name) or plain(path))
    flags = ("--n", "6", *SAMPLING, "--name", "counted", "--shard-size", "2")
    assert run("generate", *flags)[0] == 0
    assert not read
    assert run("generate", *flags[:1], "8", *flags[2:])[0] == 0
    assert read == ["00000.safetensors", "00001.safetensors", "00002.safetensors"]
