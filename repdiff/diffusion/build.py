"""From settings or a file to a `VectorDiffusion`, and back."""

from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from repdiff.diffusion.ddpm import DiffusionSettings, VectorDiffusion
from repdiff.errors import UserError
from repdiff.networks import AnyDenoiserSettings, make_denoiser
from repdiff.networks.heads import IdentityHead
from repdiff.networks.property_embedding import built
from repdiff.networks.protostructure.encoder import ProtostructureEncoder, ProtostructureEncoderSettings
from repdiff.runs.checkpoint import load_checkpoint, tensors_under

KIND = "vector-diffusion"


class ModelSettings(BaseModel):
    """All that is needed to build a model, apart from its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    n_features: int = Field(ge=1, description="length of the vectors")
    blocks: dict[str, tuple[int, int]] = Field(
        description="first and past-the-last feature of each named block"
    )
    diffusion: DiffusionSettings
    denoiser: AnyDenoiserSettings
    encoder: ProtostructureEncoderSettings | None = None
    properties: dict[str, dict[str, Any]] | None = Field(
        None, description="kind and settings of each property that the network can be told"
    )


def build_diffusion(settings: ModelSettings, *, seed: int) -> VectorDiffusion:
    """Build a model; its initial weights depend on `seed` alone."""
    head = IdentityHead(settings.n_features)
    encoder = None
    if settings.encoder is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            encoder = ProtostructureEncoder(settings.encoder)
    denoiser = make_denoiser(
        settings.n_features,
        settings.denoiser,
        n_outputs=head.n_outputs,
        self_condition=settings.diffusion.self_condition,
        seed=seed,
        n_context=0 if encoder is None else encoder.n_context,
    )
    blocks = {name: slice(*ends) for name, ends in settings.blocks.items()}
    diffusion = VectorDiffusion(denoiser, settings.diffusion, blocks=blocks, head=head, encoder=encoder)
    if settings.properties:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            diffusion.add_properties(built(settings.properties))
    return diffusion


def describe(diffusion: VectorDiffusion) -> ModelSettings:
    """Return the settings that `build_diffusion` would build this model from."""
    return ModelSettings(
        n_features=diffusion.n_features,
        blocks={name: (part.start, part.stop) for name, part in diffusion.blocks.items()},
        diffusion=diffusion.settings,
        denoiser=diffusion.denoiser.settings,
        encoder=None if diffusion.encoder is None else diffusion.encoder.settings,
        properties=None if diffusion.adapters is None else diffusion.adapters.describe(),
    )


def load_diffusion(
    path: Path, *, device: torch.device | str = "cpu"
) -> tuple[VectorDiffusion, dict[str, Tensor], dict[str, Any]]:
    """Read a trained model from a checkpoint; see `load_checkpoint` for the paths it takes.

    Returns:
        The model, in evaluation mode; the other tensors of the file; and the file's metadata.

    Raises:
        UserError: If the file is not such a checkpoint, or its weights do not fit its settings.
    """
    tensors, metadata = load_checkpoint(path, kind=KIND)
    try:
        diffusion = build_diffusion(ModelSettings.model_validate(metadata["model"]), seed=0)
        weights, others = tensors_under("network.", tensors)
        diffusion.network.load_state_dict(weights)
    except (KeyError, ValidationError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(
            f"{path}: weights and settings do not fit together ({reason}): train it again"
        ) from error
    return diffusion.to(device).eval(), others, metadata
