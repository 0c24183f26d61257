"""`repdiff generate`: a trained model → representation vectors."""

import logging
import time
from pathlib import Path


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
    label = settings.sampler + (str(settings.steps) if settings.steps else "")
    name = plain_name(f"{path.name}-{label}-seed{settings.seed}")
    with workspace.run(settings.model_copy(update={"model": path}), name, inputs={"model": path}) as run:
        if run.state != "finished":
            started = time.perf_counter()
            for number, first in enumerate(range(0, settings.n, settings.shard_size)):
                size = min(settings.shard_size, settings.n - first)
                if _n_in_shard(run.path, number) < size:
                    vectors = model.sample(
                        size,
                        seed=settings.seed,
                        first=first,
                        sampler=sampler,
                        temperature=settings.composition_temperature,
                    )
                    write_shard(run.path, number, vectors, model.layout)
            run.summary.update(n=settings.n, seconds_per_vector=(time.perf_counter() - started) / settings.n)
            log.info("%d representations", settings.n)
    return run.path


def _n_in_shard(folder: Path, number: int) -> int:
    path = shard_path(folder, number)
    return len(read_shard(path)[0]) if path.is_file() else 0
