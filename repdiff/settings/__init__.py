"""The settings of every verb, each written once: a YAML key, a command-line option and a line of help."""

from repdiff.settings.base import Settings
from repdiff.settings.data import DegeneracySettings, EncodeSettings
from repdiff.settings.energies import HullSettings, RelaxSettings
from repdiff.settings.evaluation import CompareSettings, EvaluateSettings, ReportSettings
from repdiff.settings.exporting import ExportSettings
from repdiff.settings.phases import PhasesSettings
from repdiff.settings.property_head import HeadSettings
from repdiff.settings.ranking import RankSettings
from repdiff.settings.sampling import GenerateSettings, LatentsSettings, ReconstructSettings
from repdiff.settings.steering import OptimizeSettings
from repdiff.settings.training import FinetuneSettings, TrainSettings
from repdiff.settings.variation import SimilarSettings, VarySettings

__all__ = [
    "SECTIONS",
    "CompareSettings",
    "DegeneracySettings",
    "EncodeSettings",
    "EvaluateSettings",
    "ExportSettings",
    "FinetuneSettings",
    "GenerateSettings",
    "HeadSettings",
    "HullSettings",
    "LatentsSettings",
    "OptimizeSettings",
    "PhasesSettings",
    "RankSettings",
    "ReconstructSettings",
    "RelaxSettings",
    "ReportSettings",
    "Settings",
    "SimilarSettings",
    "TrainSettings",
    "VarySettings",
]

SECTIONS: dict[str, type[Settings]] = {
    model.verb: model
    for model in (
        EncodeSettings,
        TrainSettings,
        FinetuneSettings,
        RankSettings,
        HeadSettings,
        GenerateSettings,
        VarySettings,
        OptimizeSettings,
        LatentsSettings,
        ReconstructSettings,
        SimilarSettings,
        RelaxSettings,
        HullSettings,
        PhasesSettings,
        EvaluateSettings,
        ExportSettings,
        DegeneracySettings,
        CompareSettings,
        ReportSettings,
    )
}
"""The settings of each verb, by the verb; also the sections of a YAML file."""
