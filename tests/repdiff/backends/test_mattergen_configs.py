from pathlib import Path

from repdiff.settings import SECTIONS
from repdiff.settings.load import load_settings

FILES = sorted((Path(__file__).parents[3] / "configs").glob("mattergen_*.yaml"))


def test_the_paper_config_has_the_published_processes_and_weights():
    file = next(file for file in FILES if file.stem == "mattergen_paper")
    options = load_settings(SECTIONS["train"], file)
    assert (options.timesteps, options.width_first, options.width_last) == (1000, 0.005, 5.0)
    assert (options.beta_first, options.beta_last) == (0.1, 20.0)
    assert (options.position_weight, options.lattice_weight, options.type_weight) == (0.1, 1.0, 1.0)
    assert (options.type_loss, options.given_share) == ("hybrid", 0.0)


def test_the_paper_config_samples_with_one_corrector_step_of_the_published_ratios_at_no_lower_temperature():
    file = next(file for file in FILES if file.stem == "mattergen_paper")
    options = load_settings(SECTIONS["generate"], file)
    assert (options.steps, options.corrector_steps) == (1000, 1)
    assert (options.position_corrector, options.lattice_corrector) == (0.4, 0.2)
    assert (options.corrector_temperature, options.type_temperature) == (1.0, 1.0)
