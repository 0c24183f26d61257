import re
from pathlib import Path
from typing import ClassVar

import pytest
from pydantic import BaseModel

from repdiff.errors import UserError
from repdiff.settings import (
    SECTIONS,
    EncodeSettings,
    EvaluateSettings,
    GenerateSettings,
    ReconstructSettings,
    TrainSettings,
)
from repdiff.settings.base import Settings, setting
from repdiff.settings.load import leaves, load_settings


class Inner(BaseModel):
    name: str = setting("mlp", "Which")
    width: int = setting(8, "Width", ge=2)
    depth: int = setting(1, "Depth")


class Other(BaseModel):
    depth: int = setting(2, "Depth")


class Nested(Settings):
    verb: ClassVar[str] = "train"
    denoiser: Inner = Inner()
    other: Other = Other()
    epochs: int = setting(3, "Epochs")


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        file = tmp_path / "x.yaml"
        file.write_text(text)
        return file

    return write


def test_flags_override_the_file_and_the_file_the_defaults(write):
    file = write("train: {max_epochs: 7, batch_size: 32}")
    found = load_settings(TrainSettings, file, {"max_epochs": "9"})
    assert (found.max_epochs, found.batch_size) == (9, 32)
    assert found.learning_rate == TrainSettings().learning_rate


def test_the_seed_of_the_file_serves_every_verb_but_those_with_their_own(write):
    file = write("seed: 5\ngenerate: {seed: 6}")
    assert load_settings(TrainSettings, file).seed == 5
    assert load_settings(GenerateSettings, file).seed == 6


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "train: {max_epoch: 3}",
            "unknown setting 'max_epoch' in section train; known: .* Did you mean 'max_epochs'",
        ),
        ("generate: {sedd: 3}", "unknown setting 'sedd' in section generate; .* Did you mean 'seed'"),
        ("trian: {epochs: 3}", "unknown section 'trian'; known: encode, .* Did you mean 'train'"),
        ("train: 3", "section train is 3, expected settings"),
        ("train: {max_epochs: 0}", "x.yaml: max_epochs is 0, expected at least 1$"),
        ("train: {max_epochs: many}", "x.yaml: max_epochs is 'many', expected a whole number$"),
        ("train: {max_epochs: .nan}", "x.yaml: max_epochs is nan, expected a whole number$"),
        ("train: {schedule: cosin}", "x.yaml: schedule is 'cosin', expected one of cosine, linear"),
        ("train:\n  max_epochs: [", "not valid YAML in line"),
        ("- 1", "holds a list, expected sections"),
        ("train: {block_weights: {composition: much}}", "block_weights is 'much', expected"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_with_the_file_and_the_way_out(write, text, message):
    with pytest.raises(UserError, match=message) as caught:
        load_settings(TrainSettings, write(text))
    assert "\n" not in str(caught.value)
    assert "x.yaml" in str(caught.value)


def test_an_absent_file_and_a_binary_file_are_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        load_settings(TrainSettings, tmp_path / "none.yaml")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="binary: not a text file"):
        load_settings(TrainSettings, tmp_path / "binary")


def test_an_empty_file_and_an_empty_section_leave_the_defaults(write):
    assert load_settings(TrainSettings, write("")) == TrainSettings()
    assert load_settings(TrainSettings, write("train:")) == TrainSettings()


def test_a_mistake_in_a_flag_names_the_flag(write):
    with pytest.raises(UserError, match=r"^--n is 0, expected at least 1$"):
        load_settings(GenerateSettings, write("generate: {n: 5}"), {"n": "0"})


def test_several_mistakes_stand_in_one_line():
    with pytest.raises(UserError, match=r"^--n is .*; --sampler is x, expected one of ddpm, ddim, dpm$"):
        load_settings(GenerateSettings, overrides={"n": "-1", "sampler": "x"})


def test_a_missing_data_set_is_asked_for_by_name():
    with pytest.raises(UserError, match=r"^DATASET is missing"):
        load_settings(EncodeSettings)


def test_two_sources_of_one_reconstruction_are_refused():
    with pytest.raises(UserError, match="expected one of them"):
        load_settings(ReconstructSettings, overrides={"generated": "x", "dataset": "perov_5"})


def test_text_of_flags_becomes_lists_tables_and_nothing():
    assert load_settings(EvaluateSettings, overrides={"only": "validity, matching"}).only == (
        "validity",
        "matching",
    )
    found = load_settings(TrainSettings, overrides={"block_weights": "lattice=2, composition=0.5"})
    assert found.block_weights == {"lattice": 2.0, "composition": 0.5}
    options = load_settings(TrainSettings, overrides={"denoiser_options": "width=64"}).denoiser_options
    assert options == {"width": 64}
    assert load_settings(GenerateSettings, overrides={"steps": "none"}).steps is None


def test_a_table_without_values_is_refused():
    with pytest.raises(UserError, match="--block-weights is 'lattice', expected NAME=VALUE"):
        load_settings(TrainSettings, overrides={"block_weights": "lattice"})


def test_nested_settings_get_short_flags_and_keep_them_apart():
    assert {leaf.key: leaf.flag for leaf in leaves(Nested)} == {
        "denoiser.name": "denoiser",
        "denoiser.width": "width",
        "denoiser.depth": "denoiser-depth",
        "other.depth": "other-depth",
        "epochs": "epochs",
    }


def test_nested_overrides_and_sections_are_merged(write, monkeypatch):
    monkeypatch.setitem(SECTIONS, "train", Nested)
    file = write("train: {denoiser: {width: 16, depth: 4}}")
    found = load_settings(Nested, file, {"denoiser.depth": "5"})
    assert (found.denoiser.width, found.denoiser.depth, found.other.depth) == (16, 5, 2)
    with pytest.raises(UserError, match=r"unknown setting 'widht' in section train\.denoiser"):
        load_settings(Nested, write("train: {denoiser: {widht: 16}}"))
    with pytest.raises(UserError, match="--width is 1, expected at least 2"):
        load_settings(Nested, None, {"denoiser.width": "1"})


@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_every_setting_has_a_help_a_role_and_a_flag_of_its_own(verb):
    found = leaves(SECTIONS[verb])
    flags = [leaf.flag for leaf in found]
    assert len(set(flags)) == len(flags)
    assert not {"config", "workspace", "name", "overwrite", "help"} & set(flags)
    for leaf in found:
        assert leaf.field.description
        assert leaf.extra["role"] in ("result", "input", "speed", "extent", "budget")
        assert re.match(r"\w.*\.", leaf.help)


@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_settings_are_frozen(verb):
    assert SECTIONS[verb].model_config["frozen"]
    assert SECTIONS[verb].model_config["extra"] == "forbid"


def test_the_settings_of_training_agree_with_those_of_its_layers():
    from repdiff.diffusion.ddpm import DiffusionSettings
    from repdiff.training import TrainingSettings

    for layer in (DiffusionSettings, TrainingSettings):
        for name, field in layer.model_fields.items():
            if name == "given":  # follows from `compositions`
                continue
            mine = TrainSettings.model_fields[name]
            assert mine.annotation == field.annotation, name
            assert mine.metadata == field.metadata, name
            if name != "max_epochs":
                assert mine.get_default(call_default_factory=True) == field.get_default(
                    call_default_factory=True
                )
        shared = TrainSettings().part(layer).model_dump(exclude={"given"})
        assert shared.items() <= TrainSettings().model_dump().items()


def test_training_without_end_is_refused():
    with pytest.raises(UserError, match="no budget, expected at least one of"):
        load_settings(TrainSettings, overrides={"max_epochs": "none"})


@pytest.mark.parametrize(
    "text", ["encode:\n  dataset: prototypes\n  seed: 3\n  seed: 4\n", "seed: 1\nseed: 2\n"]
)
def test_a_key_that_stands_twice_is_refused_with_its_line(tmp_path, text):
    (tmp_path / "dup.yaml").write_text(text)
    with pytest.raises(UserError, match=r"not valid YAML in line \d: the key 'seed' stands twice"):
        load_settings(EncodeSettings, tmp_path / "dup.yaml")


def test_paths_of_settings_may_begin_with_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "c.yaml").write_text("encode:\n  dataset: prototypes\n  data_dir: ~/data\n")
    assert load_settings(EncodeSettings, tmp_path / "c.yaml").data_dir == tmp_path / "data"
    assert load_settings(EncodeSettings, None, {"dataset": "x", "data_dir": "~/d"}).data_dir == tmp_path / "d"
