import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from repdiff.errors import UserError
from repdiff.networks import DENOISERS  # noqa: F401 (registers the networks)
from repdiff.networks.base import parse_denoiser
from repdiff.settings import SECTIONS
from repdiff.settings.backends import backend_options
from repdiff.settings.compose import expanded
from repdiff.settings.configs import find_config
from repdiff.settings.load import load_common, load_settings
from repdiff.settings.training import TrainingSettings

REQUIRED = {
    "dataset": "prototypes",
    "crystals": "prototypes",
    "action": "encode",
}
FILES = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


def test_there_are_configs():
    assert "structrepdiff_paper.yaml" in [file.name for file in FILES]


def is_required(settings, name):
    return name in settings.model_fields and settings.model_fields[name].is_required()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_every_config_loads_for_every_verb(verb, file):
    given = {name: value for name, value in REQUIRED.items() if is_required(SECTIONS[verb], name)}
    given |= {"similar": {"among": "prototypes"}, "export": {"lemat": True}}.get(verb, {})
    backend = {"compare_steps_perov5": "mattergen", "compare_wrapping_perov5": "dpcdvae"}.get(file.stem)
    settings = load_settings(SECTIONS[verb], file, given, backend=SECTIONS[verb].only_backend or backend)
    for name, value in expanded(yaml.safe_load(file.read_text()).get(verb, {})).items():
        if name != "dataset":
            whole = settings.model_dump()
            changed = {**whole[name], **value} if isinstance(whole[name], dict) else value
            assert type(settings)(**{**whole, name: changed}) == settings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_is_of_the_new_form_and_makes_a_training(file):
    assert "backend_options" not in file.read_text()
    settings = load_settings(SECTIONS["train"], file)
    assert settings.part(TrainingSettings)
    assert settings.part(backend_options(settings.backend).training)


def test_every_network_of_a_config_can_be_built():
    for file in FILES:
        settings = load_settings(SECTIONS["train"], file)
        if settings.backend == "structrepdiff":
            assert parse_denoiser({"name": settings.denoiser, **settings.denoiser_options})


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_names_a_descriptor_that_there_is(file):
    from descriptors.base import make_descriptor

    assert make_descriptor(load_settings(SECTIONS["encode"], file).descriptor).n_features > 0


def test_the_paper_config_has_the_published_settings():
    file = next(file for file in FILES if file.name == "structrepdiff_paper.yaml")
    train = load_settings(SECTIONS["train"], file)
    assert (train.timesteps, train.batch_size, train.max_epochs, train.denoiser) == (2000, 64, 2000, "unet1d")
    assert (train.schedule, train.objective, train.optimizer) == ("cosine", "pred_noise", "adam")
    assert load_settings(SECTIONS["encode"], file).descriptor == "ead:paper"
    assert load_settings(SECTIONS["reconstruct"], file).preset == "paper"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_samples_in_no_more_steps_than_it_trains(file):
    train, generate = load_settings(SECTIONS["train"], file), load_common(SECTIONS["generate"], file)
    n_times = train.torus.timesteps if train.backend == "gemsdiff" else train.timesteps
    assert generate.steps is None or generate.steps <= n_times


def test_a_config_is_found_by_name_and_by_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_config(Path("perov5_cpu")).read_text() == find_config(Path("perov5_cpu.yaml")).read_text()
    mine = tmp_path / "perov5_cpu"
    mine.write_text("seed: 3")
    assert find_config(Path("perov5_cpu")) == Path("perov5_cpu")  # a file of one's own comes first
    assert find_config(mine) == mine


def test_an_unknown_config_lists_those_there_are():
    with pytest.raises(
        UserError, match=r"unknown config 'perov_cpu'; known: carbon24_cpu.*Did you mean 'perov5_cpu'"
    ):
        find_config(Path("perov_cpu"))
    with pytest.raises(UserError, match=r"none\.yaml: No such file"):
        find_config(Path("none.yaml"))


def test_a_built_wheel_holds_the_configs_and_finds_them(tmp_path):
    pytest.importorskip("hatchling", reason="the build backend is not installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=FILES[0].parents[1], check=True, capture_output=True)
    wheel = next(tmp_path.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        assert {f"repdiff/configs/{file.name}" for file in FILES} <= set(archive.namelist())
        archive.extractall(tmp_path / "site")
    code = (
        "from pathlib import Path; from repdiff.settings.configs import find_config;"
        "print(find_config(Path('perov5_cpu')))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    assert Path(found) == tmp_path / "site" / "repdiff" / "configs" / "perov5_cpu.yaml"
