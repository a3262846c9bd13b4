"""The default corpus: modules, their docstrings and the help topics, read without importing anything."""

import sys

import pytest

from data.stdlib import module_docstrings, stdlib_documents

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
    assert [(d.source, d.domain, d.group) for d in documents] == [
        ("abc", "code", "abc"),
        ("json", "code", "json"),
        ("json.__doc__", "docs", "json"),
        ("json.decoder", "code", "json.decoder"),
        ("pydoc_data.topics:assert", "docs", "pydoc_data.topics:assert"),
        ("pydoc_data.topics:while", "docs", "pydoc_data.topics:while"),
    ]
    assert documents[1].text == (library / "json/__init__.py").read_text()
    assert documents[2].text.startswith("json\n\nA sentence") and documents[4].text == "The assertion."


def test_docstrings_come_in_source_order_under_qualified_names():
    code = '''"""Module."""
if True:
    class A:
        """Class."""
        async def f(self):
            """Method
            on two lines."""
            def inner():
                "Inner \\d."
x = """no docstring"""
def g():
    """Function."""
'''
    assert module_docstrings(code, "m").split("\n\n\n") == [
        "m\n\nModule.",
        "m.A\n\nClass.",
        "m.A.f\n\nMethod\non two lines.",
        "m.A.f.inner\n\nInner \\d.",
        "m.g\n\nFunction.",
    ]


def test_the_running_pythons_library():
    documents = {document.source: document for document in stdlib_documents()}
    assert {"json.decoder", "json.decoder.__doc__", "asyncio.base_events", "argparse"} <= set(documents)
    assert not any(source.startswith(("test.", "idlelib.idle_test", "numpy")) for source in documents)
    assert documents["json.decoder.__doc__"].group == documents["json.decoder"].group == "json.decoder"
    assert sum(document.domain == "code" for document in documents.values()) > 400
    assert "antigravity" not in sys.modules
