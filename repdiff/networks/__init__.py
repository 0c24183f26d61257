"""Denoising networks; importing the package registers them."""

from repdiff.networks import mlp, unet1d
from repdiff.networks.base import DENOISERS, AnyDenoiserSettings, Denoiser, DenoiserSettings, make_denoiser

__all__ = [
    "DENOISERS",
    "AnyDenoiserSettings",
    "Denoiser",
    "DenoiserSettings",
    "make_denoiser",
    "mlp",
    "unet1d",
]
