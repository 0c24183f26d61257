"""Options of the baseline that retrieves training crystals and swaps their elements."""

from repdiff.settings.backends import BackendOptions
from repdiff.settings.base import Options, setting


class RetrievalSettings(Options):
    """What is counted in the training set."""

    min_volume: float = setting(
        1.0, "Lower bound of the volume of an atom of any element, Å³", group="model", gt=0
    )


class RetrievalSampling(Options):
    """How elements are swapped."""

    n_tries: int = setting(
        20,
        "Number of draws of elements among which the first with a charge-balanced formula is taken; 1: as they come",
        group="model",
        ge=1,
    )


OPTIONS = BackendOptions(kind="retrieval", training=RetrievalSettings, sampling=RetrievalSampling)
