"""How long each stage of a run took, and whether it found its work already done. Of many processes the
leader measures.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from processes.start import is_leader


class Stages:
    """Measures stages in order and announces them; one that may reuse has done so when it adds no file under
    `folders`.
    """

    def __init__(self, *folders: Path):
        self._folders = folders
        self.rows: list[dict] = []

    @contextmanager
    def measured(self, stage: str, may_reuse: bool = True) -> Iterator[None]:
        if not is_leader():
            yield
            return
        before, start = self._files(), time.perf_counter()
        yield
        seconds = time.perf_counter() - start
        reused = may_reuse and self._files() == before
        self.rows.append({"stage": stage, "seconds": seconds, "reused": reused})
        print(f"{stage:28s}{seconds:8.1f} s{'  (reused)' if reused else ''}", file=sys.stderr)

    def _files(self) -> set[Path]:
        return {
            path
            for folder in self._folders
            if folder.is_dir()
            for path in folder.rglob("*")
            if path.is_file()
        }
