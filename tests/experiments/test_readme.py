"""The README names files that exist. Its tables: test_publish."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8")):
        assert (ROOT / target).exists(), target
