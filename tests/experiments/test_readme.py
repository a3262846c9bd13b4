"""The pages by hand name files, commands and make targets that exist. Their tables: test_pages."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from experiments.__main__ import WIDTH, commands, listing

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"docs/{name}.md" for name in (
    "findings", "generation", "log", "parallelism", "retrieval", "scale", "strategies")))  # fmt: skip
COMMANDS = commands(ROOT / "experiments")
TARGETS = set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES)
def test_links_commands_and_targets_exist(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!http)([^)#]+)[^)]*\)", text):
        assert ((ROOT / page).parent / target).exists(), target
    assert set(re.findall(r"python -m experiments\.(\w+)", text)) <= COMMANDS.keys()
    assert set(re.findall(r"(?:    |`)make (\w+)", text)) <= TARGETS


def test_every_command_is_named_on_a_page_and_listed_with_a_sentence():
    pages = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    for name, sentence in COMMANDS.items():
        assert re.search(
            rf"experiments\.{name}\b|make report"
            if name == "publish"
            else rf"experiments\.{name}\b|make {name}\b",
            pages,
        ), name
        assert sentence[-1:] in (".", "?"), name
    assert all(len(line) <= WIDTH for line in listing(COMMANDS).splitlines())


def test_readme_fits_a_terminal_but_for_its_tables_and_picture():
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines():
        assert len(line) <= WIDTH or line.startswith(("|", "![", "<!--")), line


def test_the_citation_is_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["title"] == project["name"] and citation["version"] == project["version"]
    assert citation["license"] == project["license"] and citation["abstract"] == project["description"]
