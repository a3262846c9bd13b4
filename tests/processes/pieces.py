"""Work for tests of workers, in a module of its own: each spawned worker imports it."""

import os
import signal
import time
from pathlib import Path

from errors import InputError
from processes.workers import end_with_parent


class Piece:
    """Work that leaves a file, or ends otherwise at number 2."""

    def __init__(self, job):
        self.folder, self.fate = job

    def make(self, number, progress):
        if number == 2 and self.fate == "bad input":
            raise InputError("the folder is not there.")
        if number == 2 and self.fate == "bug":
            raise ZeroDivisionError("of this test")
        if number == 2 and self.fate == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        while self.fate == "endless":
            progress(1)
            time.sleep(0.05)
        with open(Path(self.folder) / str(number), "x") as file:  # fails where it is made twice
            file.write(str(os.getpid()))
        progress(number)


def trial(folder):
    """What a study starts, here without an end; it writes its number, and once more when it is asked to stop."""
    signal.signal(signal.SIGTERM, lambda number, frame: Path(folder, "stopped").touch() or exit(130))
    end_with_parent()
    Path(folder, "number.partial").write_text(str(os.getpid()))
    Path(folder, "number.partial").rename(Path(folder, "number"))
    time.sleep(600)
