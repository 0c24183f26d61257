r"""Make a trained model one of the package: its weights packed, and its card.

A model is packed first, and its card has no figures then. Samples are drawn from the packed weights and judged, and the
second call puts the figures into the card, with the intervals and baselines that the evaluations computed, and the
settings of the samples, which are those of the model from then on. The texts come from scripts/models.yaml, and how the
model was trained from the manifest of its run.

Example:
    python scripts/pack_model.py RUN --name mp_20
    repdiff generate --model mp_20 --n 2000 --sampler ddim --steps 100 --new-only --name mp_20  # and judge it
    python scripts/pack_model.py RUN --name mp_20 --generated GENERATED --evaluations EVALUATED [MORE ...]
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import repdiff
from repdiff.backends.find_model import backend_of
from repdiff.report.labels import metric_label
from repdiff.runs.atomic_files import read_json, sha256, write_json
from repdiff.runs.checkpoint import load_checkpoint, save_checkpoint
from repdiff.runs.manifest import read_manifest
from repdiff.runs.model_files import model_file, read_metadata
from repdiff.runs.packed_weights import pack
from repdiff.runs.shipped_models import WEIGHTS, Figure, ModelCard

TEXTS = Path(__file__).parent / "models.yaml"
EXACT = ("normalizer.", "templates.")  # what is no weight of a network keeps its precision
SAMPLING = (
    "sampler", "steps", "eta", "temperature", "element_temperature", "new_only", "templates", "prototype_share",
    "corrector_steps", "position_corrector", "lattice_corrector", "corrector_temperature", "type_temperature",
    "positions", "lattice_noise", "step",
)  # fmt: skip
GIVEN = ("protostructures", "compositions_from")  # what samples of systems that draw none were made for
MEASURES = (
    "validity.structure_valid", "validity.composition_valid", "symmetry.p1", "distributions.js_space_groups",
    "distributions.emd_density", "distributions.emd_n_elements", "uniqueness.unique", "uniqueness.novel",
    "uniqueness.unique_and_novel", "prototypes.new_prototypes", "coverage.cov_recall", "coverage.cov_precision",
    "stability.stable", "stability.sun", "stability.sun_symmetric", "stability.rmsd", "stability.energy_change",
)  # fmt: skip
MOST_BYTES = 20_000_000
SMALL = 4_000_000  # bytes of a model that is shipped as it is


def packed(source: Path, target: Path) -> None:
    """Write the weights of a model, those of a large one in fewer bytes."""
    metadata = read_metadata(model_file(source))
    kind = metadata.pop("kind")
    metadata.pop("format")
    tensors, _ = load_checkpoint(source, kind=kind)
    if model_file(source).stat().st_size > SMALL:
        tensors = pack(tensors, exact=EXACT)
    save_checkpoint(target, tensors, metadata, kind=kind)
    if (size := target.stat().st_size) > MOST_BYTES:
        raise SystemExit(f"{target} has {size} bytes, expected at most {MOST_BYTES}")


def figures_of(evaluations: Sequence[Path]) -> Iterator[Figure]:
    """Read the measures of evaluations that a card shows."""
    found: dict[str, Mapping[str, Any]] = {}
    for folder in evaluations:
        for family, one in read_json(folder / "metrics.json")["metrics"].items():
            found |= {f"{family}.{name}": value for name, value in one["values"].items()}
    for name in MEASURES:
        if name in found:
            value, label = found[name], metric_label(name.partition(".")[2])
            baseline = next(iter(value.get("baseline", {}).values()), {})
            yield Figure(
                name=f"{label.name} ({value['unit']})" if value.get("unit") else label.name,
                value=value["value"],
                interval=value.get("interval"),
                baseline=baseline.get("value"),
            )


def training_of(run: Path) -> dict[str, Any]:
    """Tell what a training took, with that of the model that it began with."""
    manifest = read_manifest(run)
    summary, first = manifest.summary, manifest.summary.get("protostructures") or {}
    seconds = summary["training_seconds"] + first.get("training_seconds", 0)
    found = {
        "minutes": round(seconds / 60),
        "clock": manifest.config["clock"],
        "steps": summary["steps"] + first.get("steps", 0),
        "parameters": summary["n_parameters"] + first.get("n_parameters", 0),
        "seed": manifest.seed,
        "processor": manifest.hardware.get("processor"),
        "torch": manifest.versions.get("torch"),
    }
    if (base := manifest.config.get("from_run")) is not None:
        before = training_of(Path(base))
        found |= {name: found[name] + before[name] for name in ("minutes", "steps")}
    return found


def card_of_model(name: str, run: Path, generated: Path | None, evaluations: Sequence[Path]) -> ModelCard:
    """Put a card together, without figures where nothing was judged yet.

    Raises:
        SystemExit: If the samples are of other weights.
    """
    target = WEIGHTS / f"{name}.safetensors"
    digest, sampling, judged = sha256(target), {}, "Not judged."
    if generated is not None:
        made, first = read_manifest(generated), read_manifest(evaluations[0])
        if made.inputs["model"].sha256 != digest:
            raise SystemExit(f"{generated} has samples of other weights than {target}: generate them again")
        sampling = {name: made.config[name] for name in SAMPLING if made.config.get(name) is not None}
        given = "".join(
            f", for the {name.partition('_')[0]} of `{made.config[name]}`"
            for name in GIVEN
            if made.config.get(name)
        )
        asked = ", ".join(f"{name}={value}" for name, value in (made.config.get("condition") or {}).items())
        judged = (
            f"{made.summary['n']:,} samples of seed {made.seed}"
            f"{asked and f' with `--condition {asked}`'}{given}, by `repdiff evaluate` "
            f"against `{first.config['reference']}`; what needs relaxation or coverage, by part of them. "
            "The baseline is the same measure of as many real crystals."
        )
    return ModelCard(
        name=name,
        backend=backend_of(target),
        training=training_of(run),
        sampling=sampling,
        judged=judged,
        figures=tuple(figures_of(evaluations)),
        sha256=digest,
        version=repdiff.__version__,
        **yaml.safe_load(TEXTS.read_text(encoding="utf-8"))[name],
    )


def main() -> None:
    """Pack one model, unless its packed samples are named, and write its card."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="output of `repdiff train` or finetune")
    parser.add_argument("--name", required=True, help="name in scripts/models.yaml")
    parser.add_argument(
        "--best", action="store_true", help="take the weights of the lowest validation loss, not the last"
    )
    parser.add_argument("--generated", type=Path, help="samples of the packed model")
    parser.add_argument("--evaluations", type=Path, nargs="+", default=[], help="what judged them")
    arguments = parser.parse_args()
    if (arguments.generated is None) != (not arguments.evaluations):
        parser.error("expected --generated and --evaluations, or none of the two")
    target = WEIGHTS / f"{arguments.name}.safetensors"
    if arguments.generated is None:
        packed(arguments.run / "best.safetensors" if arguments.best else arguments.run, target)
    card = card_of_model(arguments.name, arguments.run, arguments.generated, arguments.evaluations)
    write_json(target.with_suffix(".json"), card.model_dump(mode="json"))
    print(f"{target}: {target.stat().st_size / 1e6:.1f} MB, {len(card.figures)} figures")


if __name__ == "__main__":
    main()
