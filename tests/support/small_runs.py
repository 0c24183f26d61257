"""Options that make the verbs finish in seconds."""

from reconstruction.presets import Rung, Search

TINY_SEARCH = Search(
    rungs=(Rung(n_trials=2, n_steps=8),), n_rounds=3, n_kept=2, learning_rate=0.3, n_polish=5
)
"""What stands in for the preset `fast`: faster than is of use."""

SAMPLING = ["--sampler", "ddim", "--steps", "5"]
TRAINING = [
    "--denoiser-options", "width=32,n_blocks=1", "--max-epochs", "3", "--batch-size", "8", "--timesteps", "20",
    "--warmup-steps", "0",
]  # fmt: skip
SMALL = {
    "max_steps": 6,
    "batch_size": 8,
    "warmup_steps": 0,
    "timesteps": 20,
    "denoiser_options": {"width": 32, "n_blocks": 1},
}
"""The same from Python, of a few steps."""
