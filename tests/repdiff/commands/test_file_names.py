"""File names that are no UTF-8, by the command line: they are read, named in ASCII, and found again."""

import json
import os

import pytest

from repdiff.api.data import read, write
from repdiff.cli.main import main
from repdiff.crystals.structure_files import SUFFIXES
from repdiff.representations.encoded_set import EncodedSet
from repdiff.runs.manifest import read_manifest

XYZ = '2\nLattice="4 0 0 0 4 0 0 0 4" Properties=species:S:1:pos:R:3 pbc="T T T"\nNa 0 0 0\nCl 2 2 2\n'
ODD = os.fsdecode(b"M\xfcller")


@pytest.fixture
def odd(tmp_path):
    """A folder of such a name that holds a crystal and a refused row, in files of such names."""
    folder = tmp_path / ODD
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("the file system takes UTF-8 names alone")
    (folder / f"{ODD}.xyz").write_text(XYZ)
    (folder / f"{ODD} bad.xyz").write_text(XYZ.replace("Na", "Qq"))
    (folder / f"{ODD}.txt").write_text("notes")
    return folder


@pytest.mark.parametrize("inside", [f"{ODD}.xyz", ""])
def test_names_that_are_no_utf8_are_evaluated_and_reported(odd, inside, tmp_path, capsys):
    root = tmp_path / "workspace"
    argv = ["evaluate", str(odd / inside), "--only", "validity", "--workspace", str(root)]
    assert main(argv) == 0
    assert main(argv) == 0  # finished already: the settings are known again
    assert "nothing to do" in capsys.readouterr().err
    (run,) = (path.parent for path in root.glob("evaluate/*/manifest.json"))
    assert "M\\xfcller" in read_manifest(run).config["structures"]
    for file in ("manifest.json", "config.yaml", "metrics.json", "table.txt"):
        (run / file).read_text(encoding="utf-8").encode()
    assert main(["info", str(run)]) == 0
    assert "M\\xfcller" in capsys.readouterr().out
    assert main(["report", str(run), "--workspace", str(root)]) == 0
    assert main(["evaluate", "--config", str(run / "config.yaml"), "--workspace", str(tmp_path / "2")]) == 0


@pytest.mark.parametrize("inside", [f"{ODD}.xyz", ""])
def test_names_that_are_no_utf8_are_encoded(odd, inside, tmp_path, capsysbinary):
    root = tmp_path / "workspace"
    argv = ["encode", str(odd / inside), "--device", "cpu", "--workspace", str(root)]
    assert main(argv) == 0
    path = capsysbinary.readouterr().out.strip()
    (run,) = (file.parent for file in root.glob("encode/*/manifest.json"))
    assert "M\\xfcller" in read_manifest(run).config["dataset"]
    assert main(argv) == 0
    assert path == os.fsencode(run)
    encoded = EncodedSet.read(run)
    assert [crystal.id for crystal in encoded.crystals] == ["0" if inside else "M\\xfcller"]
    records = [json.loads(line) for line in (run / "rejected.jsonl").read_text().splitlines()]
    assert [record["source"].isascii() for record in records] == [True] * (not inside)


@pytest.mark.parametrize("suffix", [*sorted(SUFFIXES), ""])
def test_files_of_every_format_may_have_names_that_are_no_utf8(suffix, odd):
    path = write(odd / f"{ODD}-copy{suffix}", read(odd / f"{ODD}.xyz"))
    assert os.fsencode(path.name).startswith(b"M\xfcller-copy")
    assert len(read(path).crystals) == 1
