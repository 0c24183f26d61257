"""Fit the confidence of reconstructions to known crystals, and measure how well it is calibrated on others.

Reconstructs random crystals of the validation splits from their true vectors, fits `reconstruction.confidence` to
which of them came back, and tests the fit on finished runs with other crystals. A test run may be of another preset:
the fit is written down as valid for it too if its expected calibration error there is at most 0.05. What is known of
each crystal is kept as a table in the workspace, so that fitting again costs seconds. The last line on stdout is
JSON. Example:
    python scripts/calibrate_confidence.py --dataset mp_20 --dataset perov_5 --dataset carbon_24 --n 300 \
        --preset fast --data-dir DIR --test-run repdiff-workspace/reconstruct/mp_20-test-n500-seed0-default \
        --out reconstruction/calibration/ead.json --plot docs/figures/reliability.svg
"""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from jaxtyping import Bool, Float
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor

from descriptors.base import make_descriptor
from reconstruction.confidence import (
    DEFAULT_FEATURES,
    FEATURES,
    FEWEST,
    Confidence,
    Evidence,
    ReliabilityBin,
    digest_of,
    expected_calibration_error,
    fit_confidence,
    reliability,
)
from repdiff.commands.reconstruct import run_reconstruct
from repdiff.crystals.crystal import Crystal
from repdiff.datasets.sources import read_for_evaluation, read_reference
from repdiff.errors import UserError
from repdiff.metrics.matching import match_pairs
from repdiff.runs.atomic_files import replacing, write_json
from repdiff.runs.manifest import read_manifest
from repdiff.runs.provenance import record, versions
from repdiff.runs.workspace import Workspace
from repdiff.settings import ReconstructSettings

N_FOLDS = 5
VALID = 0.05  # expected calibration error, at most, of a preset that the fit holds for
N_DRAWS = 200  # of outcomes, for the error that a perfect confidence would show
SCHEMA = pa.schema(
    {
        "run": pa.string(), "created": pa.string(), "descriptor": pa.string(), "preset": pa.string(),
        "dataset": pa.string(), "split": pa.string(), "id": pa.string(), "loss": pa.float64(),
        "n_agreeing": pa.int64(), "n_atoms": pa.int64(), "n_elements": pa.int64(), "stopped": pa.string(),
        "n_evaluations": pa.int64(), "seconds": pa.float64(), "matched": pa.bool_(), "rms": pa.float64(),
    }
)  # fmt: skip
Row = dict[str, object]


def reconstruct_validation(arguments: argparse.Namespace, workspace: Workspace) -> Iterator[Path]:
    """Invert `n` random crystals of the validation split of each data set; yield the runs' folders."""
    for dataset in arguments.dataset:
        settings = ReconstructSettings.model_validate(
            {
                "dataset": dataset, "split": "val", "n": arguments.n, "preset": arguments.preset,
                "descriptor": arguments.descriptor, "data_dir": arguments.data_dir, "seed": arguments.seed,
                "device": arguments.device,
            }
        )  # fmt: skip
        yield run_reconstruct(settings, workspace)


def describe_run(folder: Path, data_dir: Path | None, workspace: Workspace) -> list[Row]:
    """Match the crystals of a run with the true ones; one row a crystal.

    Raises:
        UserError: If the run is not a finished one that started from true vectors.
    """
    manifest = read_manifest(folder)
    config = manifest.config
    if manifest.status != "finished" or not config.get("dataset"):
        raise UserError(f"{folder}: expected a finished `repdiff reconstruct --dataset NAME`")
    crystals, _ = read_for_evaluation(folder)
    known = {c.id: c for c in read_reference(config["dataset"], data_dir, workspace)}
    rms = match_pairs(crystals, [known[c.id] for c in crystals], progress=True).tolist()
    common = {
        "run": str(folder.resolve()), "created": manifest.created, "descriptor": config["descriptor"],
        "preset": config["preset"], "dataset": config["dataset"],
    }  # fmt: skip
    return [
        {**common, "split": known[c.id].split, **_known(c), "matched": not np.isnan(d), "rms": d}
        for c, d in zip(crystals, rms, strict=True)
    ]


def _known(crystal: Crystal) -> Row:
    """Return what the search says of a crystal."""
    labels = ("loss", "n_agreeing", "stopped", "n_evaluations", "seconds")
    return {
        "id": crystal.id,
        "n_atoms": crystal.n_atoms,
        "n_elements": len(np.unique(crystal.atomic_numbers)),
        **{label: crystal.labels[label] for label in labels},
    }


def describe_runs(
    folders: Sequence[Path], table: Path, data_dir: Path | None, workspace: Workspace
) -> list[list[Row]]:
    """Return the rows of each run; runs that the table has already are not matched again."""
    rows: list[Row] = pq.read_table(table, schema=SCHEMA).to_pylist() if table.is_file() else []
    found: list[list[Row]] = []
    for folder in folders:
        name, created = str(folder.resolve()), read_manifest(folder).created
        old = [row for row in rows if row["run"] == name and row["created"] == created]
        new = old or describe_run(folder, data_dir, workspace)
        rows = [row for row in rows if row["run"] != name] + new
        found.append(new)
    table.parent.mkdir(parents=True, exist_ok=True)
    with replacing(table) as partial:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), partial)
    return found


def check_samples(fitted: Sequence[Row], tested: Sequence[Row]) -> tuple[str, str]:
    """Return the descriptor of all rows and the preset of those to fit; refuse mixtures, and tests on what was fitted.

    Raises:
        UserError: If there are several descriptors or presets, or a crystal is both fitted and tested.
    """
    presets = {str(row["preset"]) for row in fitted}
    descriptors = {str(row["descriptor"]) for row in (*fitted, *tested)}
    for name, found in (("presets to fit", presets), ("descriptors", descriptors)):
        if len(found) != 1:
            raise UserError(f"{name} are {', '.join(sorted(found))}; expected one: leave out the other runs")
    keys = [{(row["dataset"], row["id"]) for row in rows} for rows in (fitted, tested)]
    if shared := keys[0] & keys[1]:
        raise UserError(
            f"{len(shared)} crystals are both fitted and tested, expected none: take other test runs"
        )
    return descriptors.pop(), presets.pop()


def evidence_of(rows: Sequence[Row]) -> tuple[Evidence, Bool[Tensor, " n"]]:
    """Turn rows into what the fit takes."""

    def column(name: str, dtype: torch.dtype) -> Tensor:
        return torch.tensor([row[name] for row in rows], dtype=dtype)

    counts = {name: column(name, torch.int64) for name in ("n_atoms", "n_elements", "n_agreeing")}
    return Evidence(losses=column("loss", torch.float64), **counts), column("matched", torch.bool)


def cross_validate(
    evidence: Evidence, matched: Bool[Tensor, " n"], features: Sequence[str], *, seed: int
) -> Float[Tensor, " n"]:
    """Return for every crystal the confidence from a fit to the other folds."""
    fold = torch.randperm(len(matched), generator=torch.Generator().manual_seed(seed)) % N_FOLDS
    confidence = torch.empty(len(matched), dtype=torch.float64)
    for k in range(N_FOLDS):
        fitted = fit_confidence(evidence.select(fold != k), matched[fold != k], features=features)
        confidence[fold == k] = fitted.predict(evidence.select(fold == k))
    return confidence


def scores(confidence: Float[Tensor, " n"], matched: Bool[Tensor, " n"], *, seed: int) -> dict[str, float]:
    """Score confidences; `ece_if_perfect` is what chance alone would give, were every one of them exact."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        expected_calibration_error(confidence, torch.bernoulli(confidence, generator=generator) > 0)
        for _ in range(N_DRAWS)
    ]
    outcome = matched.double()
    return {
        "n": len(matched),
        "match_rate": float(outcome.mean()),
        "mean_confidence": float(confidence.mean()),
        "ece": expected_calibration_error(confidence, matched),
        "ece_if_perfect": float(np.mean(drawn)),
        "log_loss": float(torch.nn.functional.binary_cross_entropy(confidence, outcome)),
        "brier": float(((confidence - outcome) ** 2).mean()),
    }


def scores_by_dataset(
    rows: Sequence[Row], confidence: Float[Tensor, " n"], matched: Bool[Tensor, " n"], *, seed: int
) -> dict[str, dict[str, float]]:
    """Score all together and each data set alone."""
    found = {"all": scores(confidence, matched, seed=seed)}
    names = [str(row["dataset"]) for row in rows]
    for name in sorted(set(names)):
        own = torch.tensor([other == name for other in names])
        found[name] = scores(confidence[own], matched[own], seed=seed)
    return found


def compare_features(
    evidence: Evidence, matched: Bool[Tensor, " n"], chosen: Sequence[str], *, seed: int
) -> dict[str, float]:
    """Return the cross-validated log loss without features, with those chosen, and with one more each."""
    extra = [(*chosen, name) for name in FEATURES if name not in chosen]
    candidates = {" + ".join(["loss", *names]): names for names in ((), tuple(chosen), *extra)}
    return {
        label: scores(cross_validate(evidence, matched, names, seed=seed), matched, seed=seed)["log_loss"]
        for label, names in candidates.items()
    }


def draw_reliability(samples: Mapping[str, Sequence[ReliabilityBin]]) -> Figure:
    """Draw the share that came back against confidence, and how many crystals each point stands for."""
    figure = Figure(figsize=(5.0, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    above.plot([0, 1], [0, 1], color="0.7", linewidth=1, label="perfect")
    width = 0.8 / max(len(samples), 1)
    for place, (name, bins) in enumerate(samples.items()):
        n, share = np.array([b.n for b in bins]), np.array([b.matched for b in bins])
        smooth = (n * share + 1) / (n + 2)  # an error bar also where all or none came back
        above.errorbar(
            [b.confidence for b in bins], share, yerr=np.sqrt(smooth * (1 - smooth) / n), fmt="o-",
            markersize=4, capsize=2, linewidth=1, label=f"{name} ({n.sum()} crystals)",
        )  # fmt: skip
        span = np.array([b.high - b.low for b in bins])
        below.bar(np.array([b.low for b in bins]) + span * (0.1 + width * (place + 0.5)), n, span * width)
    above.set(ylabel="share matched", xlim=(0, 1), ylim=(-0.02, 1.02))
    above.legend(frameon=False)
    below.set(xlabel="confidence", ylabel="crystals", yscale="log")
    return figure


def write_plot(path: Path, samples: Mapping[str, Sequence[ReliabilityBin]]) -> None:
    """Save the figure, and what it shows beside it as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    undated = {"Date": None} if path.suffix == ".svg" else None  # equal numbers make equal files
    with replacing(path) as partial, rc_context({"svg.hashsalt": "reliability"}):
        draw_reliability(samples).savefig(partial, dpi=200, metadata=undated)
    write_json(path.with_suffix(".json"), {name: list(map(asdict, bins)) for name, bins in samples.items()})


def calibrate(arguments: argparse.Namespace) -> dict[str, object]:
    """Do what the command line asks and return the summary."""
    workspace = Workspace(root=arguments.workspace)
    folders = [*reconstruct_validation(arguments, workspace), *arguments.fit_run]
    if not folders:
        raise UserError("nothing to fit, expected --dataset NAME or --fit-run DIR")
    table = arguments.table or arguments.workspace / "calibration" / "crystals.parquet"
    found = describe_runs([*folders, *arguments.test_run], table, arguments.data_dir, workspace)
    fitted = [row for rows in found[: len(folders)] for row in rows]
    tested = [row for rows in found[len(folders) :] for row in rows]
    if len(fitted) < 2 * FEWEST:
        raise UserError(f"{len(fitted)} crystals to fit, expected at least {2 * FEWEST}: take a larger --n")
    descriptor, preset = check_samples(fitted, tested)
    features = tuple(arguments.feature or DEFAULT_FEATURES)
    evidence, matched = evidence_of(fitted)
    parts = [f"{row['dataset']}:{row['split']}" for row in fitted]
    confidence = replace(
        fit_confidence(evidence, matched, features=features),
        descriptor=descriptor,
        digest=digest_of(make_descriptor(descriptor)),
        presets=(preset,),
        n_crystals={part: parts.count(part) for part in sorted(set(parts))},
        versions=versions(),
    )
    crossed = cross_validate(evidence, matched, features, seed=arguments.seed)
    result: dict[str, object] = {
        "descriptor": descriptor,
        "preset": preset,
        "seed": arguments.seed,
        "fitted_on": confidence.n_crystals,
        "cross_validated": scores_by_dataset(fitted, crossed, matched, seed=arguments.seed),
        "log_loss_by_features": compare_features(evidence, matched, features, seed=arguments.seed),
    }
    samples = {"validation, 5-fold": reliability(crossed, matched)}
    by_preset: dict[str, dict[str, dict[str, float]]] = {}
    for name in sorted({str(row["preset"]) for row in tested}):
        rows = [row for row in tested if row["preset"] == name]
        others, came_back = evidence_of(rows)
        predicted = confidence.predict(others)
        by_preset[name] = scores_by_dataset(rows, predicted, came_back, seed=arguments.seed)
        samples[f"test, {name}"] = reliability(predicted, came_back)
    valid = [name for name, scored in by_preset.items() if scored["all"]["ece"] <= VALID and name != preset]
    confidence = replace(confidence, presets=(preset, *valid))
    result |= {"test": by_preset, "valid_for": confidence.presets}
    write(arguments, confidence, result, samples)
    return result


def write(
    arguments: argparse.Namespace,
    confidence: Confidence,
    result: Mapping[str, object],
    samples: Mapping[str, Sequence[ReliabilityBin]],
) -> None:
    """Write the files that the command line asks for."""
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(arguments.out) as partial:
            confidence.write(partial)
    if arguments.plot:
        write_plot(arguments.plot, samples)
    if arguments.report:
        record(arguments.report, result)


def main() -> int:
    """Run the calibration."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--dataset", action="append", default=[], help="reconstruct and fit its validation split; repeatable")
    add(
        "--fit-run",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        help="finished reconstruct runs to fit, too",
    )
    add(
        "--test-run",
        type=Path,
        action="extend",
        nargs="+",
        default=[],
        help="finished reconstruct runs to test the fit on",
    )
    add("--n", type=int, default=300, help="crystals of each --dataset")
    add("--seed", type=int, default=0)
    add("--preset", default="default", help="of the search, for --dataset")
    add("--descriptor", default="ead", help="NAME or NAME:PRESET, for --dataset")
    add("--feature", action="append", choices=sorted(FEATURES), help="repeatable; replaces the default ones")
    add("--data-dir", type=Path)
    add("--device", default="cpu")
    add("--workspace", type=Path, default=Path("repdiff-workspace"))
    add("--table", type=Path, help="parquet; without it calibration/crystals.parquet in the workspace")
    add("--out", type=Path, help="where the fitted numbers go, JSON")
    add("--plot", type=Path, help="reliability diagram; its numbers go beside it as JSON")
    add("--report", type=Path, help="the printed JSON with versions and hardware")
    try:
        print(json.dumps(calibrate(parser.parse_args())))
    except UserError as error:
        print(f"calibrate_confidence: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
