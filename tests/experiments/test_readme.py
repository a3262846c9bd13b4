"""The README shows what the committed results say, and names files that exist."""

import re
from pathlib import Path

from experiments.publish import README, RESULTS, readme
from experiments.sections import sections

ROOT = Path(__file__).parents[2]
TEXT = README.read_text(encoding="utf-8")


def test_its_tables_are_those_of_the_committed_results():
    found = sections(RESULTS)
    assert readme(TEXT, found) == TEXT, "make report, and commit what it writes"
    assert {"compare", "directions"} == set(re.findall(r"<!-- (\w+): written by make report", TEXT))
    for figure in ("1.971 [1.750, 2.240]", "20 of 20"):
        wrong = TEXT.replace(figure, "0.000")
        assert wrong != TEXT and readme(wrong, found) == TEXT


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", TEXT):
        assert (ROOT / target).exists(), target
