"""Settings of what samples are drawn towards, and of the command that walks given crystals towards a goal."""

from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import model_validator

from repdiff.settings.base import Options, Settings, seed_setting, setting
from repdiff.settings.workers import WorkerSettings


class SteeringSettings(Options):
    """Goals of samples by heads, beside conditions that a model was taught."""

    steer: dict[str, Any] = setting(
        {},
        "Goals of properties that heads predict, such as gap=1.5, gap=1.5±0.1, gap=max or heat=min: samples are drawn "
        "towards them without training the model anew; may be repeated",
        group="conditions",
    )
    head: tuple[Path, ...] = setting(
        (),
        "With --steer: heads from `repdiff head fit`, separated by commas; default: for each property the newest "
        "head in the workspace",
        role="input",
        group="conditions",
    )
    steer_strength: float = setting(
        1.0,
        "With --steer: factor of the log-likelihood of the goals; 1 is Bayes' rule for a value, for max or min samples "
        "that vary as the labels do move by about one standard deviation",
        gt=0,
        group="conditions",
    )
    caution: float = setting(
        1.0,
        "With --steer: how much less likely samples are that a head knows little of, for each typical spread above the "
        "typical one; 0 goes anywhere",
        ge=0,
        group="conditions",
    )
    candidates: int = setting(
        16,
        "With --steer: protostructures drawn for each sample, one of which is chosen by the goals",
        ge=1,
        group="conditions",
    )

    @model_validator(mode="after")
    def _steers_at_all(self) -> "SteeringSettings":
        if not self.steer:
            for name in SteeringSettings.model_fields:
                if getattr(self, name) != SteeringSettings.model_fields[name].default:
                    raise ValueError(f"`{name}` is given, expected it with `steer` only, such as gap=1.5")
        return self


class OptimizeSettings(WorkerSettings, Settings):
    """Settings of `repdiff optimize`."""

    verb: ClassVar[str] = "optimize"
    completed_by: ClassVar[Literal["training", "sampling"] | None] = "sampling"
    property: str | None = setting(None, "Property that a head predicts (required)")
    goal: str | float | None = setting(
        None, "Goal of the property: a value such as 1.5 or 1.5±0.1, max or min (required)"
    )
    start: str | None = setting(
        None, "Crystals to start from: a data set, NAME:SPLIT, a run or a path (required)"
    )
    head: Path | None = setting(
        None,
        "Head from `repdiff head fit`; default: the newest one of the property in the workspace",
        role="input",
    )
    model: Path | None = setting(None, "Trained model; default: the newest in the workspace", role="input")
    backend: str | None = setting(
        None,
        "Backend whose newest model is used; default: the newest model of any backend",
        role="input",
        group="more",
    )
    keep: Literal["protostructure", "composition", "nothing"] = setting(
        "nothing", "What all crystals on the way keep of the one they start from exactly"
    )
    n: int = setting(1, "Number of crystals to end with, for each start", ge=1)
    n_steps: int = setting(5, "Number of rounds of variation and choice", ge=1, le=1000)
    n_variations: int = setting(
        20,
        "Variations of each start in a round, shared by the best crystals so far",
        ge=1,
        group="more",
    )
    n_built: int = setting(
        4,
        "Variations of each start that are built in a round: those whose vectors promise most",
        ge=1,
        group="more",
    )
    n_best: int = setting(
        3, "Crystals of each start that a round begins with: the best so far", ge=1, group="more"
    )
    strength: float = setting(
        0.6,
        "Share of the noise process of the first round; it falls evenly to a third of it in the last",
        gt=0,
        le=1,
        group="more",
    )
    steer_strength: float = setting(
        1.0, "Factor of the log-likelihood of the goal in drawing variations", gt=0, group="more"
    )
    caution: float = setting(
        1.0,
        "Spreads of the prediction by which a crystal counts as worse, and the penalty of `repdiff generate --caution`",
        ge=0,
        group="more",
    )
    candidates: int = setting(
        16, "Protostructures drawn for each that is drawn anew, one of which is chosen", ge=1, group="more"
    )
    limit: int | None = setting(
        None, "Start from only this many of the crystals, chosen at random", ge=1, group="more"
    )
    preset: Literal["default", "fast", "thorough", "paper"] = setting("fast", "Search effort", group="more")
    data_dir: Path | None = setting(
        None, "Folder with the benchmark files; default: `data` in the workspace", role="input", group="more"
    )
    seed: int = seed_setting("Seed of the variations, of the search, and of the choice of --limit crystals")
    steps: int | None = setting(
        None,
        "Number of denoising steps of a new sample, of which the share of the strength is taken; default: chosen for "
        "the sampler",
        ge=1,
        group="more",
    )
    device: str = setting("auto", "Device: auto, cpu, cuda or cuda:N", role="speed", group="more")
    n_workers: int | None = setting(
        None,
        "Number of processes that invert vectors; default: one per core, on a GPU no more than fit into its memory",
        ge=1,
        role="speed",
        group="more",
    )
