"""The page of files describes every file and every column that the commands write."""

import json
import re
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from repdiff.cli.main import main

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "reference" / "files.md").read_text(encoding="utf-8")
LABELS = {"energy", "group", "kind"}  # of the tiny data set


def described(heading):
    """Return what stands in code below a heading."""
    (section,) = re.findall(
        rf"^#+ {re.escape(heading)}$(.*?)(?=^## |^### |\Z)", PAGE, re.MULTILINE | re.DOTALL
    )
    return set(re.findall(r"`([^`]+)`", section))


@pytest.fixture(scope="module")
def written(tiny_workspace, tiny_file, tmp_path_factory):
    root = Path(shutil.copytree(tiny_workspace, tmp_path_factory.mktemp("files") / "workspace"))
    families = "validity,composition,symmetry,prototypes,uniqueness,plain_properties,metre"
    words = ["--reference", str(tiny_file), "--only", families, "--no-baseline"]
    assert main(["evaluate", *words, "--n-workers", "1", "--workspace", str(root)]) == 0
    return root


@pytest.mark.parametrize("verb", ["encode", "generate", "reconstruct", "evaluate"])
def test_every_file_of_a_run_is_described(written, verb):
    title = {"reconstruct": "reconstruct, relax, and systems that make crystals"}.get(verb, verb)
    (run,) = written.glob(f"{verb}/[!.]*")
    names = {path.name + ("/" if path.is_dir() else "") for path in run.iterdir()}
    assert names - {"draws/"} <= described(title) | described("In every folder")


@pytest.mark.parametrize(
    "pattern",
    [
        "encode/[!.]*/crystals.parquet",
        "generate/[!.]*/draws.parquet",
        "reconstruct/[!.]*/table.parquet",
        "evaluate/[!.]*/per_structure.parquet",
    ],
)
def test_every_column_is_described(written, pattern):
    (path,) = written.glob(pattern)
    known = described(path.name) | (described("crystals.parquet") if path.name == "table.parquet" else set())
    assert [name for name in pq.read_schema(path).names if name not in known | LABELS] == []


@pytest.mark.parametrize("pattern", ["encode/[!.]*/manifest.json", "evaluate/[!.]*/metrics.json"])
def test_every_key_is_described(written, pattern):
    (path,) = written.glob(pattern)
    assert set(json.loads(path.read_text(encoding="utf-8"))) <= described(path.name)
