"""The settings of every verb, each written once: a YAML key, a command-line option and a line of help."""

from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from repdiff.settings_base import Settings, setting


class EncodeSettings(Settings):
    """Settings of `repdiff encode`."""

    verb: ClassVar[str] = "encode"
    dataset: str = setting(
        ...,
        "Data set: prototypes (built in), a benchmark (perov_5, carbon_24, mp_20), or a path to CSV, CIF, "
        "POSCAR, extxyz, ase.db, pymatgen JSON or parquet",
        positional=True,
    )
    data_dir: Path | None = setting(
        None,
        "Folder of the benchmark files; without it `data` in the workspace, which `repdiff download` fills",
        role="input",
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first")
    max_atoms: int | None = setting(None, "Leave out crystals of more atoms than this", ge=1)
    limit: int | None = setting(None, "Take this many crystals only, chosen at random", ge=1)
    seed: int = setting(0, "Seed of the choice of --limit and of the split where the data set has none", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")


class TrainSettings(Settings):
    """Settings of `repdiff train`."""

    verb: ClassVar[str] = "train"
    encoded: Path | None = setting(
        None, "Encoded data set; without it the newest of the workspace", role="input"
    )
    backend: str = setting("structrepdiff", "System to train; `repdiff backends` lists them")
    backend_options: dict[str, Any] = setting(
        {}, "Settings of a backend other than structrepdiff, where they differ from its defaults"
    )
    denoiser: str = setting("mlp", "Network: mlp, or unet1d as in the paper")
    denoiser_options: dict[str, Any] = setting(
        {}, "Settings of the network where they differ from its defaults, such as width=512 or dim=64"
    )
    compositions: Literal["first", "joint"] = setting(
        "first",
        "Formulas: drawn first by a model of their own and given to the diffusion, or diffused with the rest",
    )
    timesteps: int = setting(1000, "Steps of the noise process", ge=2)
    schedule: Literal["cosine", "linear"] = setting("cosine", "How the noise grows with the steps")
    objective: Literal["pred_noise", "pred_x0", "pred_v"] = setting(
        "pred_v", "What the network predicts: the noise, the clean vector, or v"
    )
    self_condition: bool = setting(False, "Show the network its earlier estimate of the clean vector")
    weighting: Literal["noise", "min_snr", "uniform"] = setting(
        "noise", "Weight of each time in the loss: by the error of the noise, the same capped, or one"
    )
    min_snr_gamma: float = setting(5.0, "Cap of the weighting min_snr", gt=0)
    time_sampling: Literal["stratified", "uniform"] = setting(
        "stratified", "Times of a batch: spread evenly from a random start, or independent"
    )
    block_weights: dict[str, float] = setting(
        {}, "Weight in the loss of each feature of a block, such as composition=4; 1 elsewhere"
    )
    max_epochs: int | None = setting(1000, "Passes over the training set at most", ge=1, role="budget")
    max_steps: int | None = setting(None, "Optimiser steps at most", ge=1, role="budget")
    max_minutes: float | None = setting(
        None, "Minutes of training at most, resumed ones included", gt=0, role="budget"
    )
    batch_size: int = setting(256, "Vectors in a step, all processes together", ge=1)
    optimizer: Literal["adam", "adamw"] = setting("adamw", "Adam, or with decoupled decay (AdamW)")
    learning_rate: float = setting(1e-3, "Highest learning rate", gt=0)
    adam_betas: tuple[float, float] = setting((0.9, 0.99), "Decay of Adam's two moments")
    weight_decay: float = setting(0.0, "Weight decay, adamw only", ge=0)
    lr_schedule: Literal["constant", "cosine"] = setting(
        "cosine", "Learning rate after the warm-up; cosine falls with the share of the budget used"
    )
    warmup_steps: int = setting(200, "Steps of linear warm-up", ge=0)
    final_lr_fraction: float = setting(0.01, "Cosine only: last learning rate over the highest", ge=0, le=1)
    clip_norm: float = setting(1.0, "Largest norm of the gradient", gt=0)
    ema_decay: float = setting(0.999, "Decay a step of the averaged weights", ge=0, lt=1)
    ema_every: int = setting(10, "Steps between updates of the averaged weights", ge=1)
    precision: Literal["auto", "fp32", "bf16"] = setting(
        "auto", "Number format inside the network; auto takes bf16 where the processor computes in it"
    )
    log_every: int = setting(50, "Steps between records of the metrics", ge=1, role="speed")
    validate_every: int = setting(500, "Steps between validations", ge=1, role="speed")
    checkpoint_every: int | None = setting(None, "Steps between checkpoints", ge=1, role="speed")
    checkpoint_minutes: float = setting(5.0, "Minutes between checkpoints", gt=0, role="speed")
    tensorboard: bool = setting(False, "Write TensorBoard files as well", role="speed")
    seed: int = setting(0, "Seed of weights, data order, noise and dropout", ge=0)
    device: Literal["auto", "cpu"] = setting(
        "auto", "Where to compute: auto takes GPUs if there are any", role="speed"
    )
    resume: bool = setting(True, "Go on from the last checkpoint of an interrupted run", role="speed")

    @model_validator(mode="after")
    def _has_a_budget(self) -> "TrainSettings":
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("no budget, expected at least one of --max-epochs, --max-steps, --max-minutes")
        return self


class FinetuneSettings(Settings):
    """Settings of `repdiff finetune`."""

    verb: ClassVar[str] = "finetune"
    property: tuple[str, ...] = setting(
        (),
        "Properties to learn, separated by commas: names of numeric labels, chemical_system, space_group",
    )
    from_run: Path | None = setting(
        None,
        "Trained model to begin with; without it the newest output of train",
        role="input",
        flag="from",
    )
    encoded: Path | None = setting(
        None, "Encoded data set with labels; without it the newest of the workspace", role="input"
    )
    weights: Literal["all", "adapters"] = setting(
        "all", "What is trained: the whole network with its adapters, or the adapters alone"
    )
    condition_dropout: float = setting(
        0.2, "Share of the examples that are shown without their labels, for guidance", ge=0, lt=1
    )
    max_epochs: int | None = setting(200, "Passes over the training set at most", ge=1, role="budget")
    max_steps: int | None = setting(None, "Optimiser steps at most", ge=1, role="budget")
    max_minutes: float | None = setting(
        None, "Minutes of training at most, resumed ones included", gt=0, role="budget"
    )
    batch_size: int = setting(64, "Crystals in a step, all processes together", ge=1)
    learning_rate: float = setting(1e-3, "Highest learning rate", gt=0)
    warmup_steps: int = setting(200, "Steps of linear warm-up", ge=0)
    clip_norm: float = setting(1.0, "Largest norm of the gradient", gt=0)
    ema_decay: float = setting(0.999, "Decay a step of the averaged weights", ge=0, lt=1)
    log_every: int = setting(50, "Steps between records of the metrics", ge=1, role="speed")
    validate_every: int = setting(500, "Steps between validations", ge=1, role="speed")
    checkpoint_minutes: float = setting(5.0, "Minutes between checkpoints", gt=0, role="speed")
    seed: int = setting(0, "Seed of weights, data order and noise", ge=0)
    device: Literal["auto", "cpu"] = setting(
        "auto", "Where to compute: auto takes GPUs if there are any", role="speed"
    )
    resume: bool = setting(True, "Go on from the last checkpoint of an interrupted run", role="speed")

    @model_validator(mode="after")
    def _has_a_budget(self) -> "FinetuneSettings":
        if self.max_epochs is None and self.max_steps is None and self.max_minutes is None:
            raise ValueError("no budget, expected at least one of --max-epochs, --max-steps, --max-minutes")
        return self


class GenerateSettings(Settings):
    """Settings of `repdiff generate`."""

    verb: ClassVar[str] = "generate"
    model: Path | None = setting(None, "Trained model; without it the newest of the workspace", role="input")
    n: int | None = setting(
        None,
        "Samples to generate; without it 1000, or one for each of several compositions",
        ge=1,
        role="extent",
    )
    composition: str | None = setting(
        None, "Make all samples of this formula, which counts the atoms of the cell, such as Li2Fe2O4"
    )
    compositions: Path | None = setting(
        None, "File with one such formula a line, to be taken in turn", role="input"
    )
    compositions_from: str | None = setting(
        None, "Take the formulas of a data set in turn, such as mp_20:test"
    )
    data_dir: Path | None = setting(
        None,
        "With --compositions-from: folder of the benchmark files; without it `data` in the workspace",
        role="input",
    )
    condition: dict[str, Any] = setting(
        {},
        "Properties that samples should have, of a model from finetune: band_gap=1.5 or chemical_system=Li-O; "
        "may be given several times",
    )
    guidance: float | None = setting(
        None, "With --condition: 0 ignores it, 1 is as trained, which is the default, more exaggerates"
    )
    seed: int = setting(0, "Seed of the samples", ge=0)
    sampler: Literal["ddpm", "ddim", "dpm"] = setting(
        "ddpm", "ddpm: ancestral, all steps; ddim and dpm (DPM-Solver++): fewer steps"
    )
    steps: int | None = setting(None, "Denoising steps; without it what suits the sampler", ge=1)
    backend_options: dict[str, Any] = setting(
        {},
        "Settings of the sampling of a backend other than structrepdiff, where they differ from its defaults",
    )
    eta: float = setting(0.0, "ddim only: share of the ancestral noise, 0 (none) to 1 (as ddpm)", ge=0, le=1)
    composition_temperature: float = setting(
        1.0, "Of formulas drawn first: below 1 likelier ones, less diverse", gt=0, le=2
    )
    shard_size: int = setting(1000, "Representations made at once and written to one file", ge=1)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")


class ReconstructSettings(Settings):
    """Settings of `repdiff reconstruct`."""

    verb: ClassVar[str] = "reconstruct"
    generated: Path | None = setting(
        None, "Generated representations; without them the newest of the workspace", role="input"
    )
    dataset: str | None = setting(
        None, "Invert true representations of this data set instead, as a benchmark"
    )
    split: Literal["train", "val", "test", "all"] = setting("test", "With --dataset: which part of it")
    n: int | None = setting(None, "Crystals to reconstruct; without it all", ge=1, role="extent")
    preset: Literal["default", "fast", "thorough", "paper"] = setting(
        "default", "How hard to search; paper: 6 x 7 x 300 steps"
    )
    max_seconds: float | None = setting(
        None, "Seconds for a crystal at most, 0 for no limit; without it as the preset has it", ge=0
    )
    max_evaluations: int | None = setting(
        None, "Evaluations for a crystal at most, 0 for no limit; without it as the preset has it", ge=0
    )
    repulsion: float | None = setting(
        None,
        "Physics against fidelity: weight, per Å², of atoms closer than the vector's shortest distance; "
        "without it as the preset has it",
        ge=0,
    )
    descriptor: str = setting("ead", "With --dataset: descriptor, NAME or NAME:PRESET")
    niggli: bool = setting(True, "With --dataset: reduce every cell to its Niggli cell first")
    data_dir: Path | None = setting(
        None,
        "With --dataset: folder of the benchmark files; without it `data` in the workspace",
        role="input",
    )
    seed: int = setting(0, "Seed of the random starts", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(None, "Processes; without it one per core", ge=1, role="speed")

    @model_validator(mode="after")
    def _take_one_source(self) -> "ReconstructSettings":
        if self.generated is not None and self.dataset is not None:
            raise ValueError(
                f"both generated ({self.generated}) and dataset ({self.dataset}), expected one of them"
            )
        return self


class RelaxSettings(Settings):
    """Settings of `repdiff relax`."""

    verb: ClassVar[str] = "relax"
    structures: str | None = setting(
        None, "Crystals to relax, as for evaluate; without them the newest of the workspace", positional=True
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    fmax: float = setting(0.05, "Largest force of a relaxed crystal, those on the cell included, eV/Å", gt=0)
    max_steps: int = setting(500, "Steps for a crystal at most", ge=0)
    n: int | None = setting(
        None, "Relax this many only, chosen at random; without it all", ge=1, role="extent"
    )
    seed: int = setting(0, "Seed of the choice of --n", ge=0)
    atoms_at_once: int | None = setting(
        None, "Atoms in a batch; without it as it suits the device", ge=1, role="speed"
    )
    part_size: int | None = setting(
        None, "Crystals that are written together; without it as it suits the device", ge=1, role="speed"
    )
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(None, "Processes on a CPU; without it one per core", ge=1, role="speed")


class HullSettings(Settings):
    """Settings of `repdiff hull build`."""

    verb: ClassVar[str] = "hull"
    action: Literal["build"] = setting(
        "build",
        "What to do; build: compute the energies of a data set that a hull is made of",
        positional=True,
    )
    dataset: str = setting(..., "Data set of known crystals, as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )
    split: Literal["train", "val", "test", "all"] = setting("all", "Which part of the data set")
    force_field: str = setting("chgnet", "Force field: chgnet or sevennet")
    relax: bool = setting(False, "Relax the crystals first, instead of taking them as they are")
    fmax: float = setting(0.05, "With --relax: largest force of a relaxed crystal, eV/Å", gt=0)
    max_steps: int = setting(500, "With --relax: steps for a crystal at most", ge=0)
    n: int | None = setting(None, "Take this many crystals only, chosen at random", ge=1, role="extent")
    seed: int = setting(0, "Seed of the choice of --n", ge=0)
    device: str = setting("auto", "Where to compute: auto, cpu, cuda or cuda:N", role="speed")
    n_workers: int | None = setting(None, "Processes on a CPU; without it one per core", ge=1, role="speed")


class EvaluateSettings(Settings):
    """Settings of `repdiff evaluate`."""

    verb: ClassVar[str] = "evaluate"
    structures: str | None = setting(
        None,
        "Crystals to judge: a reconstruction, a data set or NAME:SPLIT, or a path to CIF, zip, extxyz, CSV, "
        "JSON or parquet; without them the newest of the workspace",
        positional=True,
    )
    reference: str | None = setting(None, "Known crystals to compare with: a data set, NAME:SPLIT, or a path")
    training: str | None = setting(
        None,
        "Crystals the model has seen, for novelty; without it the train split of the reference's data set",
    )
    relaxed: Path | None = setting(
        None, "Output of `repdiff relax` for these crystals, for energies and stability", role="input"
    )
    hull: Path | None = setting(
        None, "Output of `repdiff hull build`; without it the table that is shipped for MP-20", role="input"
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )
    only: tuple[str, ...] | None = setting(None, "Families of metrics, separated by commas; without it all")
    n: int | None = setting(None, "Judge this many crystals only, chosen at random", ge=1)
    floor: bool = setting(
        False, "Also what real crystals score: training against reference, and two halves of the reference"
    )
    floor_size: int | None = setting(
        None, "Training crystals for the floor, chosen at random; without it as many as are judged", ge=1
    )
    benchmark: Literal["perov_5", "carbon_24", "mp_20"] | None = setting(
        None, "Whose published thresholds of coverage hold; without it the reference's, or mp_20"
    )
    cache: Path | None = setting(
        None, "Folder for fingerprints, kept for next time; without it `cache` in the workspace", role="speed"
    )
    seed: int = setting(0, "Seed of random subsets and of the intervals", ge=0)
    n_workers: int | None = setting(None, "Processes; without it one per core", ge=1, role="speed")


class DegeneracySettings(Settings):
    """Settings of `repdiff degeneracy`."""

    verb: ClassVar[str] = "degeneracy"
    dataset: str = setting(..., "Data set, as for encode", positional=True)
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )
    descriptor: str = setting("ead", "Descriptor, NAME or NAME:PRESET, such as ead, ead:paper or soap")
    niggli: bool = setting(True, "Reduce every cell to its Niggli cell first")
    split: Literal["train", "val", "test", "all"] = setting("all", "Which part of the data set")
    n: int | None = setting(None, "Take this many crystals only, chosen at random; without it all", ge=1)
    tolerance: float = setting(
        0.01,
        "Pairs: largest difference of two descriptors, relative L1 as the loss of the reconstruction",
        gt=0,
    )
    cell_tolerance: float = setting(
        0.05, "Pairs: largest difference of cell lengths, relative, and of angles, in radians", gt=0
    )
    same_rms: float = setting(
        0.05, "Pairs: largest rms of duplicates, over the cube root of the volume per atom", ge=0
    )
    max_comparisons: int | None = setting(
        50000, "Pairs: crystals compared at most, about 20 ms each; none for no limit", ge=1
    )
    probe: int = setting(20, "Probes: random crystals whose response to displacements is analysed", ge=0)
    rattle: float = setting(
        0.1, "Probes: random displacement that breaks the symmetry first, Å along each axis", ge=0
    )
    displacement: float = setting(0.1, "Probes: displacement that the vector should tell, Å (rms)", gt=0)
    probe_tolerance: float = setting(
        2e-4, "Probes: relative change of the vector that counts as none; a search stops there", gt=0
    )
    seed: int = setting(0, "Seed of the choice of crystals and of the rattling", ge=0)
    device: str = setting("auto", "Where to encode: auto, cpu, cuda or cuda:N", role="speed")


class ReportSettings(Settings):
    """Settings of `repdiff report`."""

    verb: ClassVar[str] = "report"
    runs: tuple[Path, ...] = setting(
        (),
        "Outputs of `repdiff evaluate`, by path or name, shown side by side; without them the newest of the "
        "workspace",
        positional=True,
        role="input",
    )
    output: Path | None = setting(
        None,
        "The page to write; without it `report/RUN.html` in the workspace",
        role="input",
        short="o",
    )
    png: Path | None = setting(
        None, "Folder for all plots as PNG too, with their numbers; needs Chrome or Chromium", role="input"
    )
    gallery: int = setting(60, "Structures of each run in the gallery, chosen at random", ge=0)
    training: str | None = setting(
        None, "Training crystals to compare with: a data set, NAME:SPLIT, or a path; without it the runs' own"
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it that of the runs", role="input"
    )
    embedding: Literal["pca", "umap"] = setting(
        "pca", "How representations are projected; umap needs the package umap-learn"
    )
    descriptor: str = setting("ead", "Descriptor of the projection, NAME or NAME:PRESET")
    samples: int = setting(2000, "Crystals of each set in the projection at most", ge=3)
    seed: int = setting(0, "Seed of the choice of crystals, and of umap", ge=0)


class CompareSettings(Settings):
    """Settings of `repdiff compare`."""

    verb: ClassVar[str] = "compare"
    what: tuple[Path, ...] = setting(
        (),
        "A YAML file that describes a comparison, or two or more outputs of `repdiff evaluate`, by path or name",
        positional=True,
        role="input",
    )
    systems: dict[str, dict[str, Any] | None] = setting(
        {},
        "By name, what each system has of its own in the sections of the verbs: `train: {backend: gemsdiff}`",
        role="budget",
        only_in_file=True,
    )
    seeds: tuple[Annotated[int, Field(ge=0)], ...] = setting(
        (0, 1, 2), "Seeds, each of which is a run of every system", role="budget"
    )
    floor: bool = setting(
        True, "Judge as many real crystals of the training set too, once for each seed", role="budget"
    )
    at_once: int = setting(
        1, "Cells (a system with a seed) that run at the same time, each on its share of the cores", ge=1
    )
    data_dir: Path | None = setting(
        None, "Folder of the benchmark files; without it `data` in the workspace", role="input"
    )

    @model_validator(mode="after")
    def _has_seeds(self) -> "CompareSettings":
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds are {list(self.seeds)}, expected one or more, each once")
        return self


SECTIONS: dict[str, type[Settings]] = {
    model.verb: model
    for model in (
        EncodeSettings,
        TrainSettings,
        FinetuneSettings,
        GenerateSettings,
        ReconstructSettings,
        RelaxSettings,
        HullSettings,
        EvaluateSettings,
        DegeneracySettings,
        CompareSettings,
        ReportSettings,
    )
}
"""The settings of each verb, by the verb; also the sections of a YAML file."""
