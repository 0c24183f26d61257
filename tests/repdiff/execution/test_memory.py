"""The limit of memory: how it is found, how many workers it has room for, and what becomes of what is too large."""

import resource
import subprocess
import sys
from collections import deque
from contextlib import suppress

import piece_of_work
import pytest

import repdiff as rd
from repdiff.cli.main import main
from repdiff.errors import UserError
from repdiff.execution import memory
from repdiff.execution.jobs import TooLarge, map_jobs, run_jobs, too_large, workers_to_use
from repdiff.execution.memory import COMMAND, CRYSTAL_WORKER, FORCE_FIELD_WORKER, memory_in_force, use_memory
from repdiff.hardware import UsableMemory, private_memory, usable_memory
from repdiff.settings import SECTIONS
from repdiff.settings.memory import parse_memory

GB = 10**9
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such limit")


@pytest.fixture(autouse=True)
def _large_machine(monkeypatch):
    """Let the machine have 64 GB, and this process take what a command does."""
    monkeypatch.setattr(memory, "usable_memory", lambda: UsableMemory(64 * GB, "the machine"))
    monkeypatch.setattr(memory, "private_memory", lambda: 0)
    monkeypatch.setattr(memory, "_TOLD", set())


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4GB", 4 * GB), ("4 gb", 4 * GB), ("512MiB", 2**29), ("1.5GB", 1_500_000_000), (2 * GB, 2 * GB)],
)
def test_amounts_of_memory_are_understood(text, expected):
    assert parse_memory(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "4",
        "4XB",
        "-1GB",
        "0GB",
        "",
        "much",
        "1e999GB",
        "nanGB",
        "4.5",
        -1,
        "2GB;4GB",
        "1,5GB",
        "2e9,5",
        "8Gbit",
    ],
)
def test_what_is_no_amount_of_memory_is_told_with_an_example(text):
    with pytest.raises(UserError, match=f"`memory` is {text}, expected a number with a unit, such as 4GB"):
        parse_memory(text)


@pytest.mark.parametrize("verb", ["reconstruct", "train"])
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("4", "--memory is 4, expected a number with a unit, such as 4GB or 512MiB"),
        ("4XB", "--memory is 4XB, expected a number with a unit"),
        ("-1GB", "--memory is -1GB, expected a number with a unit"),
        ("1MB", "--memory is 1MB, expected at least 1GB: starting alone takes about that"),
        ("100GB", "--memory is 100GB, but the machine has 64.0GB: expected at most that"),
    ],
)
def test_mistakes_are_told_in_one_line(verb, text, told, tmp_path, capsys):
    assert main([verb, f"--memory={text}", "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert told in said
    assert said.count("\n") == 1


def test_every_verb_that_computes_takes_it():
    assert {verb for verb, settings in SECTIONS.items() if "memory" not in settings.model_fields} == {
        "export",
        "report",
    }


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "2000000\n"}, 2_000_000),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "max\n"}, None),
        (
            {
                "proc/self/cgroup": "0::/slurm/job_1/task\n",
                "sys/fs/cgroup/slurm/job_1/memory.max": "3000000\n",
                "sys/fs/cgroup/slurm/job_1/task/memory.max": "max\n",
            },
            3_000_000,
        ),
        (
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/a\n4:memory:/docker/ab\n0::/\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000000\n",
            },
            4_000_000,
        ),
        (
            {
                "proc/self/cgroup": "4:memory:/docker/ab\n",
                "sys/fs/cgroup/memory/docker/ab/memory.limit_in_bytes": "1000000\n",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n",
            },
            1_000_000,
        ),
        ({"proc/self/cgroup": "nonsense"}, None),
        ({}, None),
    ],
)
def test_the_limit_of_a_container_is_that_of_its_groups(files, expected, tmp_path):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    found = usable_memory(tmp_path)
    assert found is not None
    if expected is None:
        assert found == usable_memory(tmp_path / "nowhere")
        assert found.whose == "the machine"
    else:
        assert found == UsableMemory(expected, "the container")


@on_linux
def test_the_memory_of_this_process_is_less_than_that_of_the_machine():
    found = usable_memory()
    assert found is not None
    assert 10**7 < private_memory() < found.n_bytes


def test_there_are_as_many_workers_as_there_is_room_for():
    fits = 3 * CRYSTAL_WORKER + COMMAND
    with use_memory(int(fits)):
        assert workers_to_use(None, 8) == 3
        assert workers_to_use(2, 8) == 2
        assert workers_to_use(8, 1) == 3
        assert workers_to_use(None, 8, each=FORCE_FIELD_WORKER) == 1
    with use_memory(int(fits) - 1):
        assert workers_to_use(None, 8) == 2
    with use_memory(int(COMMAND)):
        assert workers_to_use(None, 8) == 1


def test_memory_that_this_process_holds_already_is_not_given_to_workers(monkeypatch):
    monkeypatch.setattr(memory, "private_memory", lambda: int(2 * COMMAND))
    with use_memory(int(2 * COMMAND + 2 * CRYSTAL_WORKER)):
        assert workers_to_use(None, 8) == 2


def test_a_process_that_holds_more_already_is_told_so(monkeypatch):
    monkeypatch.setattr(memory, "private_memory", lambda: 3 * GB)
    with pytest.raises(
        UserError, match=r"`memory` is 2GB, but this process holds 3\.0GB already: expected at least 3\.3GB"
    ):
        use_memory("2GB").__enter__()
    with use_memory("3.3GB"):
        assert memory_in_force().n_bytes == 3_300_000_000


@on_linux
def test_a_process_that_holds_much_is_told_so_before_a_library_ends_it():
    script = (
        "import numpy as np, repdiff as rd\n"
        "held = np.ones(250_000_000)\n"
        "with rd.use_memory('1.5GB'):\n"
        "    pass\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "UserError: `memory` is 1.5GB, but this process holds 2." in ended.stderr


def test_a_container_leaves_room_for_fewer_workers_unless_they_are_asked_for(monkeypatch, caplog):
    found = UsableMemory(int(COMMAND + 2 * CRYSTAL_WORKER), "the container")
    monkeypatch.setattr(memory, "usable_memory", lambda: found)
    with caplog.at_level("INFO", logger="repdiff"):
        assert [workers_to_use(None, 8) for _ in range(3)] == [2, 2, 2]
    assert [record.message for record in caplog.records] == [
        f"the container has room for 2 of 8 workers of about {CRYSTAL_WORKER / GB:.1f} GB each"
    ]
    assert workers_to_use(8, 1) == 8


def test_nothing_is_limited_where_nobody_knows_how_much_there_is(monkeypatch):
    monkeypatch.setattr(memory, "usable_memory", lambda: None)
    assert memory_in_force() is None
    assert workers_to_use(None, 8) == 8
    with use_memory("1000GB"):
        assert workers_to_use(None, 8) == 8


@on_linux
def test_the_limit_ends_with_the_block(monkeypatch):
    before = resource.getrlimit(resource.RLIMIT_DATA)
    with suppress(ArithmeticError), rd.use_memory("20GB"):
        assert memory_in_force().n_bytes == 20 * GB
        assert resource.getrlimit(resource.RLIMIT_DATA) != before
        raise ArithmeticError
    assert resource.getrlimit(resource.RLIMIT_DATA) == before
    assert memory_in_force().whose == "the machine"


@on_linux
def test_workers_share_what_the_command_leaves_and_have_no_limit_without_one():
    def limits():
        return {answer for _, answer in run_jobs(piece_of_work.limit_of_data, range(4), n_workers=2)}

    with use_memory("4GB"):
        assert limits() == {int((4 * GB - COMMAND) / 2) + int(memory.RESERVED)}
        with rd.use_executor("local"):
            assert limits() == {int((4 * GB - COMMAND) / 2) + int(memory.RESERVED)}
    assert limits() == {resource.RLIM_INFINITY}


@on_linux
def test_a_piece_too_large_for_the_limit_is_named_and_the_rest_goes_on():
    """A piece of 1.8 GB has room only when no other runs; one of 9 GB never has."""
    jobs = [10, 1800, 9000, 20, 30]
    with use_memory("3GB"):
        found = dict(run_jobs(piece_of_work.take, jobs, n_workers=2, instead=lambda job, reason: reason))
    assert found == {10: 10, 1800: 1800, 20: 20, 30: 30, 9000: too_large()}


@on_linux
def test_what_cannot_be_left_out_is_told_once_all_others_are_done():
    done = []
    with use_memory("3GB"):
        jobs = run_jobs(piece_of_work.take, [10, 9000, 20], n_workers=2)
        with pytest.raises(UserError, match=r"1 of 3 pieces .* give more `memory`"):
            deque(map(lambda answer: done.append(answer[0]), jobs), maxlen=0)
    assert sorted(done) == [10, 20]


@pytest.mark.parametrize("n_workers", [1, 2])
def test_of_items_that_are_handed_over_together_only_the_large_one_is_set_aside(n_workers):
    items = [1, 2, 9000, *range(3, 40)]
    with use_memory("5GB"):
        found = map_jobs(
            piece_of_work.take, items, n_workers=n_workers, progress=False, label="x", instead=_named
        )
    assert found == [f"9000: {too_large()}" if item == 9000 else item for item in items]


def _named(item, reason):
    return f"{item}: {reason}"


def test_one_process_sets_a_piece_aside_too():
    def work(job):
        if job == 2:
            raise MemoryError
        return job

    assert dict(run_jobs(work, [1, 2, 3], n_workers=1, instead=lambda job, reason: reason)) == {
        1: 1,
        2: too_large(),
        3: 3,
    }
    with pytest.raises(
        UserError, match="1 of 3 pieces of work were set aside, as a piece of work needs more"
    ):
        list(run_jobs(work, [1, 2, 3], n_workers=1))
    assert issubclass(TooLarge, RuntimeError)


def test_a_command_that_lacks_memory_says_so_in_one_line(tmp_path, capsys, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr("repdiff.commands.encode.run_encode", fail)
    assert main(["encode", "prototypes", "--workspace", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert (
        "memory is not enough; what is finished is kept: give the same command again with more --memory"
        in said
    )
    assert said.count("\n") == 1
