"""Work for tests of workers, in a module of its own: each spawned worker imports it."""

import os
import signal
import time
from pathlib import Path

from errors import InputError


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
