#!/usr/bin/env python
"""Measure what samplers make of two modes whose exact score replaces the network, and the ends of schedules.

    python scripts/bench_exact_scores.py [--out benchmarks/exact_scores.json]

The modes have shares 0.3 and 0.7 and a width of 0.05 of the cell. What a sampler makes of them is bias of the sampler
alone. Nothing is trained: a few minutes of one core.
"""

import argparse
import math
import sys
from pathlib import Path

import torch

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.append(str(REPOSITORY / "tests" / "support"))

from exact_samplers import joint_samples, pair_samples, torus_samples  # noqa: E402 (beside the tests of the same)
from exact_targets import Found  # noqa: E402

from repdiff.diffusion.joint_process import JointProcess  # noqa: E402
from repdiff.diffusion.schedules import schedule_of  # noqa: E402
from repdiff.diffusion.symmetric_lattice import Limit  # noqa: E402
from repdiff.diffusion.torus import torus_noise  # noqa: E402
from repdiff.runs.provenance import record  # noqa: E402
from repdiff.settings.backends.dpcdvae import CdvaeSampling, CdvaeSettings  # noqa: E402
from repdiff.settings.backends.gemsdiff import TorusSettings  # noqa: E402
from repdiff.settings.backends.mattergen import JointSettings, MatterGenSampling  # noqa: E402

TORUS_RULES = ("posterior", "renoise", "code", "paper")
LATENT_RUNS = {  # mean, step, wrap, steps
    "kept, posterior, 200 steps": ("kept", "posterior", "last", 200),
    "kept, renoise, 200 steps": ("kept", "renoise", "last", 200),
    "kept, posterior, 1000 steps": ("kept", "posterior", "last", 1000),
    "kept, renoise, 1000 steps": ("kept", "renoise", "last", 1000),
    "scaled, posterior, 200 steps": ("scaled", "posterior", "never", 200),
    "scaled, renoise, 200 steps": ("scaled", "renoise", "never", 200),
    "scaled, unscaled, 200 steps": ("scaled", "unscaled", "never", 200),
    "scaled, renoise, wrapped, 200 steps": ("scaled", "renoise", "every", 200),
    "scaled, unscaled, wrapped, 200 steps": ("scaled", "unscaled", "every", 200),
    "scaled, unscaled, wrapped, 1000 steps": ("scaled", "unscaled", "every", 1000),
}
CORRECTORS = {
    "r = 0.4": (0.4, 1.0),
    "r = 0.5": (0.5, 1.0),
    "r = 0.7": (0.7, 1.0),
    "r = 0.7, cold": (0.7, 0.51),
}


def describe(found: Found) -> dict[str, float | None]:
    """Return the share of the rarer mode, and the width of both over the true one; no width where both are lost."""
    return {
        "share_of_rarer_mode": found.share,
        "width": None if found.width != found.width else found.width,
    }


def torus() -> dict[str, object]:
    """Measure the rules of gemsdiff for positions, at its default noise."""
    process = torus_noise(TorusSettings())
    return {rule: describe(torus_samples(process, rule)) for rule in TORUS_RULES}


def latent() -> dict[str, object]:
    """Measure the steps of dpcdvae, at its default noise."""
    found = {}
    for name, (mean, step, wrap, n_steps) in LATENT_RUNS.items():
        training = CdvaeSettings.model_validate({"mean": mean})
        sampling = CdvaeSampling.model_validate({"step": step, "wrap": wrap})
        found[name] = describe(pair_samples(training, sampling, n_steps, n=2000, periodic=wrap == "every"))
    return found


def joint() -> dict[str, object]:
    """Measure the correctors of mattergen: places, cells, and the share of the rarer element."""
    found = {}
    for name, (ratio, temperature) in CORRECTORS.items():
        reverse = MatterGenSampling(position_corrector=ratio, corrector_temperature=temperature)
        places, cells, share = joint_samples(JointSettings(), reverse, 200)
        found[name] = {
            "temperature": temperature,
            "places": describe(places),
            "cells": describe(cells),
            "share_of_rarer_element": share,
        }
    return found


def schedules() -> dict[str, object]:
    """Compute what the default schedules end in, and the mean weight that dividing by the type noise gives."""
    ends = {}
    for beta_last in (2e-3, 5e-3):
        base = TorusSettings()
        width = float(torus_noise(base.model_copy(update={"beta_last": beta_last})).stds[-1])
        first_fourier = float(torch.tensor(-2 * (torch.pi * width) ** 2).exp())
        ends[f"beta_last {beta_last:g}"] = {"s_T": width, "first_fourier_coefficient": first_fourier}
    cells = {}
    for beta_last in (20, 5):
        training = JointSettings(beta_last=beta_last)
        schedule = JointProcess.of(training, Limit(0.07)).schedule
        cells[f"beta_last {beta_last}"] = {
            f"root_signal_at_{time}": float(schedule.signal(time)) ** 0.5 for time in (400, 500, 999)
        }
    latent = CdvaeSettings()  # log σ is uniform
    low, high = latent.least_type_noise, latent.most_type_noise
    inverse = (1 / low - 1 / high) / math.log(high / low)
    fine = {}
    for name in ("sigmoid", "cosine", "linear"):
        signals = schedule_of(name, latent.timesteps).signals
        fine[name] = float(((1 - signals).sqrt() < 0.1).double().mean())
    return {
        "dpcdvae_share_of_times_below_0.1": fine,
        "gemsdiff": ends,
        "mattergen_cells": cells,
        "dpcdvae_mean_inverse_type_noise": inverse,
    }


def main() -> None:
    """Measure, and write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "benchmarks" / "exact_scores.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    measured = {"schedules": schedules(), "gemsdiff": torus(), "dpcdvae": latent(), "mattergen": joint()}
    record(arguments.out, {"shares": [0.3, 0.7], "width_of_cell": 0.05, **measured})
    print(arguments.out)


if __name__ == "__main__":
    main()
