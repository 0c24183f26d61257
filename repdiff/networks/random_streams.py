"""Random numbers of samples: a stream for each, so that a sample does not depend on its company."""

import numpy as np

FORMULA, NOISE = 1, 2
"""What a stream is for; below 8."""


def stream(seed: int, number: int, purpose: int) -> np.random.Generator:
    """Return the random numbers of one sample for one purpose.

    Args:
        seed: Of all samples.
        number: Of the sample.
        purpose: One of the constants of this module.
    """
    return np.random.Generator(np.random.Philox(key=[seed, number * 8 + purpose]))
