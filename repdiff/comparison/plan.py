"""From one YAML file to the runs that it stands for: every system with every seed, down to its evaluation."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from repdiff.backends import BACKENDS
from repdiff.backends.find_model import backend_of, find_model
from repdiff.datasets.sources import split_name
from repdiff.errors import UserError, unknown
from repdiff.hardware import n_cores
from repdiff.metrics.evaluation import choose_metrics
from repdiff.runs.atomic_files import replacing
from repdiff.runs.workspace import Workspace, plain_name
from repdiff.settings import SECTIONS, CompareSettings, EvaluateSettings, GenerateSettings, TrainSettings
from repdiff.settings.backends import backend_options
from repdiff.settings.base import Settings
from repdiff.settings.load import load_common, load_settings, read_document
from repdiff.settings.memory import parse_memory
from repdiff.settings.paths import home_expanded
from repdiff.settings.sampling import DEFAULT_N
from repdiff.settings.workers import WorkerSettings

BASELINE = "real crystals"
VERBS = ("encode", "train", "generate", "reconstruct", "relax", "evaluate")
SOURCE = {
    "train": "encoded",
    "generate": "model",
    "reconstruct": "generated",
    "relax": "structures",
    "evaluate": "structures",
}
"""The setting of a verb that names what it works on. A system that sets it has no need of the verbs before."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One run of a verb: the name of its folder, and its settings."""

    name: str
    settings: Settings

    @property
    def verb(self) -> str:
        """What is run."""
        return self.settings.verb

    def folder(self, workspace: Workspace) -> Path:
        """Return where its output is or will be."""
        return workspace.root / self.verb / self.name


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One system with one seed: the steps that lead to its evaluation, which is the last."""

    system: str
    seed: int
    name: str
    steps: tuple[Step, ...]

    def write(self, folder: Path) -> Path:
        """Write the settings of all steps as one YAML file, with which each can be run by hand."""
        path = folder / f"{self.name}.yaml"
        sections = {step.verb: step.settings.model_dump(mode="json") for step in self.steps}
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            partial.write_text(
                yaml.safe_dump(sections, sort_keys=False, allow_unicode=True), encoding="utf-8"
            )
        return path


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All that a comparison runs: what the cells share comes first."""

    shared: tuple[Trial, ...]
    cells: tuple[Trial, ...]


@dataclass(frozen=True, kw_only=True)
class Planner:
    """Turns the sections of a file into steps.

    Attributes:
        file: Its sections are what the systems have in common.
        name: Name of the comparison; the folders of its runs begin with it.
        settings: Systems, seeds and how many cells run at once.
        workspace: Where the runs will be.
    """

    file: Path
    name: str
    settings: CompareSettings
    workspace: Workspace

    def plan(self) -> Plan:
        """Lay out all cells, those of the baseline last; every setting is checked here, before hours are spent.

        Raises:
            UserError: If there is no system, or one of their settings is wrong.
        """
        if not self.settings.systems:
            raise UserError(
                f"{self.file}: no system to compare, expected in section compare such as "
                "`systems: {structrepdiff: {}, gemsdiff: {train: {backend: gemsdiff}}}`"
            )
        shared: dict[str, Trial] = {}
        cells = [
            self._cell(system, seed, shared)
            for seed in self.settings.seeds
            for system in self.settings.systems
        ]
        if self.settings.baseline:
            cells += [self._baseline_cell(seed) for seed in self.settings.seeds]
        return Plan(shared=tuple(shared.values()), cells=tuple(cells))

    def _cell(self, system: str, seed: int, shared: dict[str, Trial]) -> Trial:
        label = plain_name(f"{self.name}-{system}-seed{seed}")
        steps: list[Step] = []
        source = self._encoded(system, shared)
        for verb in self._verbs(system):
            given: dict[str, Any] = {} if verb == "evaluate" else {"seed": seed}
            if source is not None:
                given[SOURCE[verb]] = str(source)
            if verb == "evaluate" and steps[-1:] and steps[-1].verb == "relax":
                given["relaxed"] = str(steps[-1].folder(self.workspace))
            steps.append(self._step(system, verb, label, given))
            if verb != "relax":  # crystals are judged as they were made
                source = steps[-1].folder(self.workspace)
        return Trial(system=system, seed=seed, name=label, steps=tuple(steps))

    def _baseline_cell(self, seed: int) -> Trial:
        """Judge as many training crystals as the systems make, drawn with the seed."""
        common = load_settings(EvaluateSettings, self.file)
        reference, split = split_name(common.reference or "")
        if split not in ("val", "test"):
            raise UserError(
                f"{self.file}: the baseline needs a reference such as perov_5:test, found {common.reference}: set one "
                "in "
                "section evaluate, or `baseline: false` in section compare"
            )
        n = common.n or load_common(GenerateSettings, self.file).n or DEFAULT_N
        label = plain_name(f"{self.name}-{BASELINE}-seed{seed}")
        given = {"structures": f"{reference}:train", "n": n, "seed": seed}
        step = self._step(BASELINE, "evaluate", label, given)
        return Trial(system=BASELINE, seed=seed, name=label, steps=(step,))

    def _verbs(self, system: str) -> tuple[str, ...]:
        """Say what has to be run for a system, from training or what takes its place to the evaluation."""
        own = self._own(system)
        starts = [verb for verb in VERBS if verb != "train" and SOURCE.get(verb) in own.get(verb, {})]
        start = VERBS.index(starts[-1]) if starts else VERBS.index("train")
        leave_out = set() if "relax" in {*own, *read_document(self.file)} else {"relax"}
        if self._makes_crystals(system):
            leave_out.add("reconstruct")
        return tuple(verb for verb in VERBS[start:] if verb not in leave_out)

    def _makes_crystals(self, system: str) -> bool:
        """Tell whether what a system generates needs no reconstruction."""
        return BACKENDS[self._backend(system)].makes == "crystals"

    def _backend(self, system: str) -> str:
        """Return the backend of a system: that of the model it names, or the one it trains."""
        own = self._own(system)
        if (model := own.get("generate", {}).get("model")) is not None:
            return backend_of(find_model(home_expanded(str(model)), self.workspace))
        name = str(own.get("train", {}).get("backend") or load_common(TrainSettings, self.file).backend)
        try:
            backend_options(name)
        except UserError as error:
            raise UserError(f"{self.file}: system {system}: {error}") from error
        return name

    def _encoded(self, system: str, shared: dict[str, Trial]) -> Path | None:
        """Lay out the encoding of a system's data, once for all that have it in common."""
        if self._verbs(system)[0] != "train" or "encoded" in self._own(system).get("train", {}):
            return None
        if load_common(TrainSettings, self.file).encoded is not None:
            return None
        label = plain_name(f"{self.name}-{system}" if "encode" in self._own(system) else self.name)
        step = self._step(system, "encode", label, {})
        shared.setdefault(label, Trial(system="encode", seed=0, name=f"{label}-encode", steps=(step,)))
        return step.folder(self.workspace)

    def _own(self, system: str) -> Mapping[str, Mapping[str, Any]]:
        """Return the sections that a system has of its own."""
        where, own = f"{self.file}: system {system}", self.settings.systems[system] or {}
        if system == BASELINE:
            raise UserError(f"{where} has the name of the baseline, expected another name")
        for verb, section in own.items():
            if verb not in VERBS:
                raise UserError(f"{where}: {unknown('section', str(verb), list(VERBS))}")
            if not isinstance(section, Mapping):
                raise UserError(f"{where}: section {verb} is {section!r}, expected settings as `name: value`")
        return own

    def _memory_of_trial(self) -> str | None:
        """Share the memory between the trials that run at a time."""
        if self.settings.memory is None:
            return None
        return f"{parse_memory(self.settings.memory) // self.settings.at_once // 10**6}MB"

    def _step(self, system: str, verb: str, label: str, given: Mapping[str, Any]) -> Step:
        """Resolve the settings of one step: the file's section, what the system has of its own, what is given."""
        own = {} if system == BASELINE else self._own(system).get(verb, {})
        model = SECTIONS[verb]
        if verb == "evaluate" and "baseline" not in {**(read_document(self.file).get(verb) or {}), **own}:
            given = {"baseline": False, **given}  # the comparison has a baseline of its own
        try:
            backend = self._backend(system) if model.completed_by else None
            settings = load_settings(model, self.file, {**own, **given}, backend=backend)
            if isinstance(settings, EvaluateSettings):
                choose_metrics(settings.only)
        except UserError as error:
            raise UserError(f"{self.file}: system {system}, {verb}: {error}") from error
        defaults = {
            "n_workers": max(1, n_cores() // self.settings.at_once),
            "data_dir": self.settings.data_dir,
            **{name: getattr(self.settings, name) for name in WorkerSettings.model_fields},
            "memory": self._memory_of_trial(),
        }
        missing = {
            name: value
            for name, value in defaults.items()
            if name in model.model_fields and getattr(settings, name) is None
        }
        return Step(name=label, settings=settings.model_copy(update=missing))
