"""Files of any size and kind: what is read of them, and how much of it is in memory at once."""

import gzip
import io
import json
import os
import stat
import sys
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data import text_files
from data.corpora import load_corpus
from data.text_files import LONGEST_LINE, PART_CHARACTERS, TOO_LONG, text_documents
from errors import InputError


def parts_of(text):
    return [part.text for part in text_documents(io.StringIO(text), "book.txt", Counter())]


paragraphs = st.lists(
    st.tuples(
        st.integers(0, 300_000),
        st.sampled_from(["a b", "word", "é"]),
        st.sampled_from(["\n", "\n\n", "\r\n\r\n", ""]),
    ),
    max_size=4,
)


@given(paragraphs)
def test_parts_of_a_long_file_make_up_the_file(paragraphs):
    text = "".join((words * size)[:size] + end for size, words, end in paragraphs) + "end"
    parts = parts_of(text)
    assert "".join(parts) == text
    assert all(PART_CHARACTERS <= len(part) for part in parts[:-1])
    assert all(len(part) <= 2 * LONGEST_LINE for part in parts)


def test_a_line_of_any_length_is_cut_between_words():
    """A book on one line, as `pandoc --wrap=none` or a minifier writes it, is no single document."""
    text = "words " * 55_000
    parts = parts_of(text)
    assert len(parts) == 3 and "".join(parts) == text
    assert all(part.startswith("words ") and part.endswith("words ") for part in parts)
    assert [len(part) for part in parts_of("字" * 300_000)] == [
        LONGEST_LINE,
        LONGEST_LINE,
        300_000 - 2 * LONGEST_LINE,
    ]


def test_lines_that_are_not_longer_are_left_whole():
    line = "word " * (LONGEST_LINE // 5 - 1) + "\n"
    assert parts_of(line * 3) == [line + line, line]


@pytest.mark.parametrize("begins", ["a" * LONGEST_LINE, "a" * (LONGEST_LINE - 1) + " "])
def test_a_heading_stands_on_a_line_of_its_own(begins):
    text = f"{begins} = Title = \nmore"
    sources = [part.source for part in text_documents(io.StringIO(text), "a.txt", Counter())]
    assert sources == ["a.txt:0", "a.txt:1"]


def test_a_document_that_would_fill_the_memory_is_left_out(tmp_path, monkeypatch):
    monkeypatch.setattr(text_files, "LONGEST_DOCUMENT", 100)
    record = json.dumps({"text": "x" * 40})
    files = {
        "a.py": "x" * 101, "b.py": "x" * 100,
        "c.jsonl": "\n".join([record, json.dumps({"text": "x" * 200}), record, "y" * 101, "y" * 100]),
        "d.txt": " = First = \n" + "line\n" * 30 + " = Second = \nshort\n",
    }  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    corpus = load_corpus(str(tmp_path))
    assert [document.source for document in corpus.documents] == [
        "b.py",
        "c.jsonl:1",
        "c.jsonl:3",
        "d.txt:Second",
    ]
    assert corpus.skipped == {TOO_LONG: 4, "broken JSON line": 1}


@pytest.mark.parametrize("name", ["a.jsonl", "a.txt", "a.py"])
@pytest.mark.parametrize("harm", ["cut", "invalid", "zeros"])
def test_a_file_that_breaks_off_gives_nothing(tmp_path, name, harm):
    text = (json.dumps({"text": "a line"}) + "\n").encode() * 50_000
    if harm == "cut":
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text)[:-20])
    else:
        (tmp_path / name).write_bytes(text + (b"\xff\0" if harm == "zeros" else b"\xff"))
    (tmp_path / "other.txt").write_text("other")
    corpus = load_corpus(str(tmp_path), max_bytes=10_000)
    assert [document.source for document in corpus.documents] == ["other.txt"]
    assert corpus.skipped == {{"cut": "unreadable", "invalid": "invalid UTF-8", "zeros": "binary"}[harm]: 1}


def stretch(name, number):
    """Some hundred kilobytes of a file of that name."""
    line = "words of a line, of which there are many more than would fit on any page of a book\n" * 3
    line = line.replace("\n", " ", 2)
    texts = {
        "jsonl": (json.dumps({"text": line * 10}) + "\n") * 40,
        "txt": line * 400,
        "wiki.txt": f" = Title {number} = \n" + line * 400,
        "line.txt": "word " * 20_000,
    }
    return texts[name.removesuffix(".gz")].encode()


@pytest.mark.parametrize("name", ["jsonl", "txt", "wiki.txt", "line.txt", "txt.gz", "line.txt.gz"])
def test_of_a_large_file_no_more_is_in_memory_than_the_budget_takes(tmp_path, name):
    """Decompressed, where it is: a few kilobytes may hold gigabytes."""
    path = tmp_path / f"large.{name}"
    with gzip.open(path, "wb", compresslevel=1) if name.endswith(".gz") else open(path, "wb") as file:
        for number in range(40):
            file.write(stretch(name, number))
    tracemalloc.start()
    try:
        corpus = load_corpus(str(tmp_path), max_bytes=300_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 100_000 < corpus.num_bytes <= 300_000 and corpus.total_bytes > 3_500_000
    assert peak < 2_500_000


def make_special(path, kind):
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, stat.S_IFSOCK | 0o600)
    else:
        os.symlink("/dev/zero", path)


@pytest.mark.skipif(sys.platform != "linux", reason="sockets are made by mknod on Linux alone")
@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_pipes_sockets_and_devices_are_left_out(tmp_path, kind):
    """Without it the first waits for ever, and the last never ends."""
    make_special(tmp_path / "special.txt", kind)
    with pytest.raises(InputError, match="1 not a regular file"):
        load_corpus(str(tmp_path / "special.txt"))
    (tmp_path / "good.txt").write_text("good")
    for corpus in (tmp_path / "*.txt", tmp_path):
        read = load_corpus(str(corpus))
        assert [document.text for document in read.documents] == ["good"]
        outside = kind == "device" and corpus == tmp_path
        assert read.skipped == {"link out of the folder" if outside else "not a regular file": 1}


@pytest.mark.parametrize("corpus", ["", "hf:", "x" * 300])
def test_what_names_no_text(corpus):
    with pytest.raises(InputError, match="names no text|cannot be read"):
        load_corpus(corpus)
