"""The default corpus: modules, their docstrings and the help topics, read without importing anything."""

import sys

import pytest

from data.stdlib import stdlib_documents

LONG = "A sentence that is long enough to be worth a document of its own. " * 4


@pytest.fixture
def library(tmp_path):
    files = {
        "json/__init__.py": f'"""{LONG}"""\nraise SystemExit("imported")\n',
        "json/decoder.py": "def decode():\n    'Short.'\n",
        "abc.py": "x = 1\n",
        "empty.py": "\n",
        "test/test_abc.py": "x = 1\n",
        "json/tests/test_json.py": "x = 1\n",
        "site-packages/numpy.py": "x = 1\n",
        "config-3.11-linux/made.py": "x = 1\n",
        "_sysconfigdata__linux.py": "build_time_vars = {}\n",
        "pydoc_data/topics.py": "topics = {'while': 'The while statement.', 'assert': 'The assertion.'}\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_modules_docstrings_and_topics_in_a_fixed_order(library):
    documents = list(stdlib_documents(root=library))
    assert [(d.source, d.domain, d.group, d.package) for d in documents] == [
        ("abc", "code", "abc", "abc"),
        ("json", "code", "json", "json"),
        ("json.__doc__", "docs", "json", "json"),
        ("json.decoder", "code", "json.decoder", "json"),
        ("pydoc_data.topics:assert", "docs", "pydoc_data.topics:assert", "pydoc_data"),
        ("pydoc_data.topics:while", "docs", "pydoc_data.topics:while", "pydoc_data"),
    ]
    assert documents[1].text == 'raise SystemExit("imported")\n', (
        "docstrings stand in a document of their own"
    )
    assert documents[2].text.startswith("json\n\nA sentence") and documents[4].text == "The assertion."


def test_an_implementation_in_python_belongs_to_its_module(tmp_path):
    for name in ("decimal.py", "_pydecimal.py", "_strptime.py", "__future__.py"):
        (tmp_path / name).write_text("x = 1\n")
    packages = {document.source: document.package for document in stdlib_documents(root=tmp_path)}
    assert packages == {
        "decimal": "decimal", "_pydecimal": "decimal", "_strptime": "strptime", "__future__": "_future__",
    }  # fmt: skip


def test_the_running_pythons_library():
    documents = {document.source: document for document in stdlib_documents()}
    assert {"json.decoder", "argparse", "argparse.__doc__"} <= set(documents)
    assert not any(source.startswith(("test.", "idlelib.idle_test", "numpy")) for source in documents)
    assert documents["argparse.__doc__"].group == documents["argparse"].group == "argparse"
    assert len({document.package for document in documents.values()}) > 150
    assert "antigravity" not in sys.modules
