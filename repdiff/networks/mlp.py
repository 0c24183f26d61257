"""Residual multi-layer perceptron: the denoiser for two cores and no GPU."""

from typing import Literal

import torch
from jaxtyping import Float, Int
from pydantic import Field
from torch import Tensor, nn

from repdiff.networks.base import DENOISERS, Denoiser, DenoiserSettings, sinusoids


class MlpSettings(DenoiserSettings):
    """Size of the residual MLP."""

    name: Literal["mlp"] = Field("mlp", description="registered name of the network")
    width: int = Field(768, ge=8, description="channels of the residual stream")
    n_blocks: int = Field(3, ge=1, description="residual blocks, two linear layers each")
    time_width: int = Field(128, ge=4, multiple_of=2, description="channels of the time embedding")
    dropout: float = Field(0.0, ge=0, lt=1, description="dropout probability inside the blocks")


class _Block(nn.Module):
    """Residual block: modulated layer norm, linear, SiLU, dropout, linear; the identity at first."""

    def __init__(self, settings: MlpSettings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width, elementwise_affine=False)
        self.modulation = nn.Linear(settings.time_width, 2 * settings.width)
        self.inner = nn.Linear(settings.width, settings.width)
        self.outer = nn.Linear(settings.width, settings.width)
        self.dropout = nn.Dropout(settings.dropout)
        for layer in (self.modulation, self.outer):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self, hidden: Float[Tensor, "n width"], time: Float[Tensor, "n time_width"]
    ) -> Float[Tensor, "n width"]:
        scale, shift = self.modulation(time).chunk(2, dim=-1)
        inner = nn.functional.silu(self.inner(self.norm(hidden) * (1 + scale) + shift))
        return hidden + self.outer(self.dropout(inner))


@DENOISERS.register("mlp")
class MlpDenoiser(Denoiser):
    """Residual MLP whose layer norms are scaled and shifted by the time and the context (adaptive layer norm).

    Beside the residual stream, a time-dependent multiple of the noisy input reaches the first `n_features`
    outputs directly, so that noise need not pass a stream narrower than the vector. The output starts at 0.

    Source of the modulation: Peebles and Xie, arXiv 2212.09748, section 3.2.
    """

    Settings = MlpSettings

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
        assert isinstance(settings, MlpSettings)
        n_inputs = n_features * (2 if self_condition else 1) + n_context
        self.time_width = settings.time_width
        self.embed_time = nn.Sequential(
            nn.Linear(settings.time_width, settings.time_width),
            nn.SiLU(),
            nn.Linear(settings.time_width, settings.time_width),
            nn.SiLU(),
        )
        self.modulate = nn.Linear(n_context, settings.time_width) if n_context else None
        self.entry = nn.Linear(n_inputs, settings.width)
        self.blocks = nn.ModuleList([_Block(settings) for _ in range(settings.n_blocks)])
        self.norm = nn.LayerNorm(settings.width)
        self.exit = nn.Linear(settings.width, n_outputs)
        self.skip = nn.Linear(settings.time_width, n_features)
        for layer in (self.exit, self.skip):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        noisy: Float[Tensor, "n n_features"],
        times: Int[Tensor, " n"],
        previous: Float[Tensor, "n n_features"] | None = None,
        context: Float[Tensor, "n n_context"] | None = None,
    ) -> Float[Tensor, "n n_outputs"]:
        """Process a batch; see `Denoiser.forward`."""
        time = self.embed_time(sinusoids(times, self.time_width))
        inputs = noisy
        if self.self_condition:
            inputs = torch.cat([noisy, torch.zeros_like(noisy) if previous is None else previous], dim=-1)
        if self.modulate is not None:
            assert context is not None
            inputs = torch.cat([inputs, context], dim=-1)
            time = time + self.modulate(context)
        hidden = self.entry(inputs)
        for block in self.blocks:
            hidden = block(hidden, time)
        direct = self.skip(time) * noisy
        return self.exit(self.norm(hidden)) + nn.functional.pad(direct, (0, self.n_outputs - self.n_features))
