"""Representations of several sets of crystals, projected onto a plane."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Int

from descriptors.normalization import Normalizer
from repdiff.crystals.checks import check_crystals
from repdiff.crystals.crystal import Crystal
from repdiff.crystals.niggli import niggli_reduced
from repdiff.errors import UserError
from repdiff.representations.encoding import encode_crystals
from repdiff.representations.layout import RepresentationSpec

Method = Literal["pca", "umap"]
MIN_TO_FIT = 3


@dataclass(frozen=True, kw_only=True)
class Projection:
    """Points in the plane for several sets of crystals.

    Attributes:
        points: Coordinates of each set in the plane; NaN for crystals that could not be encoded.
        explained: Share of the variance of the set that was fitted along each axis; empty if not known.
        n_left_out: Number of crystals of each set that could not be encoded.
    """

    points: list[Float[np.ndarray, "_ 2"]]
    explained: tuple[float, ...]
    n_left_out: list[int]


def project(
    sets: Sequence[Sequence[Crystal]], *, descriptor: str, method: Method, seed: int, progress: bool = False
) -> Projection:
    """Encode crystals of several sets and project them; the map is fitted to the first set.

    Cells are reduced to Niggli cells first; features are scaled to [0, 1] as for the diffusion.

    Args:
        sets: The crystals; the first must hold at least 3 that can be encoded.
        descriptor: NAME or NAME:PRESET.
        method: "pca", or "umap", which needs the package umap-learn.
        seed: Random seed of UMAP.
        progress: Show a bar on stderr.

    Raises:
        UserError: If the first set is too small, or umap-learn is not installed.
    """
    sound = [_sound(crystals) for crystals in sets]
    kept = [crystal for pairs in sound for _, crystal in pairs]
    if len(sound[0]) < MIN_TO_FIT:
        raise UserError(f"{len(sound[0])} crystals can be encoded, expected at least {MIN_TO_FIT} to project")
    elements = sorted({int(z) for crystal in kept for z in crystal.atomic_numbers})
    layout = RepresentationSpec.of(descriptor, elements, niggli=True, dataset="report", note=None)
    vectors = encode_crystals(kept, layout.representation(), device=torch.device("cpu"), progress=progress)
    n_first = len(sound[0])
    exact = torch.zeros(vectors.shape[1], dtype=torch.bool)
    scaled = Normalizer.fit(vectors[:n_first], exact=exact).normalize(vectors).double().numpy()
    flat, explained = (_pca if method == "pca" else _umap)(scaled, n_first, seed)
    points, start = [], 0
    for crystals, pairs in zip(sets, sound, strict=True):
        placed = np.full((len(crystals), 2), np.nan)
        placed[[place for place, _ in pairs]] = flat[start : start + len(pairs)]
        points.append(placed)
        start += len(pairs)
    return Projection(
        points=points,
        explained=explained,
        n_left_out=[len(crystals) - len(pairs) for crystals, pairs in zip(sets, sound, strict=True)],
    )


def choose(n: int, n_most: int, *, seed: int) -> Int[np.ndarray, " n_chosen"]:
    """Choose at most `n_most` of `n` places at random, in their order."""
    if n <= n_most:
        return np.arange(n)
    return np.sort(np.random.default_rng(seed).choice(n, size=n_most, replace=False))


def _sound(crystals: Sequence[Crystal]) -> list[tuple[int, Crystal]]:
    """Reduce the cells of those that can be encoded, with their places."""
    found = []
    reasons = check_crystals(list(crystals), None, progress=False)
    for place, (crystal, reason) in enumerate(zip(crystals, reasons, strict=True)):
        if reason is None:
            try:
                found.append((place, niggli_reduced(crystal)))
            except ValueError:
                continue
    return found


def _pca(
    features: Float[np.ndarray, "n n_features"], n_first: int, _seed: int
) -> tuple[Float[np.ndarray, "n 2"], tuple[float, ...]]:
    """Project onto the two directions of largest variance of the first rows; signs are fixed."""
    centre = features[:n_first].mean(0)
    _, widths, axes = np.linalg.svd(features[:n_first] - centre, full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2].sum(1, keepdims=True) + 1e-12)
    shares = (widths**2)[:2] / max(float((widths**2).sum()), 1e-300)
    return (features - centre) @ axes.T, tuple(shares.tolist())


def _umap(
    features: Float[np.ndarray, "n n_features"], n_first: int, seed: int
) -> tuple[Float[np.ndarray, "n 2"], tuple[float, ...]]:
    try:
        import umap  # ty: ignore
    except ImportError as error:
        raise UserError(
            "`embedding` umap needs the package umap-learn, which is not installed: "
            "pip install umap-learn, or take `embedding` pca"
        ) from error
    mapper = umap.UMAP(n_components=2, random_state=seed, n_jobs=1).fit(features[:n_first])
    return np.asarray(mapper.transform(features), dtype=np.float64), ()
