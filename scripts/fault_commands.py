"""A process that has imported repdiff and forks one for each command: several times as quick as starting them anew.

Asked by lines of JSON on stdin, as scripts/fault_session.py does: {"start": WORDS, "folder": FOLDER, "said": FILE,
"mark": TEXT, "max_file": BYTES or null} is answered by the number of a process, {"wait": NUMBER, "seconds": SECONDS} by
its exit code, or null if it is still running. It ends when its stdin does.
"""

import atexit
import importlib
import json
import os
import pkgutil
import resource
import signal
import sys
import time
import traceback
from typing import Any

MARK = "REPDIFF_FAULTS"
HEAVY = (
    "accelerate",
    "chgnet.model",
    "matminer.featurizers.site",
    "pyarrow.parquet",
    "safetensors.torch",
    "smact",
)


def warm_up() -> None:
    """Import what the verbs import."""
    import repdiff.backends
    import repdiff.commands

    for package in (repdiff.commands, repdiff.backends):
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    for name in ("repdiff.cli.main", "repdiff.cli.verbs", "repdiff.energies.registered", *HEAVY):
        importlib.import_module(name)


def start(request: dict[str, Any]) -> int:
    """Fork a process that runs a command, and return its number."""
    if number := os.fork():
        return number
    code = 1
    try:
        os.setsid()
        os.chdir(request["folder"])
        os.environ[MARK] = request["mark"]
        said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        for stream, target in ((os.open(os.devnull, os.O_RDONLY), 0), (said, 1), (said, 2)):
            os.dup2(stream, target)
        if request["max_file"] is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (request["max_file"], request["max_file"]))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        sys.argv = ["repdiff", *request["start"]]
        from repdiff.cli.main import run

        try:
            run()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def wait(number: int, seconds: float) -> int | None:
    """Return the exit code of a process, negative for a signal; None if it is still running after so many seconds."""
    deadline = time.monotonic() + seconds
    while True:
        ended, status = os.waitpid(number, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            return None
        time.sleep(0.005)


def main() -> None:
    """Answer requests."""
    warm_up()
    print("ready", flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        found = start(request) if "start" in request else wait(request["wait"], request["seconds"])
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
