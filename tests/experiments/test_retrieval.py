"""The database as a person uses it: build, search, add, remove, and bad input that ends in a paragraph."""

import dataclasses
import json
import shutil
from pathlib import Path

import faiss
import numpy as np
import pytest

from command import command
from data.documents import Document
from data.united import distinct
from errors import InputError
from experiments.retrieval import VERBS, retrieval
from retrieval.database.database import Database
from retrieval.database.version import ARTIFACTS, CURRENT, VERSIONS
from retrieval.index.recall import announce
from storage import artifacts
from studies.prepare import Prepared
from tests.data.foreign_tokenizer import foreign_model
from tests.retrieval.test_killed_changes import contents

TINY = str(Path(__file__).parents[1] / "models/bert/tiny")
NOTES = {
    "ties.txt": "Equal distances are ordered by the number of the chunk, the smaller one first. " * 6,
    "masks.md": "A neighbour that is missing is masked, so that cross-attention never looks at it. " * 6,
    "shards.py": "def shards(total):\n    return range(0, total, 4096)\n" * 9,
}
LATER = {"private.txt": "The combination of the safe is 31-17-42, and nobody else may know of it. " * 7}


def run(*arguments) -> None:
    command(retrieval, VERBS, "", [*map(str, arguments)])


def fails(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        run(*arguments)
    assert stopped.value.code == 2
    message = capsys.readouterr().err.split("error: ")[-1].strip()
    assert "\n\n" not in message and len(message) > 40
    return message


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(folder of the database, folder of more text)."""
    folder = tmp_path_factory.mktemp("retrieval")
    for name, texts in (("notes", NOTES), ("later", LATER)):
        (folder / name).mkdir()
        for file, text in texts.items():
            (folder / name / file).write_text(text)
    run("build", "--corpus", folder / "notes", "--out", folder / "database", "--encoder", TINY)
    return folder / "database", folder / "later"


@pytest.fixture
def copied(built, tmp_path):
    return shutil.copytree(built[0], tmp_path / "database")


def test_search_add_and_remove(copied, built, capsys):
    private = LATER["private.txt"][:150]
    search = ["search", "--database", copied, "--query", private, "--neighbours", "3"]
    run("add", "--database", copied, "--corpus", built[1])
    assert "version 2, 4 documents" in capsys.readouterr().out
    run(*search)
    found = capsys.readouterr().out
    assert "private.txt" in found and "31-17-42" in found.split("distance  ")[1]
    run("add", "--database", copied, "--corpus", built[1])
    assert "nothing is changed" in capsys.readouterr().out
    run("remove", "--database", copied, "--document", "private.txt")
    assert "version 3, 3 documents, 1 removed" in capsys.readouterr().out
    run(*search)
    found = capsys.readouterr().out.split("distance  ")[1]
    assert "private.txt" not in found and "31-17-42" not in found
    assert sum(found.count(name) for name in NOTES) == 3
    run("remove", "--database", copied, "--document", "private.txt")
    assert "version 3, 3 documents, 1 removed" in capsys.readouterr().out
    run("remove", "--database", copied, "--document", "ties.txt")
    assert "was removed" in fails(capsys, "remove", "--database", copied, "--document", "private.txt")


def test_verify_names_every_file_that_is_not_as_it_was_made(copied, capsys, monkeypatch):
    """However large it is."""
    monkeypatch.setattr(artifacts, "ALWAYS_COMPARED", 0)
    run("verify", "--database", copied)
    assert "All 5 artifacts are whole" in capsys.readouterr().out
    damaged = [one(copied, "keys-*") / "keys.npy", one(copied, "neighbours-*") / "ids.npy"]
    for path in damaged:
        flip(path)
    run("search", "--database", copied, "--query", "x")
    message = fails(capsys, "verify", "--database", copied)
    assert "2 files are missing or damaged" in message and all(str(path) in message for path in damaged)


def test_verify_of_a_run(built, tmp_path, capsys):
    shutil.copytree(built[0], tmp_path / "database")
    before = Database(tmp_path / "database").version
    segment = before.segments[0]
    names = (before.tokenizer, segment.store, segment.index, before.table)
    Prepared(tmp_path / "database" / ARTIFACTS, *names, None, "", {}).save(tmp_path)
    run("verify", "--run", tmp_path)
    assert "4 artifacts are whole" in capsys.readouterr().out
    flip(one(tmp_path / "database", "tokens-*") / "num_bytes.npy")
    assert "num_bytes.npy is missing or damaged" in fails(capsys, "verify", "--run", tmp_path)


def test_names_and_texts_are_escaped_where_a_terminal_would_obey_them(tmp_path, capsys):
    folder = tmp_path / "notes\x1b]0;title\x07"
    folder.mkdir()
    for name in ("plain.txt", "a\x1b[31mred\n.txt"):
        (folder / name).write_text("alpha \x1b[2J beta\x9b31m gamma\u202e delta " * 20 + name)
    run("build", "--corpus", folder, "--out", folder / "database", "--keys", "tfidf")
    run("search", "--database", folder / "database", "--query", "alpha \x1b[2J gamma")
    run("remove", "--database", folder / "database", "--document", "a\x1b[31mred\n.txt")
    printed = "".join(capsys.readouterr())
    printed += fails(capsys, "remove", "--database", folder / "database", "--document", "\x1b[31m")
    printed += fails(capsys, "search", "--database", folder / "\x1b[31m", "--query", "x")
    run("search", "--database", folder / "database", "--query", "\x1b]")
    printed += "".join(capsys.readouterr())
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(printed)


def test_what_is_searched_for_is_shown_escaped_and_found(tmp_path, capsys):
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a\x1b[31mred\n.txt").write_text("alpha \x1b[2J beta " * 20)
    run("build", "--corpus", tmp_path / "notes", "--out", tmp_path / "database", "--keys", "tfidf")
    capsys.readouterr()
    run("search", "--database", tmp_path / "database", "--query", "alpha \x1b[2J")
    printed = capsys.readouterr().out
    assert "a\\x1b[31mred\\n.txt" in printed and "alpha \\x1b[2J" in printed


def test_documents_of_one_source_are_distinct():
    given = [Document(text, "a", "docs", "a") for text in ("x", "y", "x", "z")]
    assert [(d.source, d.text) for d in distinct(given)] == [("a", "x"), ("a (2)", "y"), ("a (3)", "z")]
    assert (
        [d.group for d in distinct(given)] == [d.package for d in distinct(given)] == ["a", "a (2)", "a (3)"]
    )


def test_files_of_one_name_in_two_folders_are_neighbours_and_are_known_again(tmp_path, capsys):
    """Each by its text, whichever folder is given, and a third one is refused."""
    for name, words in (("x", "alpha beta gamma"), ("y", "alpha beta delta"), ("z", "eta")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "README.md").write_text(" ".join([f"{words} {n}" for n in range(40)]))
    x, y, z = (tmp_path / name for name in "xyz")
    run("build", "--corpus", x, "--corpus", y, "--out", tmp_path / "database", "--keys", "tfidf")
    database = Database(tmp_path / "database")
    assert database.documents.sources == ("README.md", "README.md (2)")
    documents = database.documents.chunk_documents(database.table[1][:, 0])
    np.testing.assert_array_equal(
        documents, 1 - database.documents.chunk_documents(np.arange(len(documents)))
    )
    for folders in ((x,), (y,), (y, x)):
        given = [argument for folder in folders for argument in ("--corpus", folder)]
        run("add", "--database", tmp_path / "database", *given)
        assert "nothing is changed" in capsys.readouterr().out
    message = fails(capsys, "add", "--database", tmp_path / "database", "--corpus", z)
    assert "document README.md with another text" in message and "give the folder above it" in message


def test_a_file_that_was_cut_is_replaced_as_a_whole(tmp_path, capsys):
    """Whether it is cut before, after, or both, nothing of its old text stays beside the new."""
    folder, database = tmp_path / "notes", tmp_path / "database"
    folder.mkdir()
    short, long, longer = (
        f"alpha {name} beta\n\n" * count for name, count in (("a", 9), ("b", 5000), ("b", 9000))
    )
    (folder / "private.txt").write_text(long)
    run("build", "--corpus", folder, "--out", database, "--keys", "tfidf", "--vocab-size", "300")
    capsys.readouterr()
    for text, parts in ((short, 1), (longer, 2), (short, 1)):
        (folder / "private.txt").write_text(text)
        assert "document private.txt" in fails(capsys, "add", "--database", database, "--corpus", folder)
        run("remove", "--database", database, "--document", "private.txt")
        assert ", 0 documents" in capsys.readouterr().out
        run("add", "--database", database, "--corpus", folder)
        assert f", {parts} documents" in capsys.readouterr().out


def test_the_same_command_reuses_everything(built, capsys):
    before = contents(built[0])
    run("build", "--corpus", built[0].parent / "notes", "--out", built[0], "--encoder", TINY)
    assert contents(built[0]) == before
    assert capsys.readouterr().err.count("(reused)") >= 4


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["search"], "--query is empty"),
        (["search", "--query", " \n "], "--query is empty"),
        (["search", "--query", "x", "--neighbours", "0"], "--neighbours 0"),
        (["search", "--query", "x", "--neighbours", "9" * 30], "give a number below 2^63"),
        (["search", "--query", "fine", "--query", "ab\udcff"], "character 2 is '\\udcff'"),
        (["search", "--query", "x", "--database", "nowhere"], "no database in nowhere"),
        (["add"], "--corpus is missing"),
        (["add", "--corpus", "nowhere.txt"], "nowhere.txt"),
        (["remove"], "--document is missing"),
        (["remove", "--document", "tie.txt"], "Close to it: ties.txt"),
        (
            ["build", "--corpus", "README.md", "--keys", "bert", "--vocab-size", "77"],
            "holds a run of another",
        ),
        (["build", "--corpus", "README.md", "--workers", "0"], "--workers 0"),
        (["build", "--corpus", "README.md", "--neighbours", "1001"], "of at most 1,000"),
        (["build", "--corpus", "README.md", "--vocab-size", "5000000"], "of at most 4,194,304"),
        (["build", "--corpus", "README.md", "--vocab-size", "9" * 30], "give a number below 2^63"),
        (["build", "--corpus", "README.md", "--corpus-bytes", "-1"], "--corpus-bytes -1"),
    ],
)
def test_bad_options(built, capsys, arguments, complaint):
    folder = "--out" if arguments[0] == "build" else "--database"
    given = [] if "--database" in arguments else [folder, built[0]]
    before = contents(built[0])
    assert complaint in fails(capsys, *arguments, *given)
    assert contents(built[0]) == before


def test_the_tokenizer_of_a_run(built, tmp_path):
    before = Database(built[0])
    run_folder = tmp_path / "run"
    run_folder.mkdir()
    names = (before.version.tokenizer, before.version.segments[0].store, before.version.segments[0].index)
    names += (before.version.table,)
    Prepared(built[0] / ARTIFACTS, *names, encoder=TINY, corpus_hash="", skipped={}).save(run_folder)
    arguments = ["--corpus", built[1], "--out", tmp_path / "database", "--encoder", TINY]
    run("build", *arguments, "--tokenizer", run_folder)
    assert Database(tmp_path / "database").tokenizer.hash == before.tokenizer.hash


def test_a_tokenizer_that_cannot_be_used_leaves_the_folder_free(tmp_path, capsys):
    model = foreign_model(tmp_path / "t5.model", "some words " * 30, 40, bos_id=-1)
    arguments = ("build", "--corpus", "README.md", "--out", tmp_path / "database")
    assert "t5.model has no bos_id" in fails(capsys, *arguments, "--tokenizer", model)
    assert not (tmp_path / "database").exists()


def test_another_tokenizer_that_is_none(tmp_path, capsys):
    complaint = fails(capsys, "build", "--corpus", "README.md", "--out", tmp_path, "--tokenizer", "README.md")
    assert "not a readable SentencePiece model" in complaint


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: (folder / CURRENT).write_text('{"format": 1}'), "not a database of this version"),
        (lambda folder: (folder / CURRENT).write_text("[]"), "not a database of this version"),
        (lambda folder: edit(folder, format=7), "of format 7"),
        (lambda folder: shutil.rmtree(one(folder, "keys-*")), "is missing"),
        (lambda folder: shutil.rmtree(one(folder, "index-*")), "is missing"),
        (lambda folder: shutil.rmtree(one(folder, "tokens-*")), "is missing"),
        (lambda folder: cut(one(folder, "keys-*") / "keys.npy"), "keys.npy is missing or damaged"),
        (lambda folder: cut(one(folder, "tokens-*") / "tokens.bin"), "tokens.bin is missing or damaged"),
        (lambda folder: cut(one(folder, "index-*") / "index.faiss"), "index.faiss is missing or damaged"),
        (lambda folder: edit(folder, encoder={"hash": "0" * 64}), "made by another bert encoder"),
        (lambda folder: edit(folder, encoder={"dimension": 7}), "whose keys have 7"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_database_is_named(copied, capsys, damage, complaint):
    damage(copied)
    assert complaint in fails(capsys, "search", "--database", copied, "--query", "x")


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda folder: cut(one(folder, "keys-*") / "keys.npy"), "keys.npy are missing or damaged"),
        (lambda folder: cut(one(folder, "tokens-*") / "tokens.bin"), "cannot be used: tokens.bin"),
        (lambda folder: np.save(one(folder, "keys-*") / "keys.npy", np.zeros([9, 2], np.float32)), "float32 [9, 2]"),
        (lambda folder: np.save(one(folder, "keys-*") / "keys.npy", np.zeros([9, 32], np.float32)), "9 keys for 17 chunks"),
        (lambda folder: faiss.write_index(faiss.IndexFlatL2(7), str(one(folder, "index-*") / "index.faiss")), "index.faiss is missing or damaged"),
    ],
)  # fmt: skip
def test_files_that_are_too_large_to_be_hashed_are_checked_by_their_size(
    copied, capsys, monkeypatch, damage, complaint
):
    monkeypatch.setattr(artifacts, "ALWAYS_COMPARED", 0)
    damage(copied)
    assert complaint in fails(capsys, "search", "--database", copied, "--query", "x")


def test_a_missing_shard_of_a_build_is_made_again(built, copied):
    shutil.rmtree(one(copied, "keys-*"))
    run("build", "--corpus", built[0].parent / "notes", "--out", copied, "--encoder", TINY)
    assert contents(copied) == contents(built[0])


def test_more_neighbours_than_chunks_are_all_chunks(built, capsys):
    run("search", "--database", built[0], "--query", "x", "--neighbours", 2**62)
    assert (
        sum(line.split()[1:2] in [[name] for name in NOTES] for line in capsys.readouterr().out.split("\n"))
        == 17
    )


@pytest.mark.parametrize("factory", ["NSG8,Flat", "HNSW0", "IVF4,PQ4x0", "LSH"])
def test_an_index_that_faiss_would_fail_at_is_refused_before_anything_is_made(tmp_path, capsys, factory):
    arguments = ["--corpus", "README.md", "--out", tmp_path / "database", "--encoder", TINY]
    assert f"The index '{factory}'" in fails(capsys, "build", *arguments, "--index", factory)
    assert not list((tmp_path / "database").glob("artifacts/*"))


def test_an_index_that_is_not_for_these_keys_is_refused_before_keys_are_made(tmp_path, capsys):
    arguments = ["--corpus", "README.md", "--out", tmp_path / "database", "--encoder", TINY]
    assert "multiple of the" in fails(capsys, "build", *arguments, "--index", "IVF4,PQ5")
    assert not list((tmp_path / "database").glob("artifacts/keys-*"))


def test_queries_of_another_dimension(copied):
    database = Database(copied)
    with pytest.raises(InputError, match=r"shape \[2, 5\] .* keys have 32"):
        database.search(np.zeros([2, 5], np.float32), 1)


def one(folder: Path, pattern: str) -> Path:
    (path,) = (folder / ARTIFACTS).glob(pattern)
    return path


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(folder: Path, **values) -> None:
    """Changes what both files of the newest version say, as another's database would have it."""
    there = json.loads((folder / CURRENT).read_text())
    kept = folder / VERSIONS / f"{there['number']:06d}.json"
    for name, value in values.items():
        there[name] = {**there[name], **value} if isinstance(value, dict) else value
    for path in (folder / CURRENT, kept):
        path.write_text(json.dumps(there))


def test_recall_is_measured_kept_and_printed_and_a_poor_one_is_warned_about(built, tmp_path, capsys):
    arguments = ["--corpus", built[0].parent / "notes", "--out", tmp_path, "--encoder", TINY]
    run("build", *arguments, "--index", "IVF1,PQ1x1")
    said, (printed, warned) = Database(tmp_path).version.recall, capsys.readouterr()
    assert said.k == 2 and said.queries == 17 and 0 < said.reranked <= 1 and said.curve
    assert f"recall@2 {said.reranked:.3f}" in printed
    assert "Warning" not in warned
    announce(dataclasses.replace(said, reranked=0.89))
    assert "Warning: the index finds only 89%" in capsys.readouterr().err
    assert Database(built[0]).version.recall is None  # exact
