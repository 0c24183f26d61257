"""Vectors that pretrained networks give to crystals, for distances between sets of them."""

from repdiff.metrics.features import alignn, chgnet
from repdiff.metrics.features.base import EXTRACTORS, FeatureExtractor, Features, load_extractor
from repdiff.metrics.features.extract import extract_features

__all__ = [
    "EXTRACTORS",
    "FeatureExtractor",
    "Features",
    "alignn",
    "chgnet",
    "extract_features",
    "load_extractor",
]
