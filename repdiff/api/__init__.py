"""What `import repdiff as rd` offers: data sets, encoding, models, and what becomes of crystals."""

from repdiff.api.data import encode, load_dataset, read, write
from repdiff.api.exporting import export
from repdiff.api.finetuning import finetune
from repdiff.api.loading import load_model
from repdiff.api.model import Model
from repdiff.api.optimizing import optimize
from repdiff.api.phase_search import phases
from repdiff.api.property_heads import fit_head, load_head
from repdiff.api.ranking import load_ranker, train_ranker
from repdiff.api.results import evaluate, reconstruct, relax
from repdiff.api.similarity import similar
from repdiff.api.training import train
from repdiff.api.viewing import view
from repdiff.backends.property_head import Head
from repdiff.backends.ranking import Ranker
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.dataset import Dataset
from repdiff.energies.relaxed import RelaxedSet
from repdiff.execution.executors import use_executor
from repdiff.execution.memory import use_memory
from repdiff.metrics.evaluation import Evaluation
from repdiff.phase_search.result import Phases
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.similar_crystals import SimilarCrystals
from repdiff.runs.shipped_models import ModelCard, shipped_models

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
