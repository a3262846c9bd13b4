"""The corpus of what requirements.txt pins: the same text for the same pins, one package one side."""

import re

import pytest

from data import installed
from data.installed import REQUIREMENTS, installed_documents, pinned
from errors import InputError


def test_every_pin_is_a_package_with_documents():
    names = set(re.findall(r"^([\w.-]+)==", REQUIREMENTS.read_text(), re.MULTILINE))
    assert set(pinned()) == names and len(names) > 60
    documents = list(installed_documents(4_000_000))
    packages = {document.package for document in documents}
    assert len(packages & names) > 60 and {"decimal", "email"} <= packages
    assert len(packages) > 150, "with the standard library's top-level modules"
    sources = {document.source: document for document in documents}
    assert len(sources) == len(documents)
    assert sources["jax:description"].package == "jax" and sources["jax:description"].domain == "docs"
    assert not any("/tests/" in source or "_vendor" in source for source in sources)


def test_a_package_that_is_not_installed_is_named(monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6\nno-such-package==1.0  # reason\n")
    monkeypatch.setattr(installed, "REQUIREMENTS", tmp_path / "requirements.txt")
    with pytest.raises(InputError, match="no-such-package is not installed. Run `make setup`"):
        list(installed_documents())
