"""Generate crystals by diffusion in representation space, from Python or the command line.

    import repdiff as rd

    encoded = rd.encode(rd.load_dataset("prototypes"))
    model = rd.train(encoded, max_minutes=4)
    crystals = model.sample(10)
    rd.evaluate(crystals, "prototypes:test").to_frame()

Names are loaded when they are first used, so that importing the package takes no time.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from repdiff import testing as testing
    from repdiff.api import (
        Crystal,
        CrystalSet,
        Dataset,
        EncodedSet,
        Evaluation,
        Head,
        Model,
        ModelCard,
        Phases,
        Ranker,
        RelaxedSet,
        RepresentationBatch,
        SimilarCrystals,
        encode,
        evaluate,
        export,
        finetune,
        fit_head,
        load_dataset,
        load_head,
        load_model,
        load_ranker,
        optimize,
        phases,
        read,
        reconstruct,
        relax,
        shipped_models,
        similar,
        train,
        train_ranker,
        use_executor,
        use_memory,
        view,
        write,
    )
    from repdiff.errors import UserError

    __version__: str

__all__ = [
    "Crystal",
    "CrystalSet",
    "Dataset",
    "EncodedSet",
    "Evaluation",
    "Head",
    "Model",
    "ModelCard",
    "Phases",
    "Ranker",
    "RelaxedSet",
    "RepresentationBatch",
    "SimilarCrystals",
    "UserError",
    "encode",
    "evaluate",
    "export",
    "finetune",
    "fit_head",
    "load_dataset",
    "load_head",
    "load_model",
    "load_ranker",
    "optimize",
    "phases",
    "read",
    "reconstruct",
    "relax",
    "shipped_models",
    "similar",
    "train",
    "train_ranker",
    "use_executor",
    "use_memory",
    "view",
    "write",
]


def __getattr__(name: str) -> object:
    """Load a public name, or the installed version, when it is first used.

    Raises:
        AttributeError: If there is no such name.
    """
    if name == "__version__":
        globals()[name] = _installed_version()
        return globals()[name]
    if name not in __all__ and name != "testing":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    if name == "testing":
        return importlib.import_module("repdiff.testing")
    found = getattr(importlib.import_module("repdiff.errors" if name == "UserError" else "repdiff.api"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """List the public names, loaded or not."""
    return sorted({*globals(), *__all__})


def _installed_version() -> str:
    """Return the version that is installed; pyproject.toml alone declares it."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("repdiff")
    except PackageNotFoundError:  # a checkout that is only on the path
        return "0+unknown"
