import signal
import threading
import time

import numpy as np
import pytest

from descriptors.jit import Compiled, compiled


def double(values, result):
    for place in range(values.shape[0]):
        result[place] = 2 * values[place]


def test_compiled_loops_run_for_each_kind_of_array():
    loops = compiled(double)
    for kind in (np.float32, np.float64, np.float32):
        result = np.zeros(3, dtype=kind)
        loops(np.array([1.0, 2.0, 3.0], dtype=kind), result)
        assert result.tolist() == [2, 4, 6]


def test_only_a_new_kind_of_arguments_is_handed_to_another_thread():
    threads = []
    loops = Compiled(lambda _: threads.append(threading.current_thread() is threading.main_thread()))
    for values in (np.zeros(2), np.ones(5), np.zeros((2, 2)), np.zeros(2)):
        loops(values)
    assert threads == [False, True, False, True]


def test_an_interrupt_is_heeded_while_another_thread_compiles():
    ended = threading.Event()

    def slow(_):
        time.sleep(1.5)
        ended.set()

    before = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(KeyboardInterrupt):
            Compiled(slow)(np.zeros(1))
        assert not ended.is_set()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert ended.wait(10)


def test_an_error_of_the_loops_reaches_the_caller():
    def wrong(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Compiled(wrong)(np.zeros(1))
