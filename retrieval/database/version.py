"""What database.json says: one version of a database, as the names of the artifacts that it consists of.

The file may be somebody else's, so all of it is checked where it is read: a name of an artifact is no other
path, and what lies in the database's folder is no link out of it.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from errors import InputError
from retrieval.database.recipe import Recipe
from retrieval.index.recall import FORM as RECALL
from retrieval.index.recall import Recall, recall_of
from retrieval.keys.encoders import KeyEncoder
from storage.artifacts import name_of
from storage.files import no_link, write_atomic
from storage.json_files import check, read_json

CURRENT, VERSIONS, ARTIFACTS = "database.json", "versions", "artifacts"
FORMAT = 1
# Of an encoder's spec: where it lies that was made for this database.
FOLDER = "folder"


@dataclass(frozen=True)
class Segment:
    """Documents that came together, by the names of their artifacts: token store, shards of keys, index."""

    store: str
    keys: tuple[str, ...]
    index: str


@dataclass(frozen=True)
class Version:
    """What database.json says.

    number: counts changes from 1. change: build, add or remove. documents: the sources that an add or a
    remove was about. removed: numbers of documents that are not there any more. encoder: the spec, the hash
    and the dimension of what makes keys. table: the neighbour table's artifact. recall: of the index that was
    built; None where it is exact.
    """

    number: int
    change: str
    documents: tuple[str, ...]
    tokenizer: str
    encoder: Mapping[str, Any]
    segments: tuple[Segment, ...]
    table: str
    removed: tuple[int, ...]
    recipe: Recipe
    recall: Recall | None
    format: int = FORMAT

    @property
    def artifacts(self) -> list[str]:
        """The names of all artifacts that it consists of."""
        names = [self.tokenizer, self.table, *(segment.store for segment in self.segments)]
        names += [name for segment in self.segments for name in (segment.index, *segment.keys)]
        names += [self.encoder["spec"].get(FOLDER, "")]
        return [name for name in names if name]  # while a version is made, some are not there yet


def _positive(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 2**31:
        raise ValueError("a whole number from 1 on is due")


def _encoder(spec: Any) -> None:
    forms: dict[str, dict] = {"bert": {"checkpoint": (str, None)}, "tfidf": {FOLDER: name_of("tfidf")}}
    if not isinstance(spec, dict) or spec.get("name") not in forms:
        raise ValueError(f"a record with one of the names {', '.join(forms)} is due")
    form = forms[spec["name"]]
    check(spec, form)
    if unknown := spec.keys() - form.keys() - {"name"}:
        raise ValueError(f"{', '.join(sorted(unknown))} is unknown there")


FORM = {
    "number": _positive, "change": str, "documents": [str], "tokenizer": name_of("tokenizer"),
    "encoder": {"spec": _encoder, "hash": str, "dimension": _positive},
    "segments": [{"store": name_of("tokens"), "keys": [name_of("keys")], "index": name_of("index")}],
    "table": name_of("neighbours"), "removed": [int], "recall": (None, RECALL), "recipe": {},
}  # fmt: skip
RECIPE = {
    "tokenizer": str, "vocab_size": int, "keys": str, "encoder": (str, None), "index": str, "k": _positive,
    "spare": int,
}  # fmt: skip


def described(encoder: KeyEncoder) -> dict[str, Any]:
    """The `encoder` of a Version. What is an artifact is called by its name: a database may move."""
    spec = dict(encoder.spec)
    if FOLDER in spec:
        spec[FOLDER] = Path(spec[FOLDER]).name
    return {"spec": spec, "hash": encoder.hash, "dimension": encoder.dimension}


def read_version(folder: Path, compared: bool = True) -> Version:
    """The newest version of the database in `folder`. compared: with the same version as it is kept.

    Raises:
        InputError: there is none, or it is damaged or of another format.
    """
    path = Path(folder) / CURRENT
    if not path.is_file():
        raise InputError(
            f"There is no database in {folder}: {path} does not exist. Build one from a corpus with this "
            "folder as its output; a build that was stopped resumes when it is started again."
        )
    try:
        version = _version_of(read_json(path))
    except (OSError, ValueError, TypeError) as error:
        raise InputError(
            f"{path} is not a database of this version, or a damaged one ({error}). The last good one lies "
            f"in {path.parent / VERSIONS}: copy it over {path.name}."
        ) from error
    if compared:
        _require_as_kept(path, version.number)
    return version


def _version_of(values: Any) -> Version:
    check(values, {"format": int})
    if values["format"] != FORMAT:
        raise ValueError(f"it is of format {values['format']}, and this version reads {FORMAT}")
    check(values, FORM)
    check(dataclasses.asdict(Recipe()) | values["recipe"], RECIPE, "recipe")  # older ones lack fields
    if not values["segments"] or min(values["removed"], default=0) < 0:
        raise ValueError("there are no segments, or numbers of removed documents below 0")
    segments = tuple(Segment(**{**segment, "keys": tuple(segment["keys"])}) for segment in values["segments"])
    lists = {name: tuple(values[name]) for name in ("documents", "removed")}
    recipe, recall = Recipe(**values["recipe"]), values["recall"] and recall_of(values["recall"])
    return Version(**{**values, **lists, "recipe": recipe, "recall": recall, "segments": segments})


def _require_as_kept(path: Path, number: int) -> None:
    """The newest version stands in two files, of which a damage changes one."""
    versions = own(path.parent, VERSIONS)
    kept = versions / f"{number:06d}.json"
    try:
        if not versions.is_dir() or no_link(kept).read_bytes() == path.read_bytes():
            return
        reason = "they differ"
    except OSError as error:
        reason = f"{error.strerror}"
    raise InputError(
        f"{path} says that it is version {number}, but is not what was kept of it in {kept} ({reason}): one "
        "of the two is damaged. Copy the one that is whole over the other; it names folders that are there."
    )


def write_version(folder: Path, version: Version) -> Version:
    """Makes `version` the current one, and returns it."""
    text = json.dumps(dataclasses.asdict(version), indent=1)
    versions = own(folder, VERSIONS)
    versions.mkdir(exist_ok=True)
    write_atomic(versions / f"{version.number:06d}.json", text)
    write_atomic(folder / CURRENT, text)
    return version


def own(folder: Path, name: str) -> Path:
    """The folder of this name in that of a database.

    Raises:
        InputError: a link lies there, through which files elsewhere would be read, replaced and removed.
    """
    path = Path(folder) / name
    if path.is_symlink():
        raise InputError(
            f"{path} is a link: a database is read and changed in its own folder alone. Put the folder "
            "itself there, or move the whole database and link its folder."
        )
    return path
