"""Do the pages show what was measured? docs/results.md, docs/report.html, a card for every run in docs/cards
and the tables in the README, made from the results.json files below experiments/results and nothing else.

python -m experiments.publish            writes them (make report)
python -m experiments.publish --check    names the pages that do not agree with the files, and exits with 1

Twenty seconds of one core. Must reach: --check prints nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from command import command
from reports.pages import differing, pages, readme, write
from reports.sections import sections
from storage.files import write_atomic

HERE = Path(__file__).parent
RESULTS, DOCS, README = HERE / "results", HERE.parent / "docs", HERE.parent / "README.md"


@dataclass(frozen=True)
class Options:
    """What to do."""

    check: bool = False
    """Write nothing; exit with 1 where a page does not agree with the files."""


def publish(options: Options) -> None:
    """Writes or checks the committed pages."""
    all_sections = sections(RESULTS)
    contents = pages(all_sections)
    text = README.read_text(encoding="utf-8")
    expected = readme(text, all_sections)
    stale = [path.relative_to(DOCS.parent) for path in differing(contents, DOCS)]
    stale += [README.relative_to(HERE.parent)] if text != expected else []
    for path in stale:
        print(f"{path}{' does not agree with the results: make report' if options.check else ''}")
    if not options.check:
        write(contents, DOCS)
        if text != expected:
            write_atomic(README, expected)
    elif stale:
        raise SystemExit(1)


if __name__ == "__main__":
    command(publish, Options, "Write docs/results.md, docs/report.html and the cards from the results.")
