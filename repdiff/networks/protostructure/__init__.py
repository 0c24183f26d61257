"""Model of protostructures: which space groups, and which elements on which Wyckoff positions, crystals have."""

from repdiff.networks.protostructure.likely import likely_protostructures
from repdiff.networks.protostructure.model import ProtostructureModel, ProtostructureModelSettings
from repdiff.networks.protostructure.request import ProtostructureRequest
from repdiff.networks.protostructure.sampling import Draw, sample_protostructures
from repdiff.networks.protostructure.sequences import OrbitSequences, SequenceCoder

__all__ = [
    "Draw",
    "OrbitSequences",
    "ProtostructureModel",
    "ProtostructureModelSettings",
    "ProtostructureRequest",
    "SequenceCoder",
    "likely_protostructures",
    "sample_protostructures",
]
