"""What a denoising network is: noisy vectors and times in, raw outputs out."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, ClassVar

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SerializeAsAny
from torch import Tensor, nn

from descriptors.registry import Registry


class DenoiserSettings(BaseModel):
    """Settings of a network; every kind has its own subclass, with `name` fixed to its registered name."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="registered name of the network")


class Denoiser(nn.Module, ABC):
    """A network that sees noisy vectors in [-1, 1] units and answers with raw outputs for an output head.

    A subclass names its settings class, is registered in `DENOISERS`, and takes the arguments below.

    Args:
        n_features: Length of the vectors.
        settings: An instance of the class's `Settings`.
        n_outputs: Number of raw outputs per vector, chosen by the output head.
        self_condition: Whether `forward` also uses an earlier estimate of the clean vectors.
        n_context: Length of what else `forward` is told of each vector; 0 for nothing.
    """

    Settings: ClassVar[type[DenoiserSettings]]

    def __init__(
        self,
        n_features: int,
        settings: DenoiserSettings,
        *,
        n_outputs: int,
        self_condition: bool,
        n_context: int = 0,
    ) -> None:
        super().__init__()
        self.n_features = n_features
        self.settings = settings
        self.n_outputs = n_outputs
        self.self_condition = self_condition
        self.n_context = n_context

    @abstractmethod
    def forward(
        self,
        noisy: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        previous: Float[Tensor, "n n_features"] | None = None,
        context: Float[Tensor, "n n_context"] | None = None,
    ) -> Float[Tensor, "n n_outputs"]:
        """Process a batch.

        Args:
            noisy: Noised vectors, about [-1, 1] wide where the noise is small.
            times: Step of the noise process, 0 (almost clean) to the number of steps minus one.
            previous: Earlier estimate of the clean vectors, in [-1, 1]; a self-conditioned network takes
                zeros when it is absent, another network does not use it.
            context: What is known of each vector; needed if and only if `n_context` is not 0.
        """


DENOISERS: Registry[Denoiser] = Registry("denoiser")


def parse_denoiser(value: object) -> object:
    """Turn a mapping with a `name` into the settings class of that network, for pydantic models.

    Raises:
        ValueError: If the name is missing or unknown, or the network has no such setting (pydantic's
            `ValidationError`, which is one).
    """
    if not isinstance(value, Mapping):
        return value
    if "name" not in value:
        raise ValueError(f"denoiser settings without a name, expected name: one of {', '.join(DENOISERS)}")
    name = str(value["name"])
    if name not in DENOISERS:
        try:
            DENOISERS[name]
        except KeyError as error:
            raise ValueError(error.args[0]) from None
    return DENOISERS[name].Settings.model_validate(dict(value))


AnyDenoiserSettings = Annotated[SerializeAsAny[DenoiserSettings], BeforeValidator(parse_denoiser)]


def make_denoiser(
    n_features: int,
    settings: DenoiserSettings,
    *,
    n_outputs: int,
    self_condition: bool,
    seed: int,
    n_context: int = 0,
) -> Denoiser:
    """Build the network that the settings name, with initial weights that depend on `seed` alone.

    The initialisers inside `torch.nn` know only the global generator, so it is seeded in a fork and put back.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return DENOISERS[settings.name](
            n_features, settings, n_outputs=n_outputs, self_condition=self_condition, n_context=n_context
        )


def sinusoids(times: Float[Tensor, " n"] | Int[Tensor, " n"], width: int) -> Float[Tensor, "n width"]:
    """Embed times by sines and cosines of geometrically spaced frequencies, 1 down to 1/10 000.

    Source: Vaswani et al., arXiv 1706.03762, section 3.5, with the sines first and the cosines after.
    """
    exponents = torch.arange(width // 2, device=times.device, dtype=torch.float32) / max(width // 2 - 1, 1)
    angles = times[:, None].float() * 10000.0 ** (-exponents)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
