"""What `import repdiff as rd` offers: data sets, encoding, models, and what becomes of crystals."""

from repdiff.api.data import encode, load_dataset, read, write
from repdiff.api.finetuning import finetune
from repdiff.api.model import Model, load_model
from repdiff.api.phase_search import phases
from repdiff.api.ranking import load_ranker, train_ranker
from repdiff.api.results import evaluate, reconstruct, relax
from repdiff.api.similarity import similar
from repdiff.api.training import train
from repdiff.backends.ranking import Ranker
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.crystal_set import CrystalSet
from repdiff.datasets.dataset import Dataset
from repdiff.energies.relaxed import RelaxedSet
from repdiff.metrics.evaluation import Evaluation
from repdiff.phase_search.result import Phases
from repdiff.representations.batch import RepresentationBatch
from repdiff.representations.encoded_set import EncodedSet
from repdiff.representations.similar_crystals import SimilarCrystals

__all__ = [
    "Crystal",
    "CrystalSet",
    "Dataset",
    "EncodedSet",
    "Evaluation",
    "Model",
    "Phases",
    "Ranker",
    "RelaxedSet",
    "RepresentationBatch",
    "SimilarCrystals",
    "encode",
    "evaluate",
    "finetune",
    "load_dataset",
    "load_model",
    "load_ranker",
    "phases",
    "read",
    "reconstruct",
    "relax",
    "similar",
    "train",
    "train_ranker",
    "write",
]
