"""A database or a run from somebody else reads and removes nothing outside of its own folder."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.documents import Document
from errors import InputError
from retrieval.database.changes import add, build, remove
from retrieval.database.database import Database
from retrieval.database.recipe import Recipe
from retrieval.database.version import ARTIFACTS, CURRENT, VERSIONS
from storage.artifacts import MANIFEST, artifact, fingerprint, named
from storage.files import file_hash
from storage.sealed import read_sealed, write_sealed
from studies.prepare import FILE_NAME, Prepared, reopen

RECIPE = Recipe(vocab_size=300, keys="tfidf", spare=2)
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def document(source: str, seed: int) -> Document:
    text = " ".join(np.random.default_rng(seed).choice(WORDS, 60))
    return Document(text, source, "docs", source)


FIRST, LATER = [document(f"first/{n}", n) for n in range(4)], [document("later", 9)]
CHANGES = {
    "search": lambda folder: Database(folder).search(np.zeros([1, 768], np.float32), 1),
    "add": lambda folder: add(folder, LATER),
    "remove": lambda folder: remove(folder, ["first/1"]),
    "build": lambda folder: build(folder, FIRST, RECIPE),
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("foreign") / "database"
    build(folder, FIRST, RECIPE)
    return folder


@pytest.fixture
def copied(built, tmp_path):
    return shutil.copytree(built, tmp_path / "database")


@pytest.fixture
def outside(built, tmp_path):
    """A folder that looks as much like an artifact as it can, and must stay as it is."""
    folder = shutil.copytree(next((built / ARTIFACTS).glob("tokens-*")), tmp_path / "outside")
    before = contents(folder)
    yield folder
    assert contents(folder) == before


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def edit(folder: Path, change) -> None:
    """Changes both files that say what the newest version is."""
    values = json.loads((folder / CURRENT).read_text())
    kept = folder / VERSIONS / f"{values['number']:06d}.json"
    change(values)
    for path in (folder / CURRENT, kept):
        path.write_text(json.dumps(values))


PLACES = {
    "tokenizer": lambda values, name: values.update(tokenizer=name),
    "table": lambda values, name: values.update(table=name),
    "segments[0].store": lambda values, name: values["segments"][0].update(store=name),
    "segments[0].keys[0]": lambda values, name: values["segments"][0]["keys"].__setitem__(0, name),
    "segments[0].index": lambda values, name: values["segments"][0].update(index=name),
    "folder": lambda values, name: values["encoder"]["spec"].update(folder=name),
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("absolute", [False, True])
def test_a_name_in_database_json_is_one_name_below_it(copied, outside, place, command, absolute):
    name = str(outside) if absolute else "../../outside"
    edit(copied, lambda values: PLACES[place](values, name))
    before = contents(copied / ARTIFACTS)
    with pytest.raises(InputError) as caught:
        CHANGES[command](copied)
    assert str(copied / CURRENT) in str(caught.value) and f"{place} is '{name[:20]}" in str(caught.value)
    assert contents(copied / ARTIFACTS) == before


@pytest.mark.parametrize(
    "name", ["../../outside", "..", "tokens-0123456789abcdeg", "", "a/b", "keys-" + "0" * 16]
)
def test_other_names_that_are_none(copied, outside, name):
    edit(copied, lambda values: values["segments"][0].update(store=name))
    with pytest.raises(InputError, match=r"segments\[0\]\.store is '"):
        Database(copied)
    with pytest.raises(InputError, match="cannot be opened: the name is"):
        named(copied, "tokens-/../../../outside")


def replacing(folder: Path, kind: str, replaced: str) -> Path:
    """Makes the table or store of a database one that says it replaced `replaced`, with a name that fits."""
    old = next((folder / ARTIFACTS).glob(f"{kind}-*"))
    manifest = json.loads((old / MANIFEST).read_text())
    manifest["inputs"]["replaced"] = replaced
    new = old.rename(old.with_name(f"{kind}-{fingerprint(manifest['inputs'])}"))
    (new / MANIFEST).write_text(json.dumps(manifest))
    edit(
        folder,
        lambda values: (
            values["segments"][0].update(store=new.name)
            if kind == "tokens"
            else values.update(table=new.name)
        ),
    )
    return new


@pytest.mark.parametrize("kind", ["neighbours", "tokens"])
@pytest.mark.parametrize("command", ["add", "remove", "build"])
@pytest.mark.parametrize("absolute", [False, True])
def test_what_a_manifest_says_was_replaced_is_not_removed_elsewhere(copied, outside, kind, command, absolute):
    manifest = replacing(copied, kind, str(outside) if absolute else "../../outside") / MANIFEST
    before = contents(copied)
    with pytest.raises(InputError) as caught:
        CHANGES[command](copied)
    assert str(manifest) in str(caught.value) and "inputs.replaced is" in str(caught.value)
    assert contents(copied) == before


@pytest.mark.parametrize("command", CHANGES)
@pytest.mark.parametrize("kind", ["tokens", "neighbours"])
def test_a_link_out_of_the_folder_is_not_followed(copied, outside, tmp_path, command, kind):
    folder = next((copied / ARTIFACTS).glob(f"{kind}-*"))
    elsewhere = folder.rename(tmp_path / folder.name)
    folder.symlink_to(elsewhere)
    before = contents(elsewhere)
    if (command, kind) == ("search", "neighbours"):
        CHANGES[command](copied)  # which does not read it
    else:
        with pytest.raises(InputError, match=f"{folder.name} is a link"):
            CHANGES[command](copied)
    assert contents(elsewhere) == before


@pytest.mark.parametrize("kind", ["tokens", "neighbours"])
def test_a_link_to_what_was_replaced_is_not_removed(copied, tmp_path, kind):
    name = f"{kind}-0123456789abcdef"
    replacing(copied, kind, name)
    (tmp_path / "victim").mkdir()
    (copied / ARTIFACTS / name).symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=f"{name} is a link"):
        CHANGES["add"](copied)
    assert (tmp_path / "victim").is_dir()


@pytest.mark.parametrize("name", [ARTIFACTS, VERSIONS])
@pytest.mark.parametrize("command", ["search", "add", "remove"])
def test_a_folder_of_a_database_is_no_link(copied, tmp_path, name, command):
    (copied / name).rename(tmp_path / name)
    (copied / name).symlink_to(tmp_path / name)
    before = contents(tmp_path / name)
    with pytest.raises(InputError, match=f"{name} is a link"):
        CHANGES[command](copied)
    assert contents(tmp_path / name) == before


@pytest.mark.parametrize("command", ["add", "remove", "build"])
def test_a_lock_is_no_link(copied, tmp_path, command):
    (tmp_path / "victim").write_text("kept")
    (copied / ".lock").unlink()
    (copied / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match=r"\.lock.* is a link or a pipe"):
        CHANGES[command](copied)
    assert (tmp_path / "victim").read_text() == "kept"


@pytest.mark.parametrize("command", ["search", "add", "remove"])
def test_a_file_of_an_artifact_is_no_link_and_its_name_no_path(copied, tmp_path, command):
    folder = next((copied / ARTIFACTS).glob("tokens-*"))
    (folder / "tokens.bin").rename(tmp_path / "tokens.bin")
    (folder / "tokens.bin").symlink_to(tmp_path / "tokens.bin")
    with pytest.raises(InputError, match=r"tokens\.bin is missing or damaged"):
        CHANGES[command](copied)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"]["../../../tokens.bin"] = file_hash(tmp_path / "tokens.bin")
    (folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(InputError, match=r"manifest\.json is missing or damaged"):
        CHANGES[command](copied)


def test_an_artifact_is_not_built_through_a_link(tmp_path):
    (tmp_path / "victim").mkdir()
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / f"tokens-{fingerprint({})}").symlink_to(tmp_path / "victim")
    with pytest.raises(InputError, match="is a link"):
        artifact(tmp_path / "root", "tokens", {}, lambda folder: (folder / "x").write_text("x"))
    assert not os.listdir(tmp_path / "victim")


@pytest.mark.parametrize(
    "field", ["tokenizer_name", "store_name", "index_name", "neighbours_name", "tfidf_name"]
)
@pytest.mark.parametrize("name", ["../outside", "/outside", "tokens", 7])
def test_a_name_in_data_json_is_one_name(tmp_path, field, name):
    kinds = ("tokenizer", "tokens", "index", "neighbours")
    names = [f"{kind}-{'0' * 16}" for kind in kinds]
    Prepared(tmp_path, *names, None, "", {}, f"tfidf-{'0' * 16}").save(tmp_path)
    assert reopen(tmp_path).store_name == names[1]
    write_sealed(tmp_path / FILE_NAME, read_sealed(tmp_path / FILE_NAME) | {field: name})
    with pytest.raises(InputError, match=rf"data\.json.*{field} is {name!r}"):
        reopen(tmp_path)
