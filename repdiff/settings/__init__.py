"""The settings of every verb, each written once: a YAML key, a command-line option and a line of help."""

from repdiff.settings.base import Settings
from repdiff.settings.data import DegeneracySettings, EncodeSettings
from repdiff.settings.energies import HullSettings, RelaxSettings
from repdiff.settings.judging import CompareSettings, EvaluateSettings, ReportSettings
from repdiff.settings.learning import FinetuneSettings, TrainSettings
from repdiff.settings.making import GenerateSettings, LatentsSettings, ReconstructSettings

__all__ = [
    "SECTIONS",
    "CompareSettings",
    "DegeneracySettings",
    "EncodeSettings",
    "EvaluateSettings",
    "FinetuneSettings",
    "GenerateSettings",
    "HullSettings",
    "LatentsSettings",
    "ReconstructSettings",
    "RelaxSettings",
    "ReportSettings",
    "Settings",
    "TrainSettings",
]

SECTIONS: dict[str, type[Settings]] = {
    model.verb: model
    for model in (
        EncodeSettings,
        TrainSettings,
        FinetuneSettings,
        GenerateSettings,
        LatentsSettings,
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
