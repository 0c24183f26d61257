"""A small model, and a training of it that takes less than a second."""

import torch

from repdiff.backends.structrepdiff_training import VectorData, VectorTraining
from repdiff.diffusion.build import ModelSettings, build_diffusion
from repdiff.training import TrainingSettings, train

N_FEATURES = 7
PLAIN = {"name": "mlp", "width": 16, "n_blocks": 1, "time_width": 8}
NETWORKS = {
    "mlp": PLAIN,
    "mlp with dropout": {**PLAIN, "dropout": 0.3},
    "unet1d": {"name": "unet1d", "dim": 8, "dim_mults": [1, 2], "dropout": 0.1},
}
FEATURES = torch.rand(50, N_FEATURES, generator=torch.Generator().manual_seed(0)) * 0.1 + torch.linspace(
    0, 0.9, 7
)
VALIDATION = FEATURES[:20].flip(1)
QUICK = {
    "max_steps": 30,
    "batch_size": 16,
    "log_every": 4,
    "validate_every": 6,
    "ema_every": 3,
    "warmup_steps": 5,
}


def model(denoiser=PLAIN, **diffusion):
    settings = {
        "n_features": N_FEATURES,
        "blocks": {"descriptor": (0, 4), "lattice": (4, 7)},
        "diffusion": {"timesteps": 50, **diffusion},
        "denoiser": denoiser,
    }
    return build_diffusion(ModelSettings.model_validate(settings), seed=3)


def run(folder, *, diffusion=None, features=FEATURES, validation=VALIDATION, resume=False, **settings):
    return train(
        VectorTraining(diffusion or model()),
        VectorData("training", features, n_features=N_FEATURES),
        VectorData("validation", validation, n_features=N_FEATURES),
        TrainingSettings(**{**QUICK, **settings}),
        folder,
        metadata={"layout": ["a", "b"]},
        tensors={"normaliser.low": torch.zeros(3)},
        resume=resume,
        progress=False,
    )
