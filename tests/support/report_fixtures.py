"""Fixtures of the report: a small evaluation whose structures are partly broken, a page made of it, a browser."""

import os
import shutil
from pathlib import Path

import known_crystals
import numpy as np
import pytest
from report_runs import HOSTILE, evaluate

from repdiff.cli.main import main
from repdiff.crystals.crystal import from_structure
from repdiff.crystals.structure_files import write_structures
from repdiff.runs.failures import FAILED


@pytest.fixture(scope="session")
def report_workspace(tmp_path_factory) -> Path:
    """A workspace with 20 reconstructed crystals, two that failed, and an evaluation of them; not to be changed."""
    root = tmp_path_factory.mktemp("report")
    reference = known_crystals.write_extxyz(root / "known.extxyz", known_crystals.family())
    crystals = [
        from_structure(structure, id=f"gen-{number:02d}")
        for number, structure in enumerate(known_crystals.family()[:40:2])
    ]
    crystals[3] = crystals[3].replace(id=HOSTILE)
    crystals[4] = crystals[4].replace(frac_coords=np.zeros_like(crystals[4].frac_coords))  # atoms coincide
    loss = np.geomspace(1e-4, 1e-1, len(crystals)).tolist()
    columns = {"loss": loss, "confidence": [0.5] * len(crystals), "stopped": ["trials agree"] * len(crystals)}
    folder = root / "reconstruct" / "few"
    write_structures(folder, crystals, columns)
    (folder / FAILED).write_text(
        '{"id": "gone-<b>", "reason": "no valid lattice"}\n{"id": "gone-2", "reason": "took too long"}\n'
    )
    evaluate(root, folder, f"{reference}:test", "--baseline", "--training", f"{reference}:train")
    return root


@pytest.fixture(scope="session")
def evaluation(report_workspace) -> Path:
    """The folder of that evaluation."""
    (folder,) = (report_workspace / "evaluate").glob("[!.]*")
    return folder


@pytest.fixture(scope="session")
def page(report_workspace, evaluation) -> Path:
    """The page of that evaluation, under a path that needs quoting."""
    output = report_workspace / "a page" / "report #1.html"
    assert main(["report", str(evaluation), "-o", str(output), "--workspace", str(report_workspace)]) == 0
    return output


@pytest.fixture(scope="session")
def browser():
    """A real Chromium; tests are skipped without one, and fail where CI is set."""
    playwright = pytest.importorskip("playwright.sync_api")
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next((found for name in names if (found := shutil.which(name))), None)
    if path is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(f"none of {', '.join(names)} is installed")
    with playwright.sync_playwright() as driver:
        running = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--enable-unsafe-swiftshader"]
        )
        yield running
        running.close()
