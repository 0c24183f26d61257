import time
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import active_children

import piece_of_work
import pytest
from tqdm import tqdm

from repdiff.errors import UserError
from repdiff.execution.jobs import engine_in_force, local_processes, map_jobs, run_jobs, using

PREPARED: list[str] = []


def prepare(word):
    PREPARED.append(word)


def square(number):
    return number * number


def fail(number):
    raise ArithmeticError(f"no answer for {number}")


def end_abruptly(number):
    import os

    os._exit(1)


@contextmanager
def threads(n_workers, initializer, initargs):
    """What a cluster has to bring: an executor for the length of a block, and the end of what is not finished."""
    with ThreadPoolExecutor(n_workers, initializer=initializer, initargs=initargs or ()) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


class LastFirst(Executor):
    """Answers nothing before the last job has come, and then the last one first."""

    def __init__(self, n_jobs):
        self.n_jobs, self.waiting = n_jobs, []

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        self.waiting.append((future, fn(*args, **kwargs)))
        if len(self.waiting) == self.n_jobs:
            for one, answer in reversed(self.waiting):
                one.set_result(answer)
        return future


def last_first(n_jobs):
    @contextmanager
    def engine(n_workers, initializer, initargs):
        yield LastFirst(n_jobs)

    return engine


@pytest.mark.parametrize("n_workers", [1, 2])
def test_every_job_has_its_answer_whatever_the_number_of_workers(n_workers):
    assert dict(run_jobs(square, range(5), n_workers=n_workers)) == {n: n * n for n in range(5)}


def test_answers_come_in_order_if_asked_for():
    found = run_jobs(square, [3, 1, 2], n_workers=2, in_order=True, engine=last_first(3))
    assert list(found) == [(3, 9), (1, 1), (2, 4)]


def test_mapped_items_keep_their_order_over_chunks_and_count_on_the_bar(capsys, monkeypatch):
    monkeypatch.setattr("repdiff.execution.progress._kind", lambda: tqdm)  # as on a terminal
    found = map_jobs(square, range(9), n_workers=2, progress=True, label="squares", engine=threads)
    assert found == [n * n for n in range(9)]
    assert "9/9" in capsys.readouterr().err


def test_another_engine_plugs_in_and_its_workers_are_prepared():
    PREPARED.clear()
    jobs = run_jobs(square, range(4), n_workers=2, initializer=prepare, initargs=("word",), engine=threads)
    assert len(list(jobs)) == 4
    assert PREPARED in (["word"], ["word", "word"])


def test_a_failure_reaches_the_caller_with_its_type():
    with pytest.raises(ArithmeticError, match="no answer for"):
        list(run_jobs(fail, range(2), n_workers=2))
    deadline = time.monotonic() + 5
    while any(child.is_alive() for child in active_children()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not any(child.is_alive() for child in active_children())


def test_workers_that_always_end_abruptly_are_told_in_one_line():
    with pytest.raises(UserError, match="use fewer workers"):
        list(run_jobs(end_abruptly, range(2), n_workers=2))


def test_the_piece_of_a_worker_that_died_is_run_again(tmp_path):
    pieces = [str(tmp_path / name) for name in ("a", "b", "c.deadly", "d", "e")]
    assert dict(run_jobs(piece_of_work.deadly_once, pieces, n_workers=2)) == {one: one for one in pieces}
    assert (tmp_path / "c.deadly").exists()


def test_a_piece_that_ends_three_workers_is_set_aside_and_the_rest_goes_on():
    jobs = run_jobs(
        piece_of_work.deadly, range(6), n_workers=2, in_order=True, instead=lambda job, reason: reason
    )
    places, answers = zip(*jobs, strict=True)
    assert places == tuple(range(6))
    assert "3 workers ended" in answers[3]
    assert [answers[n] for n in (0, 1, 2, 4, 5)] == [0, 1, 4, 16, 25]


def test_an_engine_in_force_takes_the_jobs_of_this_process():
    PREPARED.clear()
    with using(threads):
        assert dict(run_jobs(square, range(3), n_workers=2, initializer=prepare, initargs=("x",)))[2] == 4
    assert "x" in PREPARED
    assert engine_in_force() is local_processes
