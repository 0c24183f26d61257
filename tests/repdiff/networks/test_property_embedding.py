import math

import pytest
import torch

from repdiff.networks.property_embedding import N_WAVES, PROPERTY_KINDS


def waves(embedding, values):
    """What the linear layer of a number is given."""
    seen = []
    embedding.layer.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    embedding(torch.tensor(values, dtype=torch.float32)[:, None])
    return seen[0]


@pytest.mark.parametrize(("mean", "std"), [(0.0, 1.0), (1.5, 0.25)])
def test_a_number_is_given_as_itself_and_as_sines_and_cosines_of_doubling_frequency(mean, std):
    scaled = torch.tensor([-3.0, -0.4, 0.0, 0.4, 2.0])
    found = waves(PROPERTY_KINDS["scalar"](mean, std), (mean + std * scaled).tolist())
    angles = scaled[:, None] * 2 * math.pi / 16 * 2.0 ** torch.arange(N_WAVES)
    torch.testing.assert_close(
        found, torch.cat([scaled[:, None], angles.sin(), angles.cos()], 1), rtol=1e-4, atol=1e-4
    )
