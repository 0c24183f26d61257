from pathlib import Path

import pytest
import yaml

from repdiff.backends import BACKENDS
from repdiff.backends.options import parse_options
from repdiff.diffusion.ddpm import DiffusionSettings
from repdiff.networks.base import parse_denoiser
from repdiff.settings import SECTIONS
from repdiff.settings.load import load_settings
from repdiff.training import TrainingSettings

FILES = sorted((Path(__file__).parents[3] / "configs").glob("*.yaml"))


def test_there_are_configs():
    assert "structrepdiff_paper.yaml" in [file.name for file in FILES]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
@pytest.mark.parametrize("verb", sorted(SECTIONS))
def test_every_config_loads_for_every_verb(verb, file):
    given = {"dataset": "prototypes"} if verb in ("encode", "degeneracy", "hull") else {}
    given |= {"action": "encode", "crystals": "prototypes"} if verb == "latents" else {}
    settings = load_settings(SECTIONS[verb], file, given)
    for name, value in yaml.safe_load(file.read_text()).get(verb, {}).items():
        if name != "dataset":
            assert type(settings)(**{**settings.model_dump(), name: value}) == settings


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_config_makes_a_network_and_a_training(file):
    settings = load_settings(SECTIONS["train"], file)
    assert parse_denoiser({"name": settings.denoiser, **settings.denoiser_options})
    assert settings.part(TrainingSettings)
    assert settings.part(DiffusionSettings)


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
def test_every_config_has_options_that_its_backend_knows(file):
    train, generate = (load_settings(SECTIONS[verb], file) for verb in ("train", "generate"))
    backend = BACKENDS[train.backend]
    options = parse_options(backend.training_options, train.backend_options)
    assert parse_options(backend.sampling_options, generate.backend_options) is not None
    n_times = getattr(options, "timesteps", None) or getattr(
        getattr(options, "torus", None), "timesteps", None
    )
    assert generate.steps is None or generate.steps <= (n_times or train.timesteps)
