"""Pieces of work for the workers of a cluster, which import this module by its name."""

import os
import signal
import time
from pathlib import Path

PREPARED: list[str] = []


def prepare(word: str) -> None:
    """Prepare a worker."""
    PREPARED[:] = [word]


def prepared(_number: int) -> list[str]:
    """Say by what a worker was prepared."""
    return list(PREPARED)


def threads(_number: int) -> int:
    """Say on how many threads torch computes."""
    import torch

    return torch.get_num_threads()


def square(number: int) -> int:
    """Compute something."""
    return number * number


def slow_square(number: int) -> int:
    """Compute something that takes a while."""
    time.sleep(0.02)
    return number * number


def fail(number: int) -> int:
    """Fail as a computation does."""
    raise ArithmeticError(f"no answer for {number}")


def deadly(number: int) -> int:
    """End the worker, if it is given 3."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number * number


def deadly_once(where: str) -> str:
    """End the worker the first time; `where` is a file that remembers it."""
    path = Path(where)
    if path.suffix == ".deadly" and not path.exists():
        path.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return where


def mark_and_wait(where: str) -> None:
    """Leave a mark that a piece was begun, and take a second."""
    Path(where).touch()
    time.sleep(1.0)


def know_the_toy() -> None:
    """Register a force field that takes no time."""
    import toy_force_field

    toy_force_field.register()


def take(megabytes: int) -> int:
    """Take so much memory for a moment, without touching it."""
    import numpy as np

    return np.empty(megabytes * 10**6, dtype=np.uint8).nbytes // 10**6


def limit_of_data(_number: int) -> int:
    """Say how large the data segment of a worker may become, bytes."""
    import resource

    return resource.getrlimit(resource.RLIMIT_DATA)[0]
