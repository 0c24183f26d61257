"""Ctrl-C and polite kills: one line on stderr and exit code 130, from the first moment on.

This module is imported before anything else of the command line, so it imports nothing heavy.
"""

import os
import signal
import sys
import time
from types import FrameType

INTERRUPTED, KILLED = 130, 143  # exit codes that shells give for SIGINT and SIGTERM
LONGEST_IMPORT = 1.0  # seconds for which an interrupt waits for the end of an import
SECONDS_TO_SAVE = 3.0  # after the parent is gone
IMPORT_SYSTEM = "<frozen importlib"


class Interrupts:
    """What this process does on SIGINT and SIGTERM.

    Before a verb begins its work, a signal ends the process at once. An exception would not do: raised amid the imports
    of large libraries it is swallowed, or turned into another. While a verb works, a signal raises KeyboardInterrupt,
    since there may be something to keep; inside an import it waits for the end of that, a second at most.

    Attributes:
        installed: Whether the signals of this process are handled here.
        raised: Whether KeyboardInterrupt has been raised.
    """

    def __init__(self) -> None:
        self.installed = self.raised = False
        self._working = False
        self._process = 0
        self._asked: float | None = None

    def install(self) -> None:
        """Handle the signals of this process; one that it was started to ignore is still ignored."""
        if self.installed:
            return
        self.installed, self._process = True, os.getpid()
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        if sys.platform != "win32":
            signal.signal(signal.SIGALRM, self._handle)

    def begin_work(self) -> None:
        """Raise KeyboardInterrupt from now on, where the signals are handled here."""
        self._working = True

    def _handle(self, _signal: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:  # a worker that inherited this handler
            os._exit(KILLED)
        if not self._working:
            leave(f"{' '.join(['repdiff', *sys.argv[1:2]])}: interrupted")
        now = time.monotonic()
        self._asked = self._asked or now
        if sys.platform != "win32" and now - self._asked < LONGEST_IMPORT and _importing(frame):
            signal.setitimer(signal.ITIMER_REAL, 0.02)  # comes back here
            return
        self._asked, self.raised = None, True
        raise KeyboardInterrupt


INTERRUPTS = Interrupts()


def leave(message: str = "") -> None:
    """End with code 130 at once, since the orderly end of an interpreter with torch in it takes a second."""
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105 (contextlib would be one import more before the first signal is heeded)
            stream.flush()
        except Exception:  # such as a pipe that nobody reads any more
            pass
    if message:
        os.write(2, f"{message}\n".encode())
    os._exit(INTERRUPTED)


def follow_stdin() -> None:
    """End as if by a polite kill when stdin is closed, which happens when whoever holds its other end is killed."""
    import threading

    def follow() -> None:
        while os.read(0, 1024):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(SECONDS_TO_SAVE)
        os._exit(KILLED)

    threading.Thread(target=follow, daemon=True).start()


def _importing(frame: FrameType | None) -> bool:
    while frame is not None:
        if frame.f_code.co_filename.startswith(IMPORT_SYSTEM):
            return True
        frame = frame.f_back
    return False
