"""The pages of the Python reference: which names stand on which page; their text comes from the docstrings."""

import importlib
import inspect

import repdiff as rd
import repdiff.testing

PAGES: dict[str, tuple[str, str, list[str]]] = {
    "data": (
        "Crystals and data sets",
        "Crystals go in as pymatgen structures, ASE atoms, paths or names of data sets.",
        ["load_dataset", "read", "write", "export", "view", "encode", "similar",
         "Crystal", "CrystalSet", "Dataset", "EncodedSet", "RepresentationBatch", "SimilarCrystals"],
    ),
    "models": (
        "Models",
        "Models are trained, loaded and sampled; heads and rankers stand beside them.",
        ["train", "finetune", "load_model", "shipped_models", "Model", "ModelCard",
         "fit_head", "load_head", "Head", "train_ranker", "load_ranker", "Ranker"],
    ),
    "crystals": (
        "Working with crystals",
        "From vectors to crystals, to relaxed crystals, to phases on a hull, on this machine or a cluster.",
        ["use_executor", "use_memory", "reconstruct", "relax", "phases", "optimize", "RelaxedSet", "Phases"],
    ),
    "evaluation": ("Evaluation", "Scores, and the one error that means a mistake of the user.",
                   ["evaluate", "Evaluation", "UserError"]),
}  # fmt: skip
"""Of each page of `import repdiff as rd`: title, first sentence, and the names."""

MODULES: dict[str, tuple[str, str, list[str]]] = {
    "testing": (
        "Acceptance kits",
        "`repdiff.testing` holds your classes to what ours are held to.",
        [f"repdiff.testing.{name}" for name in repdiff.testing.__all__],
    ),
    "extending": (
        "Base classes",
        "What a plugin subclasses; see [plugins](../../how-to/plugins.md).",
        ["descriptors.base.Descriptor", "descriptors.registry.Registry", "repdiff.backends.base.Backend",
         "repdiff.backends.base.TrainingJob", "repdiff.backends.base.Samples", "repdiff.metrics.base.Metric",
         "repdiff.metrics.base.Context", "repdiff.metrics.base.MetricResult", "repdiff.metrics.base.MetricValue",
         "repdiff.energies.base.ForceField", "repdiff.energies.base.Energies"],
    ),
    "descriptors": (
        "Descriptors",
        "From crystals to vectors, by batches of torch tensors.",
        ["descriptors.base.make_descriptor", "descriptors.batch.CrystalBatch", "descriptors.batch.from_structures",
         "descriptors.batch.to_structures", "descriptors.batch.from_atoms", "descriptors.batch.to_atoms",
         "descriptors.batch.join", "descriptors.representation.Representation",
         "descriptors.normalization.Normalizer", "descriptors.ead", "descriptors.soap", "descriptors.neighbors"],
    ),
    "reconstruction": (
        "Reconstruction",
        "From vectors to crystals.",
        [f"reconstruction.{name}" for name in importlib.import_module("reconstruction").__all__],
    ),
    "symmetry": (
        "Symmetry",
        "Space groups, Wyckoff positions and protostructures.",
        ["descriptors.symmetry.protostructure.Protostructure", "descriptors.symmetry.protostructure.Orbit",
         "descriptors.symmetry.labels.parse_label", "descriptors.symmetry.labels.write_label",
         "descriptors.symmetry.labels.prototype_label", "descriptors.symmetry.space_group.space_group",
         "descriptors.symmetry.space_group.SpaceGroup", "descriptors.symmetry.settings.canonical",
         "descriptors.symmetry.settings.prototype", "descriptors.symmetry.orbit_maps.OrbitMaps",
         "descriptors.symmetry.orbit_maps.orbit_maps",
         *(f"repdiff.symmetry.{name}" for name in importlib.import_module("repdiff.symmetry").__all__)],
    ),
}  # fmt: skip
"""The same of the other pages; names are full ones."""


def pages() -> dict[str, str]:
    """Write the pages, by path.

    Raises:
        ValueError: If a public name is on no page, or on two.
    """
    listed = [name for _, _, names in PAGES.values() for name in names]
    if sorted(listed) != sorted(rd.__all__):
        missing = sorted(set(rd.__all__) ^ set(listed)) or "one twice"
        raise ValueError(f"public names and pages of the Python reference differ: {missing}")
    made = {"reference/python/index.md": _index()}
    for page, (title, sentence, names) in PAGES.items():
        made[f"reference/python/{page}.md"] = _page(title, sentence, [f"repdiff.{name}" for name in names])
    for page, (title, sentence, names) in MODULES.items():
        made[f"reference/python/{page}.md"] = _page(title, sentence, names)
    return made


def _page(title: str, sentence: str, names: list[str]) -> str:
    return "\n\n".join([f"# {title}", sentence, *(f"::: {name}" for name in names)]) + "\n"


def _index() -> str:
    rows = [
        f"| [`rd.{name}`]({page}.md#repdiff.{name}) | {_first_line(getattr(rd, name))} |"
        for page, (_, _, names) in PAGES.items()
        for name in names
    ]
    kits = [
        f"| [`{kit}`](testing.md#{kit}) | {_first_line(getattr(repdiff.testing, kit.rpartition('.')[2]))} |"
        for kit in MODULES["testing"][2]
    ]
    return "\n".join(
        [
            "# Python",
            "",
            "`import repdiff as rd` offers everything that the commands do, by the same functions.",
            "",
            "| name | what it is |",
            "|---|---|",
            *rows,
            *kits,
            "",
            "Beneath it lie the packages [descriptors](descriptors.md) and [reconstruction](reconstruction.md), "
            "and the [base classes](extending.md) of plugins.",
            "",
        ]
    )


def _first_line(thing: object) -> str:
    return (inspect.getdoc(thing) or "").splitlines()[0]
