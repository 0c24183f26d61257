"""Ctrl-C in the real process of a command, at several moments of its life."""

import os
import signal
import subprocess
import sys
import time

import pytest
from process_tree import alive, wait_until

COMMAND = """
import sys
from repdiff.__main__ import run
sys.argv = ["repdiff", *sys.argv[1:]]
print("ready", flush=True)
run()
"""


pytestmark = pytest.mark.usefixtures("_heeds_interrupts")


def launch(words, *, cwd):
    return subprocess.Popen(
        [sys.executable, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
        start_new_session=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )


def start(code, *argv, cwd):
    process = launch(["-c", code, *argv], cwd=cwd)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("seconds", [0.05, 0.2, 0.5])
def test_ctrl_c_during_the_first_imports_is_one_line_and_code_130(seconds, tmp_path):
    process = start(COMMAND, "encode", "prototypes", cwd=tmp_path)
    time.sleep(seconds)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    out, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert out == ""
    assert told == "repdiff encode: interrupted\n"


WORK = """
import sys, types
def endless(item):
    import os
    os.write(1, b"working\\n")
    while True:
        pass
def run_encode(settings, workspace):
    from repdiff.execution.jobs import map_jobs
    with workspace.run(settings, "fake"):
        map_jobs(endless, range(9), n_workers=2, progress=False, label="endless")
if __name__ == "__main__":
    print("ready", flush=True)
    sys.modules["repdiff.commands.encode"] = types.SimpleNamespace(run_encode=run_encode)
    sys.argv = ["repdiff", "encode", "prototypes"]
    from repdiff.__main__ import run
    run()
"""


def test_ctrl_c_while_workers_work_is_one_line_and_says_what_is_kept(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(WORK)
    process = launch([str(script)], cwd=tmp_path)
    assert process.stdout is not None
    while process.stdout.readline() != "working\n":
        assert process.poll() is None
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert time.monotonic() - began < 2
    assert process.returncode == 130
    assert told.strip().startswith("repdiff encode: interrupted; ")
    assert told.strip().count("\n") == 0
    assert "give the same command again" in told


def test_an_interrupt_inside_an_import_waits_for_its_end(tmp_path):
    (tmp_path / "slow_module.py").write_text(
        "import time\ntry:\n    time.sleep(0.3)\nexcept BaseException:\n    print('torn', flush=True)\n"
    )
    code = (
        "import sys; sys.path.insert(0, '.')\n"
        "from repdiff.cli.interrupts import INTERRUPTS\n"
        "INTERRUPTS.install(); INTERRUPTS.begin_work()\n"
        "print('ready', flush=True)\n"
        "try:\n"
        "    import slow_module\n"
        "    import time; time.sleep(20)\n"
        "except KeyboardInterrupt:\n"
        "    print('behind it', flush=True)\n"
    )
    process = start(code, cwd=tmp_path)
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert out == "behind it\n"


def test_a_trial_ends_with_the_comparison_that_started_it(tmp_path):
    steps = tmp_path / "steps.json"
    steps.write_text('[["encode", "prototypes"]]')
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-m', 'repdiff.cli.steps', {str(steps)!r}],"
        " stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)\n"
        "print('ready', flush=True); print(child.pid, flush=True); time.sleep(60)\n"
    )
    process = start(code, cwd=tmp_path)
    assert process.stdout is not None
    child = int(process.stdout.readline())
    time.sleep(0.5)
    assert alive(child)
    process.kill()
    process.communicate()
    assert wait_until(lambda: not alive(child), 5)
