"""`repdiff head fit`: labelled crystals → a head that predicts a property from representations, and steers by it."""

import logging
import sys
from pathlib import Path

from repdiff.backends.property_head import Head, fit_property_head, in_words
from repdiff.crystals.resumable_parts import kept
from repdiff.datasets.load import load_dataset
from repdiff.errors import UserError
from repdiff.hardware import choose_device
from repdiff.representations.encoded_set import REPRESENTATIONS, EncodedSet
from repdiff.representations.encoding import encode_dataset
from repdiff.representations.layout import named_descriptor
from repdiff.runs.atomic_files import ENCODED
from repdiff.runs.manifest import Input
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings.paths import home_expanded
from repdiff.settings.property_head import HeadSettings

log = logging.getLogger(__name__)


def run_head(settings: HeadSettings, workspace: Workspace) -> Path:
    """Fit a head to labelled crystals, and tell how good it is on those it has not seen.

    Returns:
        The run's folder, with `head.safetensors`, `metrics.jsonl` and `checkpoints/`.

    Raises:
        UserError: If there are no crystals with such a label, all have the same, or no such device.
        KeyboardInterrupt: If the user stopped the training; the last step is saved.
    """
    if settings.property is None:
        raise UserError("`property` is missing, expected the name of a numeric label, such as gap")
    device = choose_device(settings.device)
    path = _encoded_run(settings, workspace)
    if path is not None:
        settings = settings.model_copy(update={"dataset": str(path)})
        dataset, name = None, path.name
        inputs: dict[str, Path | Input] = {"encoded": path}
    else:
        assert settings.dataset is not None
        named_descriptor(settings.descriptor)
        dataset = load_dataset(
            settings.dataset, data_dir=settings.data_dir, downloads=workspace.data_dir, seed=settings.seed
        )
        inputs = {key: Input(path=key, sha256=digest) for key, digest in dataset.input_hashes.items()}
        name = f"{dataset.name}-{settings.descriptor}"
    with workspace.run(
        settings, plain_name(f"{name}-{settings.property}"), inputs=inputs, resume=settings.resume
    ) as run:
        if run.state != "finished":
            if path is not None:
                encoded = EncodedSet.read(path)
            elif (held := kept(run.path / ENCODED / REPRESENTATIONS, _read_encoded)) is not None:
                encoded = held
            else:
                assert dataset is not None
                encoded = encode_dataset(dataset, settings.descriptor, niggli=False, device=device)
                encoded.write(run.path / ENCODED)
            run.summary["note"] = encoded.layout.note
            result = fit_property_head(
                encoded, settings, run.path, summary=run.summary, resume=settings.resume
            )
            if result.stopped_by == "signal":
                raise KeyboardInterrupt
    sys.stdout.write(in_words(Head.load(run.path)) + "\n")
    return run.path


def _read_encoded(file: Path) -> EncodedSet:
    return EncodedSet.read(file.parent)


def _encoded_run(settings: HeadSettings, workspace: Workspace) -> Path | None:
    """Return the encoded set that is meant; None if it is a data set that is to be encoded."""
    if settings.dataset is None:
        return workspace.find("encode", None)
    given = home_expanded(settings.dataset)
    for path in (Path(given), workspace.root / "encode" / given):
        if (path / REPRESENTATIONS).is_file():
            return path
    return None
