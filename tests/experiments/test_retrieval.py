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
from retrieval.database.database import ARTIFACTS, CURRENT, Database
from retrieval.index.recall import announce
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
    assert "was removed" in fails(capsys, "remove", "--database", copied, "--document", "private.txt")


def test_documents_of_one_source_are_distinct():
    given = [Document(text, "a", "docs", "a") for text in ("x", "y", "x", "z")]
    assert [(d.source, d.text) for d in distinct(given)] == [("a", "x"), ("a (2)", "y"), ("a (3)", "z")]


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
    names = (before.version.tokenizer, "tokens", "index", "neighbours")
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
        (lambda folder: cut(one(folder, "keys-*") / "keys.npy"), "keys.npy are missing or damaged"),
        (lambda folder: cut(one(folder, "tokens-*") / "tokens.bin"), "tokens.bin is missing or damaged"),
        (lambda folder: cut(one(folder, "index-*") / "index.faiss"), "not a readable FAISS index"),
        (lambda folder: (one(folder, "index-*") / "index.faiss").write_text("no"), "not a readable FAISS index"),
        (lambda folder: np.save(one(folder, "keys-*") / "keys.npy", np.zeros([9, 2], np.float32)), "float32 [9, 2]"),
        (lambda folder: faiss.write_index(faiss.IndexFlatL2(7), str(one(folder, "index-*") / "index.faiss")), "different encoders"),
        (lambda folder: edit(folder, encoder={"hash": "0" * 64}), "made by another bert encoder"),
        (lambda folder: edit(folder, encoder={"dimension": 7}), "whose keys have 7"),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_database_is_named(copied, capsys, damage, complaint):
    damage(copied)
    assert complaint in fails(capsys, "search", "--database", copied, "--query", "x")


def test_a_missing_shard_of_a_build_is_made_again(built, copied):
    shutil.rmtree(one(copied, "keys-*"))
    run("build", "--corpus", built[0].parent / "notes", "--out", copied, "--encoder", TINY)
    assert contents(copied) == contents(built[0])


def test_queries_of_another_dimension(copied):
    database = Database(copied)
    with pytest.raises(InputError, match=r"shape \[2, 5\] .* keys have 32"):
        database.search(np.zeros([2, 5], np.float32), 1)


def one(folder: Path, pattern: str) -> Path:
    (path,) = (folder / ARTIFACTS).glob(pattern)
    return path


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def edit(folder: Path, **values) -> None:
    path = folder / CURRENT
    there = json.loads(path.read_text())
    for name, value in values.items():
        there[name] = {**there[name], **value} if isinstance(value, dict) else value
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
