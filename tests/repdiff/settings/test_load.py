import inspect
import re
from pathlib import Path
from typing import ClassVar, get_args

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
from repdiff.settings.backends import OWN
from repdiff.settings.base import Group, Settings, setting
from repdiff.settings.compose import completed
from repdiff.settings.leaves import leaves
from repdiff.settings.load import load_common, load_settings
from repdiff.settings.training import TrainingSettings


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


@pytest.mark.parametrize("backend", sorted(OWN))
@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_no_number_of_any_setting_is_infinite(verb, backend):
    model = SECTIONS[verb]
    if model.only_backend not in (None, backend) or (
        model.completed_by is None and backend != "structrepdiff"
    ):
        return
    numbers = [
        leaf for leaf in leaves(completed(model, backend)) if float in leaf.types and str not in leaf.types
    ]
    for leaf in numbers:
        for text in ("inf", "nan", "-1e400"):
            with pytest.raises(UserError, match=f"`{leaf.key}` is {text}, expected a finite number"):
                load_settings(model, None, {leaf.key: text}, backend=backend)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x", "`adam_betas` is x, expected 2 numbers with commas between them"),
        ("0.1,0.2,0.3", "`adam_betas` is 0.1,0.2,0.3, expected 2 numbers with commas between them"),
        ("", "`adam_betas` is '', expected 2 numbers with commas between them"),
        ("2,3", "`adam_betas` is 2, expected less than 1.0"),
        ("0.9,-1", "`adam_betas` is -1, expected at least 0.0"),
    ],
)
def test_several_numbers_that_do_not_fit_are_told_once_and_in_words(text, told):
    with pytest.raises(UserError) as caught:
        load_settings(TrainSettings, None, {"adam_betas": text})
    assert str(caught.value) == told


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
    assert load_settings(TrainSettings, write("")) == load_settings(TrainSettings)
    assert load_settings(TrainSettings, write("train:")) == load_settings(TrainSettings)


def test_a_mistake_in_a_flag_names_the_flag(write):
    with pytest.raises(UserError, match=r"^`n` is 0, expected at least 1$"):
        load_settings(GenerateSettings, write("generate: {n: 5}"), {"n": "0"})


def test_several_mistakes_stand_in_one_line():
    with pytest.raises(UserError, match=r"^`n` is .*; `sampler` is x, expected one of ddpm, ddim, dpm$"):
        load_settings(GenerateSettings, overrides={"n": "-1", "sampler": "x"})


def test_a_missing_data_set_is_asked_for_by_name():
    with pytest.raises(UserError, match=r"^`dataset` is missing"):
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
    with pytest.raises(UserError, match="`block_weights` is 'lattice', expected NAME=VALUE"):
        load_settings(TrainSettings, overrides={"block_weights": "lattice"})


def test_nested_settings_carry_the_names_of_their_parents():
    assert {leaf.key: leaf.flag for leaf in leaves(Nested)} == {
        "denoiser.name": "denoiser-name",
        "denoiser.width": "denoiser-width",
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
    with pytest.raises(UserError, match=r"`denoiser\.width` is 1, expected at least 2"):
        load_settings(Nested, None, {"denoiser.width": "1"})


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_every_setting_has_a_help_a_role_a_group_and_a_flag_of_its_own(verb, backend):
    found = leaves(completed(SECTIONS[verb], backend))
    flags = [leaf.flag for leaf in found]
    assert len(set(flags)) == len(flags)
    assert not {"config", "workspace", "name", "overwrite", "help", "backend-options"} & set(flags)
    for leaf in found:
        assert leaf.field.description
        assert leaf.extra["role"] in ("result", "input", "speed", "extent", "budget", "adds")
        assert leaf.extra["group"] in get_args(Group)
        assert re.match(r"\w.*\.", leaf.help)


@pytest.mark.parametrize("backend", OWN)
@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_the_first_group_holds_ten_options_at_most(verb, backend):
    model = SECTIONS[verb]
    target = completed(model, model.only_backend or backend)
    first = [leaf for leaf in leaves(target) if leaf.group == "common" and not leaf.extra["only_in_file"]]
    assert len([leaf for leaf in first if not leaf.extra["positional"]]) + 1 <= 10  # and --config


@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_settings_are_frozen(verb):
    assert SECTIONS[verb].model_config["frozen"]
    assert SECTIONS[verb].model_config["extra"] == "forbid"


@pytest.mark.parametrize("verb", ["train", "finetune"])
def test_a_verb_that_trains_declares_again_only_what_it_changes(verb):
    again = set(inspect.get_annotations(SECTIONS[verb])) & set(TrainingSettings.model_fields)
    for name in again:
        mine, theirs = SECTIONS[verb].model_fields[name], TrainingSettings.model_fields[name]
        assert mine.default != theirs.default
        assert (mine.description, mine.metadata) == (theirs.description, theirs.metadata)


def test_an_option_of_another_backend_is_unknown_and_its_owner_named(write):
    with pytest.raises(UserError, match=r"^sampler is an option of structrepdiff, not of gemsdiff$"):
        load_settings(GenerateSettings, None, {"sampler": "ddim"}, backend="gemsdiff")
    file = write("train: {backend: mattergen, torus: {timesteps: 5}}")
    with pytest.raises(UserError, match=r"x\.yaml: torus in section train is an option of gemsdiff, not of"):
        load_settings(TrainSettings, file)


def test_options_of_another_section_are_checked_against_the_backend_that_is_trained(write):
    file = write("train: {backend: gemsdiff}\ngenerate: {sampler: ddim}")
    with pytest.raises(UserError, match="sampler in section generate is an option of structrepdiff"):
        load_settings(TrainSettings, file)
    named = write("train: {backend: gemsdiff}\ngenerate: {model: other, sampler: ddim}")
    assert load_settings(TrainSettings, named).backend == "gemsdiff"


def test_a_nested_group_given_in_part_keeps_its_defaults_for_the_rest(write):
    whole = load_settings(TrainSettings, None, {"backend": "dpcdvae"}).encoder
    in_file = load_settings(TrainSettings, write("train: {backend: dpcdvae, encoder: {width: 32}}")).encoder
    dotted = load_settings(TrainSettings, write("train: {backend: dpcdvae, encoder.width: 32}")).encoder
    assert in_file == dotted == whole.model_copy(update={"width": 32})


OLD = """train:
  {backend: dpcdvae, denoiser: mlp, timesteps: 1000, backend_options: {encoder.width: 32, weights: {kl: 1}}}
"""


def test_the_old_form_of_options_gives_what_it_gave(write):
    options = load_settings(TrainSettings, write(OLD))
    assert (options.encoder.width, options.encoder.n_neighbors) == (
        32,
        32,
    )  # not the 16 of the encoder's default
    assert (options.weights.kl, options.denoiser, options.timesteps) == (1.0, "ddpm", 1000)
    flags = {"backend": "dpcdvae", "backend_options": "encoder.width=32,weights.kl=1"}
    assert load_settings(TrainSettings, None, flags) == options


def test_an_unknown_name_in_the_old_form_is_still_an_error(write):
    with pytest.raises(UserError, match="unknown setting 'widht'"):
        load_settings(TrainSettings, write("train: {backend: gemsdiff, backend_options: {network.widht: 3}}"))


def test_an_unknown_name_within_a_group_is_no_option_of_another_backend():
    with pytest.raises(
        UserError, match=r"unknown setting 'network\.widht'; .* Did you mean 'network\.width'"
    ):
        load_settings(TrainSettings, None, {"network.widht": 3}, backend="gemsdiff")


def test_common_settings_are_read_whatever_the_backend_has_beside_them(write):
    file = write("compare: {}\ngenerate: {n: 7, positions: paper}")
    assert load_common(GenerateSettings, file).n == 7


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


def test_a_setting_of_an_old_name_is_read_with_a_note(tmp_path, caplog):
    file = tmp_path / "old.yaml"
    file.write_text("evaluate:\n  floor: false\n  floor_halves: true\n")
    with caplog.at_level("WARNING"):
        found = load_settings(SECTIONS["evaluate"], file)
    assert (found.baseline, found.baseline_halves) == (False, True)
    assert "floor is called baseline now" in caplog.text


def test_names_that_are_none_are_refused_where_nothing_is_the_default():
    with pytest.raises(UserError, match="`condition_on` is empty, expected names"):
        load_settings(TrainSettings, None, {"condition_on": " , "}, backend="structrepdiff")
