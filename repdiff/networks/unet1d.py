"""One-dimensional U-Net of denoising-diffusion-pytorch: the denoiser of the StructRepDiff paper."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from repdiff.errors import UserError
from repdiff.networks.base import DENOISERS, Denoiser, DenoiserSettings


class Unet1dSettings(DenoiserSettings):
    """Size of the U-Net; every stage halves the length and has two ResNet blocks and linear attention."""

    name: Literal["unet1d"] = Field("unet1d", description="registered name of the network")
    dim: int = Field(32, ge=8, multiple_of=2, description="channels of the first stage")
    dim_mults: tuple[int, ...] = Field(
        (1, 2, 4, 8), min_length=1, description="channels of each stage over dim"
    )
    attn_heads: int = Field(4, ge=1, description="attention heads at the bottom")
    attn_dim_head: int = Field(32, ge=1, description="channels of each of those heads")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability inside the ResNet blocks")


@DENOISERS.register("unet1d")
class Unet1dDenoiser(Denoiser):
    """The library's U-Net over the vector as a sequence with one channel, and a second one for the context.

    The network needs a length divisible by 2^(stages - 1). Other vectors are filled up with zeros, the middle
    of the range [-1, 1], and the fill is cut off the output: it is neither noised nor part of any loss.

    Raises:
        UserError: If an output head asks for another number of outputs than features.
    """

    Settings = Unet1dSettings

    def __init__(
        self,
        n_features: int,
        settings: DenoiserSettings,
        *,
        n_outputs: int,
        self_condition: bool,
        n_context: int = 0,
    ) -> None:
        super().__init__(
            n_features, settings, n_outputs=n_outputs, self_condition=self_condition, n_context=n_context
        )
        assert isinstance(settings, Unet1dSettings)
        if n_outputs != n_features:
            raise UserError(
                f"the U-Net gives one output a feature ({n_features}), the output head needs {n_outputs}: "
                "choose the denoiser mlp, or a head without extra outputs"
            )
        from denoising_diffusion_pytorch.denoising_diffusion_pytorch_1d import Unet1D  # imports torchvision

        self.length_multiple = 2 ** (len(settings.dim_mults) - 1)
        self.second_channel = nn.Linear(n_context, n_features) if n_context else None
        self.network = Unet1D(
            channels=2 if n_context else 1,
            out_dim=1,
            dim=settings.dim,
            dim_mults=settings.dim_mults,
            attn_heads=settings.attn_heads,
            attn_dim_head=settings.attn_dim_head,
            dropout=settings.dropout,
            self_condition=self_condition,
        )

    def forward(
        self,
        noisy: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        previous: Float[Tensor, "n n_features"] | None = None,
        context: Float[Tensor, "n n_context"] | None = None,
    ) -> Float[Tensor, "n n_outputs"]:
        """Process a batch; see `Denoiser.forward`."""
        fill = -self.n_features % self.length_multiple
        channels = [noisy]
        if self.second_channel is not None:
            assert context is not None
            channels.append(self.second_channel(context))

        def as_sequence(vectors: list[Tensor]) -> Tensor:
            return nn.functional.pad(torch.stack(vectors, 1), (0, fill))

        condition = None
        if previous is not None and self.self_condition:
            condition = as_sequence([previous, *channels[1:]])
        return self.network(as_sequence(channels), times, condition)[:, 0, : self.n_features]
