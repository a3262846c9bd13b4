"""Corpora: every kind of file becomes documents, and what cannot be read is counted, never fatal."""

import gzip
import json
import os
import sys
import tempfile
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from data.corpora import _bytes, announce, load_corpus
from data.documents import Document, in_turns
from data.split import split_by_package
from data.token_store import TokenStore, write_token_store
from errors import InputError
from tests.data.byte_tokenizer import ByteTokenizer

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=3,
)


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())


def described(corpus):
    return [(document.source, document.domain, document.text) for document in corpus.documents]


def test_a_folder_of_everything(tmp_path):
    write(
        tmp_path,
        {
            "b.txt": "plain\r\ntext",
            "a/readme.md": "# Größe",
            "a/code.py": "x = 1\n",
            "a/packed.rs.gz": gzip.compress(b"fn main() {}"),
            "bom.rst": b"\xef\xbb\xbfmarked",
            "z.jsonl": '{"text": "one", "title": "t"}\n\n{"question": "q", "n": 1, "answer": "a"}\n',
            ".git/config.txt": "hidden",
            ".hidden.txt": "hidden",
        },
    )
    corpus = load_corpus(str(tmp_path))
    assert described(corpus) == [
        ("a/code.py", "code", "x = 1\n"),
        ("a/packed.rs.gz", "code", "fn main() {}"),
        ("a/readme.md", "docs", "# Größe"),
        ("b.txt", "docs", "plain\r\ntext"),
        ("bom.rst", "docs", "marked"),
        ("z.jsonl:1", "docs", "one"),
        ("z.jsonl:3", "docs", "q\n\na"),
    ]
    assert corpus.skipped == {}
    assert all(document.group == document.source for document in corpus.documents)


def test_what_cannot_be_read_is_counted_by_reason(tmp_path):
    write(
        tmp_path,
        {
            "good.txt": "text",
            "image.png": b"\x89PNG",
            "noise.txt": b"\x00\xff\xfe",
            "nul.py": b"x\x00y",
            "latin.txt": "Größe".encode("latin-1"),
            "empty.md": "",
            "blank.md": " \n",
            "broken.txt.gz": b"no gzip at all",
            "cut.txt.gz": gzip.compress(b"text " * 1000)[:-20],
            "lines.jsonl": '{"text": "kept"}\n{"text": \n[1]\n{"n": 1}\n{"text": "\\ud800"}\n',
        },
    )
    corpus = load_corpus(str(tmp_path))
    assert [document.source for document in corpus.documents] == ["good.txt", "lines.jsonl:1"]
    assert corpus.skipped == {
        "unknown suffix": 1,
        "binary": 2,
        "invalid UTF-8": 2,
        "empty": 3,
        "unreadable": 2,
        "broken JSON line": 2,
    }


def test_a_field_text_decides_whatever_it_holds(tmp_path):
    """What stands beside it, an id and an address, is not the record's text."""
    others = {"id": "r1", "url": "https://example.org/1"}
    values = [None, "", 7, 1.5, True, ["a list"], {"a": "record"}, "the text"]
    lines = [json.dumps(others | {"text": value}) for value in values]
    lines += [json.dumps({"text": value} | others) for value in values] + [json.dumps(others)]
    lines.append('{"text": ' + 100_000 * "[")
    write(tmp_path, {"n.jsonl": "\n".join(lines)})
    corpus = load_corpus(str(tmp_path))
    assert [document.text for document in corpus.documents] == [
        "the text",
        "the text",
        "r1\n\nhttps://example.org/1",
    ]
    assert corpus.skipped == {"empty": 4, "text that is no string": 10, "broken JSON line": 1}


@settings(max_examples=40)
@given(st.dictionaries(st.sampled_from(["text", "id", "url"]), json_values))
def test_any_record_is_its_text_or_is_counted(record):
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder), {"a.jsonl": json.dumps(record), "other.txt": "other"})
        corpus = load_corpus(folder)
    read = [document.text for document in corpus.documents if document.source != "other.txt"]
    assert len(read) + sum(corpus.skipped.values()) == 1
    if "text" in record:
        assert read in ([], [record["text"]])


file_names = st.binary(min_size=1, max_size=20).filter(
    lambda name: not name.startswith(b".") and not {0, 47} & {*name}
)


@pytest.mark.skipif(sys.platform != "linux", reason="names are any bytes on Linux alone")
@settings(max_examples=50)
@given(st.lists(file_names, min_size=2, max_size=4, unique=True))
@example([b"caf\xe9", b"caf\\xe9", "caf\xe9".encode()])
def test_files_of_any_name_are_read_split_and_stored(names):
    """Where the name is no UTF-8, its bytes are shown escaped."""
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            Path(folder, os.fsdecode(name + b".txt")).write_text(f"text of {name.hex()}")
        corpus = load_corpus(folder, max_bytes=1000)
        sources = {document.text: document.source for document in corpus.documents}
        assert sources == {
            f"text of {name.hex()}": name.decode(errors="backslashreplace") + ".txt" for name in names
        }
        if len({*sources.values()}) > 1:
            split_by_package(corpus.documents, 0.25)
        numbers = np.arange(len(corpus.documents))
        write_token_store(Path(folder, "store"), corpus.documents, ByteTokenizer(), numbers, numbers == 0)
        assert TokenStore(Path(folder, "store")).sources == tuple(
            document.source for document in corpus.documents
        )
        for document in corpus.documents:
            (document.source + document.group + document.package).encode()


def test_a_file_named_in_latin_1(tmp_path):
    (tmp_path / os.fsdecode(b"caf\xe9.txt")).write_text("coffee")
    for corpus in (tmp_path, tmp_path / "*.txt", tmp_path / os.fsdecode(b"caf\xe9.txt")):
        assert described(load_corpus(str(corpus), max_bytes=100)) == [("caf\\xe9.txt", "docs", "coffee")]


@given(st.lists(st.text(max_size=3) | st.characters(categories=["Cs"])).map("".join))
def test_every_name_can_be_ranked_and_written(name):
    document = Document("text", name, "docs", name)
    document.source.encode()
    assert document.source == document.group == document.package or not name
    assert in_turns([name, name + "a"], ["", ""]) in ([0, 1], [1, 0])
    if not {*map(ord, name)} & {*range(0xD800, 0xE000)}:
        assert document.source == name


def test_links_are_not_followed_out_of_the_folder(tmp_path):
    write(tmp_path, {"outside/secret.txt": "secret", "inside/a.txt": "a", "inside/sub/b.txt": "b"})
    os.symlink(tmp_path / "outside", tmp_path / "inside/folder")
    os.symlink(tmp_path / "outside/secret.txt", tmp_path / "inside/link.txt")
    os.symlink(tmp_path / "inside", tmp_path / "inside/sub/loop")
    corpus = load_corpus(str(tmp_path / "inside"))
    assert [document.source for document in corpus.documents] == ["a.txt", "sub/b.txt"]
    assert corpus.skipped == {"link out of the folder": 1}


def test_files_and_globs(tmp_path):
    write(tmp_path, {"a/1.txt": "one", "a/2.md": "two", "b/3.txt": "three", "odd[1].txt": "odd"})
    assert described(load_corpus(str(tmp_path / "a/1.txt"))) == [("1.txt", "docs", "one")]
    assert described(load_corpus(str(tmp_path / "odd[1].txt"))) == [("odd[1].txt", "docs", "odd")]
    every = load_corpus(str(tmp_path / "**/*.txt"))
    assert [document.source for document in every.documents] == ["a/1.txt", "b/3.txt", "odd[1].txt"]
    folders = load_corpus(str(tmp_path / "?"))
    assert len(folders.documents) == 3


def test_the_hash_tells_corpora_apart_and_no_place_matters(tmp_path):
    write(tmp_path, {"x/a.txt": "one", "y/a.txt": "one", "z/a.txt": "two", "w/b.txt": "one"})
    x, y, z, w = [load_corpus(str(tmp_path / name)).hash for name in "xyzw"]
    assert x == y and len({x, z, w}) == 3


def test_wikitext_headings_start_articles(tmp_path):
    first = " = First = \n \n Text . \n\n = = Section = = \n\n More = text = here . \n"
    text = " \n" + first + " = Second title = \n\n Text . \n"
    write(tmp_path, {"wiki.txt": text})
    corpus = load_corpus(str(tmp_path / "wiki.txt"))
    assert [document.source for document in corpus.documents] == ["wiki.txt:First", "wiki.txt:Second title"]
    assert "".join(document.text for document in corpus.documents) == text.removeprefix(" \n")
    assert corpus.documents[0].text == first


def test_long_files_without_blank_lines_are_cut_at_line_ends(tmp_path):
    write(tmp_path, {"book.txt": "a line of text\n" * 20_000, "short.txt": "a line\n\n" * 10})
    sources = [document.source for document in load_corpus(str(tmp_path)).documents]
    assert sources == ["book.txt:0", "book.txt:1", "book.txt:2", "short.txt"]


def test_a_smaller_budget_gives_a_subset_of_whole_groups(tmp_path):
    write(tmp_path, {f"{i:02}.txt": "x" * (10 * i + 1) for i in range(30)})
    previous, every = set(), load_corpus(str(tmp_path))
    for budget in (1, 500, 1000, 2000, 10_000):
        corpus = load_corpus(str(tmp_path), max_bytes=budget)
        sources = {document.source for document in corpus.documents}
        assert previous <= sources
        assert sum(len(document.text) for document in corpus.documents) <= budget or len(sources) == 1
        assert [d for d in every.documents if d.source in sources] == list(corpus.documents)
        previous = sources
    assert len(previous) == 30


def test_stdlib_budget_keeps_modules_and_docstrings_together():
    corpus = load_corpus("stdlib", max_bytes=300_000)
    groups = {document.group for document in corpus.documents if document.domain == "code"}
    documented = {document.group for document in corpus.documents if document.source.endswith(".__doc__")}
    assert documented and documented <= groups
    larger = load_corpus("stdlib", max_bytes=600_000)
    assert set(corpus.documents) < set(larger.documents) and corpus.hash != larger.hash
    assert corpus == load_corpus("stdlib", max_bytes=300_000)


def test_nothing_there_and_nothing_readable(tmp_path):
    with pytest.raises(InputError, match="absent does not exist"):
        load_corpus(str(tmp_path / "absent"))
    with pytest.raises(InputError, match="does not exist"):
        load_corpus(str(tmp_path / "*.txt"))
    with pytest.raises(InputError, match=r"no text that can be read \(no file\)"):
        load_corpus(str(tmp_path))
    write(tmp_path, {"a.png": b"", "b.txt": ""})
    with pytest.raises(InputError, match=r"\(1 empty, 1 unknown suffix\)"):
        load_corpus(str(tmp_path))


def test_what_was_taken_and_what_was_left_out_is_said(tmp_path, capsys):
    write(
        tmp_path, {f"{i}.txt": "x" * 1000 for i in range(10)} | {"a.png": "", "b.txt": "", "c.txt": b"\xff"}
    )
    announce("notes/\x1b[2J", load_corpus(str(tmp_path), max_bytes=3500), 3500)
    first, *others = capsys.readouterr().err.splitlines()
    assert first == (
        "notes/\\x1b[2J: 3 documents, 3.00 kB of the 10.0 kB that can be read; "
        "the most is 3.50 kB (--corpus-bytes or its default)"
    )
    assert others == ["left out: 1 empty", "left out: 1 invalid UTF-8", "left out: 1 unknown suffix"]
    announce("one", load_corpus(str(tmp_path / "1.txt")), None)
    assert capsys.readouterr().err == "one: 1 document, 1.00 kB of the 1.00 kB that can be read\n"
    announce("stdlib", library := load_corpus("stdlib", max_bytes=300_000), 300_000)
    assert library.total_bytes is None and library.is_cut
    assert f"documents, {library.num_bytes / 1000:.0f} kB; the most is 300 kB" in capsys.readouterr().err


@pytest.mark.parametrize(
    "number, words",
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.00 kB"),
        (999_500, "1.00 MB"),
        (12_345_678, "12.3 MB"),
        (312_000_000, "312 MB"),
        (5_000_000_000, "5.00 GB"),
    ],
)
def test_bytes_in_words(number, words):
    assert _bytes(number) == words


def install_datasets(monkeypatch, rows, **features):
    """Puts a stand-in for the package `datasets` in place that knows one dataset."""

    class Rows(list):
        def __getitem__(self, column):
            return [row[column] for row in self]

    def load_dataset(name, config, split):
        if (name, config, split) != ("library/books", "small", "train"):
            raise ValueError(f"{name} has no configuration {config}")
        table = Rows(rows)
        table.features = {column: types.SimpleNamespace(dtype=dtype) for column, dtype in features.items()}
        return table

    monkeypatch.setitem(sys.modules, "datasets", types.SimpleNamespace(load_dataset=load_dataset))


def test_hugging_face_datasets(monkeypatch):
    rows = [{"n": 1, "title": "t", "text": "one"}, {"n": 2, "title": "u", "text": None}]
    install_datasets(monkeypatch, rows, n="int64", title="string", text="string")
    corpus = load_corpus("hf:library/books:small")
    assert described(corpus) == [("hf:library/books:0", "docs", "one")] and corpus.skipped == {"empty": 1}
    with pytest.raises(InputError, match="library/books could not be loaded.*CONFIG"):
        load_corpus("hf:library/books")
    install_datasets(monkeypatch, rows, n="int64", title="string")
    assert [document.text for document in load_corpus("hf:library/books:small").documents] == ["t", "u"]
    install_datasets(monkeypatch, rows, n="int64", title="string", text="list")
    with pytest.raises(InputError, match="column text of the dataset library/books is no column of strings"):
        load_corpus("hf:library/books:small")
    install_datasets(monkeypatch, rows, n="int64")
    with pytest.raises(InputError, match="no column of strings among n"):
        load_corpus("hf:library/books:small")


def test_datasets_not_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(InputError, match="pip install datasets"):
        load_corpus("hf:wikitext")
