#!/usr/bin/env python
"""Disturb every verb, and check that nothing is lost, nothing half-written is believed, and nothing stays behind.

scripts/faults.py --kills 200 --fork --out benchmarks/faults.json
scripts/faults.py --kinds full,pieces,inputs,two --tries 3
scripts/faults.py --kinds kill --kills 10 --verbs generate,reconstruct --seed 7

Each verb runs once undisturbed on a tiny data set, as a process of its own, and is timed. Then it is started anew in an
empty workspace and disturbed at a moment drawn uniformly from that time; the same command is given again, and must end
with code 0 and with the results of the undisturbed run, but for measured times. Kinds:

kill: SIGKILL of the process. interrupt: SIGINT of its group, as by Ctrl-C. 5 s later no process of it may be there.
full: on a disk of a size drawn between nothing and what the run needs, or, where no disk can be mounted, with a limit
    of the size of a file; the command must say so in one line, and leave no status "running".
pieces: SIGKILL, and then a file of the run is cut short, has a bit flipped or holds `{}`, `[]` or `null`; the same
    command must compute again what was damaged, or say in one line, with code 2, what is wrong.
inputs: the same with a file that the verb reads.
two: the command twice at the same time; one does the work, the other is refused in one line, or finds it finished.

A file of a run that was finished before it was damaged is for its readers to find. A flipped bit that gives other
results with code 0 counts as "undetected", and is no failure of this script yet.
With --fork the moments fall on the work alone, not on imports. It needs Linux; the exit code is 1 if anything failed.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from fault_session import SECONDS_TO_END, Session, Trial
from fault_verbs import VERBS
from tqdm import tqdm

from repdiff.runs.provenance import record

KINDS = ("kill", "interrupt", "full", "pieces", "inputs", "two")
JSONS = (b"{}", b"[]", b"null")


def disturb(session: Session, trial: Trial, workspace: Path, number: signal.Signals) -> None:
    """Start a command, send it a signal at a random moment, and look for what it leaves running."""
    moment = session.random.uniform(0, session.reference(trial.verb).seconds)
    trial.what = f"{number.name} after {moment:.2f} s"
    command = session.start(trial.verb, workspace)
    try:
        command.process.wait(moment)
        trial.outcome = "finished before"
    except subprocess.TimeoutExpired:
        (os.kill if number == signal.SIGKILL else os.killpg)(command.process.pid, number)
        code, said = command.finish()
        if number == signal.SIGINT and code not in (
            0,
            130,
            -signal.SIGINT,
        ):  # the last: while Python was leaving
            trial.wrong.append(f"code {code} after Ctrl-C: {said[-300:]}")
    trial.wrong += command.complaints()
    if left := command.orphans():
        trial.wrong.append(f"{len(left)} processes left after {SECONDS_TO_END:g} s")
        command.end_all()


def kill(session: Session, trial: Trial) -> None:
    """Kill, and give the command again."""
    with session.workspace() as workspace:
        number = signal.SIGKILL if trial.kind == "kill" else signal.SIGINT
        disturb(session, trial, workspace, number)
        session.again(trial, workspace)


def full(session: Session, trial: Trial) -> None:
    """Let the disk be full, and give the command again when there is room."""
    reference = session.reference(trial.verb)
    with session.workspace() as workspace:
        workspace.mkdir()
        size = max(4096, int(session.random.uniform(0, 1.1) * reference.n_bytes))
        options = f"size={size}"
        mounted = _run("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(workspace))
        trial.what = f"disk of {size} bytes" if mounted else f"files of at most {size // 4} bytes"
        try:
            command = session.start(trial.verb, workspace, max_file=None if mounted else size // 4)
            code, said = command.finish()
            trial.wrong += command.complaints()
            if code not in (0, 2):
                trial.wrong.append(f"code {code}: {said[-300:]}")
            running = [file for file in workspace.rglob("manifest.json") if '"running"' in file.read_text()]
            trial.wrong += [f"{file.parent.name} stays running" for file in running]
            trial.outcome = "recovered" if code else "had room"
            if mounted and not _run("mount", "-o", "remount,size=1g", str(workspace)):
                raise SystemExit(f"{workspace}: the disk cannot be made larger")
            session.again(trial, workspace)
        finally:
            if mounted and not _unmounted(workspace):
                trial.wrong.append(f"a process held the disk for {SECONDS_TO_END:g} s")


def _unmounted(workspace: Path) -> bool:
    """Take a disk away, of which the last process may just be ending; say whether one held it for long."""
    for _ in range(int(SECONDS_TO_END)):
        if _run("umount", str(workspace)):
            return True
        time.sleep(1)
    _run("umount", "--lazy", str(workspace))
    return False


def _run(*words: str) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


def damage(session: Session, trial: Trial, file: Path) -> None:
    """Cut a file short, flip a bit of it, or leave JSON that holds nothing."""
    held, how = bytearray(file.read_bytes()), session.random.choice(("cut", "bit", "json"))
    place = session.random.randrange(len(held))
    if how == "json" and file.suffix in (".json", ".jsonl"):
        held[:] = session.random.choice(JSONS)
    elif how == "bit":
        held[place] ^= 1 << session.random.randrange(8)
    else:
        how = "cut"
        del held[place:]
    trial.what = f"{how} at {place} of {file.relative_to(session.folder)}"
    file.write_bytes(held)


def pieces(session: Session, trial: Trial) -> None:
    """Kill, damage a file of the run, and give the command again."""
    with session.workspace() as workspace:
        disturb(session, trial, workspace, signal.SIGKILL)
        if not (files := _files(workspace)):
            trial.outcome = "nothing to damage"
        else:
            damage(session, trial, session.random.choice(files))
        session.again(trial, workspace, may_refuse=bool(files))


def inputs(session: Session, trial: Trial) -> None:
    """Damage a file that is read, and give the command."""
    read = [session.folder / name for name in VERBS[trial.verb].reads]
    if not (files := [file for folder in read for file in _files(folder)]):
        trial.outcome = "reads no run"
        return
    session.reference(trial.verb)
    file = session.random.choice(files)
    whole = file.read_bytes()
    try:
        damage(session, trial, file)
        with session.workspace() as workspace:
            session.again(trial, workspace, may_refuse=True)
    finally:
        file.write_bytes(whole)


def _files(folder: Path) -> list[Path]:
    """List the files of a folder that can be damaged."""
    return [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file()
        and file.stat().st_size
        and not any(part.startswith(".") for part in file.parts[-3:])
    ]


def two(session: Session, trial: Trial) -> None:
    """Start the command twice, the second time a little later."""
    session.reference(trial.verb)
    with session.workspace() as workspace:
        first = session.start(trial.verb, workspace)
        time.sleep(session.random.uniform(0, 2))
        second = session.start(trial.verb, workspace)
        ends = [first.finish(), second.finish()]
        trial.wrong += first.complaints() + second.complaints()
        codes = sorted(code for code, _ in ends)
        refused = sum("in use by another process" in said for _, said in ends)
        trial.outcome = "one refused" if refused else "one after the other"
        if codes[0] != 0 or codes[1] not in (0, 2) or (codes[1] == 2 and not refused):
            trial.wrong.append(f"codes {codes}: {ends[0][1][-200:]} {ends[1][1][-200:]}")
        session.again(trial, workspace)


DO: dict[str, Callable[[Session, Trial], None]] = {
    "kill": kill,
    "interrupt": kill,
    "full": full,
    "pieces": pieces,
    "inputs": inputs,
    "two": two,
}


def plan(kinds: list[str], verbs: list[str], *, kills: int, tries: int, random: random.Random) -> list[Trial]:
    """List what is to be done: `kills` kills, a third of them by Ctrl-C, and `tries` of each other kind and verb."""
    trials = [Trial(kind=kind, verb=verb) for kind in kinds for verb in verbs for _ in range(tries)]
    trials = [trial for trial in trials if trial.kind not in ("kill", "interrupt")]
    by = [kind for kind in ("kill", "kill", "interrupt") if kind in kinds]
    trials += [Trial(kind=by[n % len(by)], verb=verbs[n % len(verbs)]) for n in range(kills if by else 0)]
    random.shuffle(trials)
    return trials


def summary(trials: list[Trial]) -> dict[str, object]:
    """Count outcomes by kind, and name what went wrong."""
    failed = [trial for trial in trials if trial.wrong]
    named = lambda one: f"{one.kind} of {one.verb}, {one.what}"  # noqa: E731
    return {
        "n": len(trials),
        "n_failed": len(failed),
        "outcomes": {
            kind: dict(
                Counter("failed" if trial.wrong else trial.outcome for trial in trials if trial.kind == kind)
            )
            for kind in dict.fromkeys(trial.kind for trial in trials)
        },
        "by_verb": dict(Counter(trial.verb for trial in trials)),
        "failed": [f"{named(trial)}: {'; '.join(trial.wrong)}" for trial in failed],
        "undetected": [named(trial) for trial in trials if trial.outcome == "undetected"],
    }


def main() -> int:
    """Disturb, and record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--kills", type=int, default=len(VERBS), help="kills and interruptions, over all verbs"
    )
    parser.add_argument("--tries", type=int, default=1, help="tries of each other kind with each verb")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--verbs", default=",".join(VERBS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--fork",
        action="store_true",
        help="fork commands from a process that has imported everything: quicker",
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    kinds, verbs = arguments.kinds.split(","), arguments.verbs.split(",")
    if strange := [*({*kinds} - {*KINDS}), *({*verbs} - {*VERBS})]:
        parser.error(f"unknown: {', '.join(strange)}; known: {', '.join([*KINDS, *VERBS])}")
    started = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="repdiff-faults-") as folder:
        session = Session(Path(folder), arguments.seed, fork=arguments.fork)
        trials = plan(kinds, verbs, kills=arguments.kills, tries=arguments.tries, random=session.random)
        try:
            session.prepare(verbs)
            for trial in tqdm(trials, desc="faults", file=sys.stderr):
                DO[trial.kind](session, trial)
                if trial.wrong:
                    tqdm.write(f"{trial.kind} of {trial.verb}, {trial.what}: {'; '.join(trial.wrong)}")
        except BaseException:
            print(summary([trial for trial in trials if trial.what]))  # of those that were done
            raise
        finally:
            session.end()
    found = summary(trials)
    print(found)
    if arguments.out is not None:
        seconds = {verb: round(one.seconds, 2) for verb, one in session.references.items()}
        record(
            arguments.out,
            {
                "seed": arguments.seed,
                "forked": arguments.fork,
                **found,
                "minutes": round((time.monotonic() - started) / 60, 1),
                "seconds_undisturbed": seconds,
            },
        )
    return 1 if found["n_failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
