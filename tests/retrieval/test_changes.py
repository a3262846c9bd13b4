"""A database that is built, added to and removed from finds what a search of everything finds, and nothing
that was removed."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from data.documents import Document
from errors import InputError
from retrieval.chunks import chunk_text
from retrieval.database.changes import add, build, remove
from retrieval.database.database import Database
from retrieval.database.recipe import Recipe
from retrieval.database.version import CURRENT, VERSIONS, read_version, write_version
from retrieval.neighbours.table import read_rows
from tests.data.foreign_tokenizer import foreign_model

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
RECIPE = Recipe(vocab_size=300, encoder=TINY, index="Flat", spare=3)
WORDS = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu".split()


def document(source: str, words: int, seed: int) -> Document:
    text = " ".join(np.random.default_rng(seed).choice(WORDS, words))
    return Document(text, source, "docs", source)


FIRST = [document(f"first/{n}", 40 + 10 * n, n) for n in range(6)]
LATER = [document(f"later/{n}", 30 + 15 * n, 100 + n) for n in range(3)]
# The text of one that is there already, and a new one that is not.
LATER.append(Document(FIRST[0].text, "later/copy", "docs", "later/copy"))


REMOVED = ["first/1", "later/2"]


@pytest.fixture(scope="module")
def changed(tmp_path_factory):
    """A folder that was built, added to and removed from, and the versions on the way."""
    folder = tmp_path_factory.mktemp("database")
    versions = [build(folder, FIRST, RECIPE)]
    versions.append(add(folder, LATER))
    versions.append(remove(folder, REMOVED))
    return folder, versions


def brute_force(database: Database, queries_qd: np.ndarray, k: int, groups_q=None):
    """(distances, ids) of the k nearest chunks that are not removed, nor of the query's group."""
    keys_nd = database.keys[:]
    squared_qn = ((queries_qd[:, None] - keys_nd[None]) ** 2).sum(-1)
    squared_qn[:, database.removed_chunks] = np.inf
    if groups_q is not None:
        groups_n = database.documents.groups[database.documents.chunk_documents(np.arange(len(keys_nd)))]
        squared_qn[groups_q[:, None] == groups_n] = np.inf
    ids = np.argsort(squared_qn, axis=1, kind="stable")[:, :k]
    distances = np.take_along_axis(squared_qn, ids, axis=1)
    return distances, np.where(np.isinf(distances), -1, ids)


def test_removing_needs_no_padding_in_the_vocabulary(tmp_path):
    """A SentencePiece model of one's own has none, unless it was asked for."""
    model = foreign_model(tmp_path / "model", FIRST[0].text, 60)
    build(tmp_path / "database", FIRST, dataclasses.replace(RECIPE, tokenizer=str(model)))
    remove(tmp_path / "database", ["first/1"])
    database = Database(tmp_path / "database")
    assert database.documents.pad_id == -1 and "first/1" not in database.present
    assert not database.tokenizer.decode(database.documents.document_tokens(1))


def test_ids_and_texts_of_what_stays_do_not_change(changed):
    folder, (built, added, _) = changed
    built, added, database = (Database(folder, version) for version in (built, added, read_version(folder)))
    first = built.version.segments[0]
    assert added.version.segments[0] == first and added.version.number == 2
    after = database.documents
    ids = np.setdiff1d(np.arange(after.chunk_offsets[-1]), database.removed_chunks)
    texts = {}
    for chunk in ids:
        source = after.sources[after.chunk_documents(chunk)]
        texts[source] = texts.get(source, "") + chunk_text(after, database.tokenizer, chunk)
    assert texts == {d.source: d.text for d in FIRST + LATER if d.source not in REMOVED}
    np.testing.assert_array_equal(after.chunk_offsets[: len(FIRST) + 1], after.stores[0].chunk_offsets)


def test_search_finds_what_is_nearest_of_all_that_is_there(changed):
    database = Database(changed[0])
    queries_qd = np.concatenate([database.keys[:], database.encoder.encode(["alpha", "beta mu " * 30])])
    for k in (1, 5, len(database.keys)):
        expected = brute_force(database, queries_qd, k)
        for ours, theirs in zip(database.search(queries_qd, k), expected):
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_the_table_is_that_of_a_search_of_all_that_is_there(changed):
    database = Database(changed[0])
    distances, ids = read_rows(database.artifact(database.version.table))
    keys_nd, gone = database.keys[:], database.removed_chunks
    expected, _ = brute_force(database, keys_nd, RECIPE.k + RECIPE.spare, database.groups)
    expected[gone] = np.inf
    np.testing.assert_allclose(distances, expected, rtol=1e-4, atol=1e-4)
    rows, columns = np.nonzero(np.isfinite(distances))
    neighbours = ids[rows, columns]
    own = ((keys_nd[rows] - keys_nd[neighbours]) ** 2).sum(-1)
    np.testing.assert_allclose(own, distances[rows, columns], rtol=1e-4, atol=1e-4)
    assert (database.groups[rows] != database.groups[neighbours]).all() and not np.isin(
        neighbours, gone
    ).any()
    assert (ids[~np.isfinite(distances)] == -1).all()


def test_what_was_removed_is_never_retrieved_again(changed):
    """Nor is its text anywhere in the folder."""
    folder, (_, added, _) = changed
    database = Database(folder)
    removed = np.flatnonzero([source in REMOVED for source in database.documents.sources])
    chunks = database.documents.document_chunks(removed)
    assert len(chunks) > 4
    np.testing.assert_array_equal(np.sort(chunks), np.sort(database.removed_chunks))
    _, everything = database.search(database.keys[chunks], len(database.keys))
    assert not np.isin(everything, chunks).any() and (everything >= 0).any()
    assert not np.isin(read_rows(database.artifact(database.version.table))[1], chunks).any()
    tokenizer = database.tokenizer
    for gone in (d for d in FIRST + LATER if d.source in REMOVED):
        stored = tokenizer.encode(gone.text).astype("<u2").tobytes()
        files = [path for path in folder.rglob("*") if path.is_file()]
        assert not any(
            stored in path.read_bytes() or gone.text.encode() in path.read_bytes() for path in files
        )
    tokens, inside = database.documents.window(chunks, 128)
    assert (tokens == database.documents.pad_id).all()


def test_a_copy_of_a_text_is_of_its_group(changed):
    documents = Database(changed[0]).documents
    copy, original = documents.sources.index("later/copy"), documents.sources.index("first/0")
    assert documents.groups[copy] == documents.groups[original]
    assert len(set(documents.groups)) == documents.num_documents - 1


def test_every_version_is_kept(changed):
    folder, versions = changed
    kept = sorted((folder / VERSIONS).iterdir())
    assert [json.loads(path.read_text())["change"] for path in kept] == ["build", "add", "remove"]
    assert kept[-1].read_bytes() == (folder / CURRENT).read_bytes()
    assert read_version(folder) == versions[-1]


@pytest.mark.parametrize("file", [CURRENT, f"{VERSIONS}/000003.json"])
@pytest.mark.parametrize(
    "damage", [b'"number": 3|"number": 1', b"first/1|first/3", b'"k": 2|"k": 3', b"removed|removep"]
)
def test_the_newest_version_is_compared_with_what_was_kept_of_it(changed, tmp_path, file, damage):
    """A number of another bit would bring back what was removed, or remove another document."""
    folder = shutil.copytree(changed[0], tmp_path / "copy")
    was, becomes = damage.split(b"|")
    content = (folder / file).read_bytes()
    assert was in content
    (folder / file).write_bytes(content.replace(was, becomes))
    for change in (Database, lambda folder: add(folder, FIRST), lambda folder: remove(folder, ["first/2"])):
        with pytest.raises(InputError, match=r"database\.json (says that it is version|is not a database)"):
            change(folder)
    (folder / file).write_bytes(content)
    shutil.rmtree(folder / VERSIONS)
    assert Database(folder).version == changed[1][-1], "who keeps no versions has none to compare with"


def test_adding_what_is_there_changes_nothing(changed):
    folder, versions = changed
    there = [d for d in FIRST + LATER if d.source not in REMOVED]
    assert add(folder, there) == versions[-1]


def test_bad_changes_are_refused_and_change_nothing(changed):
    folder, _ = changed
    before = contents(folder)
    for change, message in (
        (lambda: remove(folder, ["first/1"]), "first/1 was removed .* before"),
        (lambda: remove(folder, [*REMOVED, "first/2"]), "first/1 was removed .* before"),
        (lambda: remove(folder, ["first/0", "first/11"]), "no document first/11. Close to it: first/"),
        (
            lambda: add(folder, [document("new", 20, 7), document("first/0", 20, 8)]),
            "first/0 with another text",
        ),
        (lambda: build(folder, FIRST, RECIPE), "at version 3: building it again would undo"),
    ):
        with pytest.raises(InputError, match=message):
            change()
        assert contents(folder) == before


def test_a_removed_document_may_come_back_under_new_ids(changed, tmp_path):
    folder = shutil.copytree(changed[0], tmp_path / "copy")
    before = Database(folder).documents.chunk_offsets[-1]
    add(folder, [d for d in FIRST if d.source == "first/1"])
    database = Database(folder)
    _, ids = database.search(database.keys[before:], 1)
    assert (ids >= before).all() and database.version.number == 4


def test_a_removal_that_was_killed_after_the_switch_is_finished_by_the_same_command(
    changed, tmp_path, monkeypatch
):
    folder, whole = (shutil.copytree(changed[0], tmp_path / name) for name in ("killed", "whole"))
    remove(whole, ["first/2"])

    def killed(*switch):
        write_version(*switch)
        raise SystemExit(9)

    monkeypatch.setattr("retrieval.database.changes.write_version", killed)
    with pytest.raises(SystemExit):
        remove(folder, ["first/2"])
    monkeypatch.undo()
    assert read_version(folder).number == 4 and contents(folder) != contents(whole)
    for _ in range(2):
        assert remove(folder, ["first/2"]).number == 4
        assert contents(folder) == contents(whole)


def test_what_was_added_alone_may_be_removed_and_come_back_again_and_again(changed, tmp_path):
    """As it was, it is in a store of the same name as the one that was overwritten."""
    folder, again = shutil.copytree(changed[0], tmp_path / "copy"), [document("again", 90, 77)]
    held = len(Database(folder).present)
    for _ in range(2):
        add(folder, again)
        assert len(Database(folder, thorough=True).present) == held + 1
        Database(folder).require_whole()
        remove(folder, ["again"])
        database = Database(folder)
        database.require_whole()
        stored = database.tokenizer.encode(again[0].text).astype("<u2").tobytes()
        assert not any(stored in content for content in contents(folder).values())


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_keys_by_tfidf_go_where_the_folder_goes(tmp_path):
    build(tmp_path / "here", FIRST, dataclasses.replace(RECIPE, keys="tfidf"))
    shutil.move(tmp_path / "here", tmp_path / "there")
    add(tmp_path / "there", LATER)
    database = Database(tmp_path / "there")
    assert database.encoder.name == "tfidf"
    chunks = np.arange(len(database.keys))
    texts = [chunk_text(database.documents, database.tokenizer, chunk) for chunk in chunks]
    distances, ids = database.search(database.encoder.encode(texts), 2)
    own = ids[:, 0] == chunks  # or the copy of it
    assert own.mean() > 0.8 and np.allclose(distances[:, 0], 0, atol=1e-5)


def test_a_file_that_was_cut_into_several_documents_is_removed_by_its_name(tmp_path):
    parts = [document(f"long.txt:{n}", 70, n) for n in range(3)]
    others = [document(name, 70, 9 + n) for n, name in enumerate(("long.txt.old", "a/long.txt", "other"))]
    build(tmp_path, parts + others, RECIPE)
    version = remove(tmp_path, ["long.txt"])
    assert version.documents == tuple(part.source for part in parts)
    assert list(Database(tmp_path).present) == [other.source for other in others]
    assert remove(tmp_path, ["long.txt"]) == version
    with pytest.raises(InputError, match="no document long"):
        remove(tmp_path, ["long"])
