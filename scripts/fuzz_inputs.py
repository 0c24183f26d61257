"""How damaged and hostile input files are taken: read, refused in a line, or with failures that are named.

Small files of every format that is read are mutated (cut off, bits and bytes flipped, blocks doubled or swapped,
control characters, huge numbers, deep nesting; packed formats inside of their packing too) and read by the
functions that `repdiff encode` uses, in a child process with a limit on its memory and on its time. A traceback, a
hang or a process that outgrows its memory is a fault of repdiff; everything else is counted.

Example:
    python scripts/fuzz_inputs.py --n 3000 --out benchmarks/fuzz_inputs.json
"""

import argparse
import json
import select
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
from fuzz.mutations import MUTATIONS, mutated
from fuzz.samples import make_samples

from repdiff.execution.progress import progress_bar
from repdiff.runs.provenance import record

CHILD = Path(__file__).parent / "fuzz" / "child.py"
FAULTS = ("TRACEBACK", "HANG", "MEMORY")
VERDICTS = ("read", "refused in one line", "named failures", *FAULTS)
N_PER_CHILD = 400  # files that one child reads before a fresh one takes over
N_SHOWN = 50


class Child:
    """A process that reads files, one after the other, and says what came of each."""

    def __init__(self, memory_gib: float, seconds: float) -> None:
        self.seconds, self.n_read = seconds, 0
        command = [sys.executable, str(CHILD), str(memory_gib)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._line(120)  # the imports

    def read(self, file: Path, kind: str) -> dict[str, object]:
        """Return the verdict on a file, with the reason of a fault."""
        assert self.process.stdin is not None
        self.n_read += 1
        started = time.monotonic()
        try:
            self.process.stdin.write(f"{json.dumps({'file': str(file), 'kind': kind})}\n".encode())
            self.process.stdin.flush()
        except BrokenPipeError:
            return {"verdict": "TRACEBACK", "why": "the process had ended before"}
        line = self._line(self.seconds)
        if line is None:
            return {"verdict": "HANG", "why": f"more than {self.seconds:g} s"}
        if not line:
            code = self.process.wait()
            return {"verdict": "TRACEBACK", "why": f"the process ended with code {code}"}
        return {**json.loads(line), "seconds": time.monotonic() - started}

    def stop(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()

    def _line(self, seconds: float) -> bytes | None:
        """Return a line of what it says; None if none came in time, and nothing if it ended."""
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None


def fuzz(samples: dict[str, list[Path]], arguments: argparse.Namespace) -> dict[str, object]:
    """Read `n` mutated files, the formats in turn, and count what came of them."""
    rng = np.random.default_rng(arguments.seed)
    counts = {kind: Counter[str]() for kind in samples}
    faults, slowest, largest = [], 0.0, 0.0
    kinds = list(samples)
    child = Child(arguments.memory_gib, arguments.seconds)
    with tempfile.TemporaryDirectory() as place, progress_bar(total=arguments.n, desc="files") as bar:
        for number in range(arguments.n):
            kind = kinds[number % len(kinds)]
            source = samples[kind][int(rng.integers(len(samples[kind])))]
            name = list(MUTATIONS)[int(rng.integers(len(MUTATIONS)))]
            file = Path(place) / source.name
            file.write_bytes(mutated(source.read_bytes(), source.name, MUTATIONS[name], rng))
            found = child.read(file, kind)
            verdict = str(found["verdict"])
            counts[kind][verdict] += 1
            slowest = max(slowest, float(found.get("seconds", 0)))  # ty: ignore
            largest = max(largest, float(found.get("peak_gib", 0)))  # ty: ignore
            if verdict in FAULTS:
                fault = {"number": number, "kind": kind, "mutation": name, **found}
                faults.append({key: value for key, value in fault.items() if key != "peak_gib"})
                if arguments.keep:
                    arguments.keep.mkdir(parents=True, exist_ok=True)
                    (arguments.keep / f"{number:06d}-{source.name}").write_bytes(file.read_bytes())
            if verdict in FAULTS or child.n_read >= N_PER_CHILD:
                child.stop()
                child = Child(arguments.memory_gib, arguments.seconds)
            file.unlink()
            bar.update()
    child.stop()
    total = sum(counts.values(), Counter())
    return {
        "n": arguments.n,
        "counts": {verdict: total[verdict] for verdict in VERDICTS},
        "by_format": {kind: {v: found[v] for v in VERDICTS} for kind, found in counts.items()},
        "slowest_seconds": round(slowest, 2),
        "peak_gib": round(largest, 2),
        "faults": faults[:N_SHOWN],
    }


def main() -> None:
    """Run the fuzzer."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--n", type=int, default=3000, help="number of mutated files")
    add("--seed", type=int, default=0)
    add("--formats", help="with commas; all without it")
    add("--folder", type=Path, help="real files to mutate, instead of small ones made here")
    add("--seconds", type=float, default=20.0, help="longest time for a file")
    add("--memory-gib", type=float, default=4.0, help="address space of the child beyond its libraries")
    add("--keep", type=Path, help="folder for the files that made a fault")
    add("--out", type=Path, help="JSON with the counts")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        samples = make_samples(Path(place), arguments.folder)
        if arguments.formats:
            wanted = arguments.formats.split(",")
            if strange := [name for name in wanted if name not in samples]:
                parser.error(f"unknown format {strange[0]!r}, known: {', '.join(samples)}")
            samples = {name: samples[name] for name in wanted}
        result = fuzz(samples, arguments)
    limits = {"seconds": arguments.seconds, "memory_gib": arguments.memory_gib}
    if arguments.out:
        record(arguments.out, {**result, "seed": arguments.seed, "limits": limits})
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
