"""`repdiff latents`: crystals → latent vectors → crystals, as they are, mixed, or improved."""

import logging
from pathlib import Path

from repdiff.backends.dpcdvae import DpCdvae
from repdiff.backends.find_model import find_model
from repdiff.backends.options import parse_options
from repdiff.datasets.sources import CrystalSets
from repdiff.diffusion.cdvae.latent_optimization import LatentOptimizationSettings, PropertySettings
from repdiff.hardware import choose_device
from repdiff.latent_space.actions import ACTIONS, Work
from repdiff.latent_space.files import LATENTS
from repdiff.runs.manifest import Input
from repdiff.runs.model_files import model_name
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import LatentsSettings
from repdiff.settings.leaves import leaves, value_at
from repdiff.settings.paths import home_expanded

log = logging.getLogger(__name__)


def run_latents(settings: LatentsSettings, workspace: Workspace) -> Path:
    """Do one of the actions; crystals that are decoded are written shard by shard.

    Returns:
        The run's folder: `latents.safetensors`, and the files of crystals unless they are only encoded.

    Raises:
        UserError: If there is no model, it has no latent vectors, or crystals or settings do not serve.
    """
    device = choose_device(settings.device)
    path = find_model(settings.model, workspace, backend=DpCdvae.kind)
    parse_options(PropertySettings, settings.head_options)
    parse_options(LatentOptimizationSettings, settings.move_options)
    backend = DpCdvae.load(path, device=device)
    backend.check(steps=settings.steps, options=settings.part(DpCdvae.sampling_options))
    sets = CrystalSets(data_dir=settings.data_dir, workspace=workspace)
    crystals, inputs = _locate(settings, sets, workspace)
    found: dict[str, object] = {"crystals": crystals, "model": path}
    if settings.action == "optimize":
        labelled, more = sets.locate(settings.labelled or sets.training_of(crystals) or crystals)
        inputs |= {f"labelled: {key}": value for key, value in more.items()}
        found["labelled"] = labelled
    settings = settings.model_copy(update=found)
    with workspace.run(settings, _label(settings), inputs={**inputs, "model": path}) as run:
        if run.state != "finished":
            work = Work(backend=backend, settings=settings, sets=sets, run=run)
            ACTIONS[settings.action](work)
    return run.path


def _locate(
    settings: LatentsSettings, sets: CrystalSets, workspace: Workspace
) -> tuple[str, dict[str, Path | Input]]:
    """Say which crystals, or latent vectors, are meant, and what is read for them."""
    if settings.action != "decode":
        return sets.locate(settings.crystals)
    folder = workspace.find("latents", home_expanded(settings.crystals))
    return str(folder), {"latents": folder / LATENTS}


def _label(settings: LatentsSettings) -> str:
    """Name the action, the crystals, and what differs from the defaults, so that such runs lie side by side."""
    assert settings.model is not None
    parts = [model_name(settings.model), settings.action, Path(settings.crystals).name]
    parts += [f"n{settings.n}"] if settings.n else []
    parts += ["given"] if settings.given else []
    parts += [str(end) for end in (settings.start, settings.end) if end is not None]
    parts += [f"{settings.property}-{settings.goal}"] if settings.property else []
    parts += [f"{settings.steps}steps"] if settings.steps else []
    options = {
        leaf.key: value_at(settings, leaf)
        for leaf in leaves(type(settings))
        if leaf.key not in LatentsSettings.model_fields and value_at(settings, leaf) != leaf.default
    }
    options |= settings.head_options | settings.move_options
    parts += [f"{name}-{value}" for name, value in options.items()]
    return plain_name("-".join([*parts, f"seed{settings.seed}"]))
