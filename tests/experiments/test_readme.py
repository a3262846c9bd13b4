"""The README shows what the committed results say, and names files that exist."""

import json
import re
from pathlib import Path

from experiments.report import markdown_table

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_table_is_that_of_the_committed_results():
    results = json.loads((ROOT / "experiments/results/compare/results.json").read_text(encoding="utf-8"))
    shown = re.search(r"test_readme\.py compares -->\n(.*?)\n<!-- end -->", README, re.DOTALL).group(1)
    assert shown.strip() == markdown_table(results).strip()


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (ROOT / target).exists(), target
