"""Do the pages show what was measured? They are made from the results.json files below experiments/results
alone: docs/results.md, docs/report.html, docs/cards, and the tables in README.md and docs/findings.md.

python -m experiments.publish            writes them (make report)
python -m experiments.publish --check    names the pages that do not agree with the files, and exits with 1

Twenty seconds of one core. Must reach: --check prints nothing.
"""

from dataclasses import dataclass
from pathlib import Path

from command import command
from reports.pages import differing, pages, with_tables, write
from reports.sections import sections
from storage.files import write_atomic

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results", HERE.parent / "docs"
BY_HAND = (HERE.parent / "README.md", DOCS / "findings.md")  # but for the tables between their comments


@dataclass(frozen=True)
class Options:
    """What to do."""

    check: bool = False
    """Write nothing; exit with 1 where a page does not agree with the files."""


def publish(options: Options) -> None:
    """Writes or checks the committed pages."""
    measured = sections(RESULTS)
    expected = pages(measured)
    by_hand = {path: path.read_text(encoding="utf-8") for path in BY_HAND}
    outdated = {path: new for path, text in by_hand.items() if (new := with_tables(text, measured)) != text}
    wrong = [path.relative_to(DOCS.parent) for path in differing(expected, DOCS)]
    wrong += [path.relative_to(HERE.parent) for path in outdated]
    complaint = " does not agree with the results: make report" if options.check else ""
    for path in wrong:
        print(f"{path}{complaint}")
    if not options.check:
        write(expected, DOCS)
        for path, text in outdated.items():
            write_atomic(path, text)
    elif wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    command(publish, Options, "Write docs/results.md, docs/report.html and the cards from the results.")
