"""Fetching the public benchmark files: resumed where they broke off, and checked before they are used."""

import csv
import http.client
import json
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from pathlib import Path

from repdiff.crystals.crystal import SPLITS
from repdiff.datasets.benchmarks import BENCHMARKS
from repdiff.errors import UserError
from repdiff.execution.progress import progress_bar
from repdiff.runs.atomic_files import sha256, write_json

BASE_URL = "https://raw.githubusercontent.com/txie-93/cdvae/main/data"  # MIT licence
CHECKSUMS: dict[str, dict[str, str]] = {}  # sha256 by benchmark and file name, where one is published
RECORD = "checksums.json"
TIMEOUT = 30.0  # seconds without a byte
ATTEMPTS = 3
PAUSE = 1.0  # seconds before the second attempt; doubles each time
BLOCK = 1 << 16
BROKEN_OFF = (
    urllib.error.URLError,
    http.client.HTTPException,
    TimeoutError,
    ConnectionError,
    ssl.SSLError,
)


def download_benchmark(
    name: str,
    target: Path,
    *,
    base_url: str | None = None,
    checksums: Mapping[str, str] | None = None,
    progress: bool = True,
) -> Path:
    """Fetch train.csv, val.csv and test.csv of a benchmark into a folder.

    What is there already and agrees with its checksum is not fetched again. An interrupted file stays as
    `.part` and is continued, by this call (three attempts) or the next. A file is held to its known checksum;
    one without must have the published number of rows. Its sha256 is then recorded in `checksums.json`, and
    holds from then on. A file that fails is kept aside as `.bad`.

    Args:
        name: A key of `BENCHMARKS`.
        target: The folder, made if absent.
        base_url: Where the folders of the benchmarks lie; the public repository when None.
        checksums: sha256 by file name ("train.csv"), for mirrors; overrule the known ones.
        progress: Show a bar on stderr.

    Returns:
        The folder.

    Raises:
        UserError: If the name is unknown, the server cannot be reached or lacks the file, the connection
            breaks three times, a check fails, or the folder cannot be written.
    """
    if name not in BENCHMARKS:
        raise UserError(f"{name!r} cannot be downloaded; known: {', '.join(BENCHMARKS)}")
    base = (base_url or BASE_URL).rstrip("/")
    if urllib.parse.urlsplit(base).scheme not in ("http", "https"):
        raise UserError(f"base URL is {base!r}, expected one that begins with https:// or http://")
    try:
        target.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            _obtain(name, split, f"{base}/{name}/{split}.csv", target, checksums or {}, progress)
    except OSError as error:
        raise UserError(f"{target} cannot be written: {error.strerror or error}") from error
    return target


def verify_download(folder: Path, hashes: Mapping[str, str]) -> None:
    """Hold files to the checksums recorded when they were downloaded; files without a record pass.

    Args:
        folder: Where the record is, if there is one.
        hashes: sha256 by path, of the files as they are now.

    Raises:
        UserError: If a file has changed since.
    """
    if not folder.is_dir():
        return
    record = _read_record(folder)
    for path, digest in hashes.items():
        expected = record.get(Path(path).name, digest)
        if expected != digest:
            raise UserError(
                f"{path} has sha256 {digest[:12]}…, {expected[:12]}… when it was downloaded: "
                f"delete it and run `repdiff download {folder.name}` again"
            )


def _obtain(
    name: str, split: str, url: str, target: Path, checksums: Mapping[str, str], progress: bool
) -> None:
    """Bring one file in place, checked and recorded, unless it is already."""
    file = target / f"{split}.csv"
    record = _read_record(target)
    expected = checksums.get(file.name) or CHECKSUMS.get(name, {}).get(file.name) or record.get(file.name)
    if file.is_file():
        if expected == sha256(file):
            return
        if expected is not None:
            raise UserError(
                f"{file} has sha256 {sha256(file)[:12]}…, expected {expected[:12]}…: "
                f"delete it and run `repdiff download {name}` again"
            )
        arrived = file
    else:
        arrived = _fetch(url, file.with_name(file.name + ".part"), progress)
    problem = _problem(arrived, expected, BENCHMARKS[name].sizes[split])
    if problem:
        bad = file.with_name(file.name + ".bad")
        arrived.replace(bad)
        raise UserError(
            f"{url} gave a file with {problem}; it is kept as {bad}: try again, or another mirror"
        )
    arrived.replace(file)
    _write_record(target, record | {file.name: sha256(file)})


def _problem(file: Path, expected: str | None, n_rows: int) -> str | None:
    """Say what is wrong with a file: its checksum if there is one to hold it to, else its number of rows."""
    if expected is not None:
        found = sha256(file)
        return None if found == expected else f"sha256 {found[:12]}…, expected {expected[:12]}…"
    found = _count_rows(file)
    return None if found == n_rows else f"{found} rows, expected {n_rows}"


def _count_rows(file: Path) -> int:
    csv.field_size_limit(2**31 - 1)
    with file.open(encoding="utf-8", errors="replace", newline="") as lines:
        try:
            return max(sum(1 for row in csv.reader(lines) if row) - 1, 0)
        except csv.Error:
            return 0


def _fetch(url: str, part: Path, progress: bool) -> Path:
    """Fetch a file, continuing what is there, in up to three attempts."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            _continue(url, part, progress)
            return part
        except urllib.error.HTTPError as error:
            if error.code < 500 or attempt == ATTEMPTS:
                raise UserError(
                    f"{url} answers {error.code} {error.reason}: check the address, or try again later"
                ) from error
        except BROKEN_OFF as error:
            if attempt == ATTEMPTS:
                cause = getattr(error, "reason", None) or error
                kept = part.stat().st_size if part.exists() else 0
                raise UserError(
                    f"{url} cannot be fetched ({cause}), {kept} bytes are kept: check the network and run "
                    "the same command again to continue"
                ) from error
        time.sleep(PAUSE * 2 ** (attempt - 1))
    raise AssertionError("the last attempt returns or raises")


def _continue(url: str, part: Path, progress: bool) -> None:
    """Ask for what is missing of a file and append it; start over where the server cannot continue.

    Raises:
        ConnectionError: If fewer bytes came than were announced.
    """
    present = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(url, headers={"User-Agent": "repdiff", "Accept-Encoding": "identity"})
    if present:
        request.add_header("Range", f"bytes={present}-")
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        if error.code != 416 or not present:
            raise
        if error.headers.get("Content-Range") != f"bytes */{present}":  # else all of it is here already
            part.unlink()
            _continue(url, part, progress)
        return
    with response:
        continues = response.status == 206 and response.headers.get("Content-Range", "").startswith(
            f"bytes {present}-"
        )
        start = present if continues else 0
        announced = response.headers.get("Content-Length")
        total = start + int(announced) if announced else None
        with (
            part.open("ab" if continues else "wb") as file,
            progress_bar(
                total=total,
                initial=start,
                desc=Path(url).name,
                unit="B",
                unit_scale=True,
                disable=not progress,
            ) as bar,
        ):
            while block := response.read(BLOCK):
                file.write(block)
                bar.update(len(block))
    if total is not None and part.stat().st_size != total:
        raise ConnectionError(f"the connection ended after {part.stat().st_size} of {total} bytes")


def _read_record(folder: Path) -> dict[str, str]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is no JSON ({error}): delete it and download again") from error
    return {str(name): str(sha256) for name, sha256 in record.items()}


def _write_record(folder: Path, record: Mapping[str, str]) -> None:
    write_json(folder / RECORD, dict(sorted(record.items())), checksum=False)
