"""Files beside the folders of all cases, which no command has any business with: nothing may read, change or
remove them, whatever a file says.
"""

import hashlib
import os
import sys
from dataclasses import dataclass
from pathlib import Path

READ = "read outside of its folder: "  # what a child says that opens one
LOOKS = (
    "open",
    "os.listdir",
    "os.scandir",
    "os.remove",
    "os.rmdir",
    "os.rename",
    "os.truncate",
    "shutil.rmtree",
)


@dataclass(frozen=True)
class Canary:
    """A folder with an artifact's files, and one below it."""

    folder: Path

    def make(self) -> None:
        for name in ("manifest.json", "database.json", "tokens.bin", "below/kept.txt"):
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}" if path.suffix == ".json" else "kept")

    def state(self) -> dict[str, str]:
        """The hash of every file by its name, and the folders."""
        return {
            str(path.relative_to(self.folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            if path.is_file()
            else "folder"
            for path in sorted(self.folder.rglob("*"))
        }


def watch(folder: str) -> None:
    """From now on this process says what it opens, lists or removes below `folder`."""
    within = os.path.realpath(folder)

    def see(event: str, arguments: tuple) -> None:
        if event in LOOKS and arguments and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if path == within or path.startswith(within + os.sep):
                print(f"{READ}{event} {path}", file=sys.__stderr__, flush=True)

    sys.addaudithook(see)
