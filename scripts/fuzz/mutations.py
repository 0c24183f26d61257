"""Ways to damage a file."""

import bz2
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Callable

import numpy as np

Mutation = Callable[[bytes, np.random.Generator], bytes]
NUMBER = re.compile(rb"-?\d+(\.\d+)?")
HUGE = (
    b"1e999", b"-1e999", b"inf", b"nan", b"1e308", b"99999999999999999999", b"-1", b"0", b"1e-320", b"1_0", b"0x1F",
    b"9" * 400, b"9" * 5000, b"2147483648", b"1000000000",
)  # fmt: skip
STRANGE = (
    b"\x00",
    b"\x07",
    b"\x1b[31m",
    b"\x85",
    b"\xe2\x80\xa8",
    b"\xff\xfe",
    b"\r",
    b"\x0b",
    b"\xed\xa0\x80",
    b"'",
    b'"',
)
OPENERS = (
    b"[",
    b"{",
    b'{"a":',
    b'{"structure":',
    b"(",
    b"-",
    b"&a [",
    b"- ",
    b"? ",
    b"<<: *",
    b'"',
    b"loop_\n",
    b";\n",
)


def cut(data: bytes, rng: np.random.Generator) -> bytes:
    """Cut the file off."""
    return data[: int(rng.integers(len(data) + 1))]


def flip_bits(data: bytes, rng: np.random.Generator) -> bytes:
    """Turn 1 to 8 bits around."""
    changed = bytearray(data)
    for place in rng.integers(len(data), size=int(rng.integers(1, 9))) if data else ():
        changed[place] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def random_bytes(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a stretch by random bytes."""
    start, length = int(rng.integers(len(data) + 1)), int(rng.integers(1, 64))
    return data[:start] + rng.bytes(length) + data[start + length :]


def double_block(data: bytes, rng: np.random.Generator) -> bytes:
    """Write a block twice, or a thousand times."""
    start, end = sorted(int(place) for place in rng.integers(len(data) + 1, size=2))
    times = 2 if rng.random() < 0.8 else max(2, min(1000, 2_000_000 // max(end - start, 1)))
    return data[:start] + data[start:end] * times + data[end:]


def swap_lines(data: bytes, rng: np.random.Generator) -> bytes:
    """Exchange two lines, or lose one."""
    lines = data.split(b"\n")
    a, b = (int(place) for place in rng.integers(len(lines), size=2))
    if rng.random() < 0.5:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        del lines[a]
    return b"\n".join(lines)


def control_characters(data: bytes, rng: np.random.Generator) -> bytes:
    """Put control characters and the like into the file."""
    for _ in range(int(rng.integers(1, 5))):
        place = int(rng.integers(len(data) + 1))
        data = data[:place] + STRANGE[int(rng.integers(len(STRANGE)))] + data[place:]
    return data


def huge_numbers(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a number by one that no file should hold."""
    found = list(NUMBER.finditer(data))
    for _ in range(int(rng.integers(1, 3))):
        if not found:
            return data + HUGE[int(rng.integers(len(HUGE)))]
        match = found.pop(int(rng.integers(len(found))))
        data = data[: match.start()] + HUGE[int(rng.integers(len(HUGE)))] + data[match.end() :]
        found = list(NUMBER.finditer(data)) if len(data) < 100_000 else []
    return data


def deep_nesting(data: bytes, rng: np.random.Generator) -> bytes:
    """Open thousands of brackets."""
    opener = OPENERS[int(rng.integers(len(OPENERS)))]
    depth = int(10 ** rng.uniform(1, 5))
    closer = {b"[": b"]", b"{": b"}", b"(": b")"}.get(opener[:1], b"") if rng.random() < 0.5 else b""
    place = int(rng.integers(len(data) + 1)) if rng.random() < 0.5 else 0
    inner = b"1" if closer else b""
    return data[:place] + opener * depth + inner + closer * depth + data[place:]


def long_words(data: bytes, rng: np.random.Generator) -> bytes:
    """Replace a word by a very long one."""
    words = list(re.finditer(rb"\w+", data))
    if not words:
        return b"a" * 100_000
    match = words[int(rng.integers(len(words)))]
    return data[: match.start()] + b"x" * int(10 ** rng.uniform(2, 6)) + data[match.end() :]


MUTATIONS: dict[str, Mutation] = {
    "cut off": cut,
    "bits": flip_bits,
    "random bytes": random_bytes,
    "doubled block": double_block,
    "lines": swap_lines,
    "control characters": control_characters,
    "huge numbers": huge_numbers,
    "deep nesting": deep_nesting,
    "long words": long_words,
}


def mutated(data: bytes, name: str, how: Mutation, rng: np.random.Generator) -> bytes:
    """Damage a file; one that is packed in half of the cases inside of its packing."""
    if rng.random() < 0.5:
        return how(data, rng)
    if name.endswith(".gz"):
        return gzip.compress(how(gzip.decompress(data), rng), 1)
    if name.endswith(".bz2"):
        return bz2.compress(how(bz2.decompress(data), rng), 1)
    if name.endswith(".zip"):
        return _in_zip(data, how, rng)
    return how(data, rng)


def _in_zip(data: bytes, how: Mutation, rng: np.random.Generator) -> bytes:
    """Damage a file of a zip, or its packed bytes alone, which leaves the list of files whole."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {entry.filename: archive.read(entry) for entry in archive.infolist()}
    hit = list(members)[int(rng.integers(len(members)))]
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, content in members.items():
            archive.writestr(member, how(content, rng) if member == hit else content)
        offsets = {entry.filename: (entry.header_offset, entry.compress_size) for entry in archive.infolist()}
    if rng.random() < 0.5:
        return packed.getvalue()
    whole, (start, size) = packed.getvalue(), offsets[hit]
    start += 30 + len(hit.encode())
    return whole[:start] + flip_bits(whole[start : start + size], rng) + whole[start + size :]


def packed_zeros(n_bytes: int) -> bytes:
    """Return a gzip of zeros, for tests of what unpacks to much more than it is."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    block = bytes(2**20)
    return b"".join([packer.compress(block) for _ in range(n_bytes // len(block))]) + packer.flush()
