import pytest
import torch

from repdiff.networks.random_streams import FORMULA, NOISE, NoiseStreams, stream, uniform_streams

# the numbers that models have sampled with since the first version: others would change every sample of every seed
UNIFORM = [
    [0.20846739571851047, 0.5383972497385711, 0.30355944665111945],
    [0.7455463611017183, 0.9074640741872226, 0.06626524498122022],
]
FORMULA_NUMBERS = [0.30743444300758704, 0.25858249251356025]
NOISE_NUMBERS = [0.3401592759098073, -0.24929301496603007]
STEPS = [
    [[-1.4470674991607666, -0.9134206771850586], [0.49724847078323364, 0.6683040857315063]],
    [[-0.5155606865882874, 1.8603298664093018], [-1.679805040359497, -0.03542888164520264]],
    [[-0.15436838567256927, 0.12039564549922943], [0.19253505766391754, -1.4523049592971802]],
]


def test_the_numbers_of_a_seed_stay_what_they_were():
    assert uniform_streams(7, range(3, 5), 3).tolist() == UNIFORM
    assert stream(7, 3, FORMULA).random(2).tolist() == FORMULA_NUMBERS
    assert stream(7, 3, NOISE).standard_normal(2).tolist() == NOISE_NUMBERS


@pytest.mark.parametrize("ahead", [1, 2, 16])
def test_noise_stays_what_it_was_however_many_steps_are_drawn_at_a_time(ahead):
    steps = NoiseStreams(7, range(3, 5), 2, device=torch.device("cpu"), ahead=ahead).steps()
    assert [next(steps).tolist() for _ in STEPS] == STEPS
