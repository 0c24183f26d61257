"""Options that make the verbs finish in seconds."""

SAMPLING = ["--sampler", "ddim", "--steps", "5"]
TRAINING = [
    "--denoiser-options", "width=32,n_blocks=1", "--max-epochs", "3", "--batch-size", "8", "--timesteps", "20",
    "--warmup-steps", "0",
]  # fmt: skip
