"""`repdiff generate`: a trained model → representation vectors."""

import logging
import time
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from repdiff.device import choose_device
from repdiff.diffusion.samplers import SamplerSettings
from repdiff.generated import read_shard, shard_path, write_shard
from repdiff.model import GenerativeModel
from repdiff.settings import GenerateSettings
from repdiff.workspace import Workspace, plain_name

log = logging.getLogger(__name__)


def run_generate(settings: GenerateSettings, workspace: Workspace) -> Path:
    """Sample a model, shard by shard; a run asked for more vectors than it holds appends shards.

    Vector i of a seed is the same whatever `n` and the shards.

    Returns:
        The run's folder, vectors in physical units in `shards/`.

    Raises:
        UserError: If there is no model, or it cannot be read.
    """
    device = choose_device(settings.device)
    path = workspace.find("train", settings.model)
    model = GenerativeModel.load(path, device=device)
    sampler = SamplerSettings(name=settings.sampler, n_steps=settings.steps, eta=settings.eta)
    name = plain_name(f"{path.name}-{_label(settings)}-seed{settings.seed}")
    with workspace.run(settings.model_copy(update={"model": path}), name, inputs={"model": path}) as run:
        if run.state != "finished":
            started, n_made = time.perf_counter(), 0
            for number, first in enumerate(range(0, settings.n, settings.shard_size)):
                size = min(settings.shard_size, settings.n - first)
                held = _held(run.path, number, model)
                if len(held) < size:
                    more = model.sample(
                        size - len(held),
                        seed=settings.seed,
                        first=first + len(held),
                        sampler=sampler,
                        temperature=settings.composition_temperature,
                    )
                    write_shard(run.path, number, torch.cat([held, more]), model.layout)
                    n_made += len(more)
            seconds = time.perf_counter() - started
            run.summary.update(n=settings.n, seconds_per_vector=seconds / n_made if n_made else None)
            log.info("%d representations", settings.n)
    return run.path


def _label(settings: GenerateSettings) -> str:
    """Name the sampler and what differs from its defaults, so that such runs lie side by side."""
    label = settings.sampler + (str(settings.steps) if settings.steps else "")
    label += f"-eta{settings.eta:g}" if settings.eta else ""
    cold = settings.composition_temperature != 1
    return label + (f"-temperature{settings.composition_temperature:g}" if cold else "")


def _held(folder: Path, number: int, model: GenerativeModel) -> Float[Tensor, "n_held n_features"]:
    """Return what a shard holds already, which is kept as it is."""
    path = shard_path(folder, number)
    return read_shard(path)[0] if path.is_file() else torch.empty(0, model.diffusion.n_features)
