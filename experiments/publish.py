"""The pages that show what was measured: docs/results.md, docs/report.html, a card for every run in
docs/cards and the tables in the README, made from the results.json files below experiments/results and from
nothing else.

python -m experiments.publish            writes them (make report)
python -m experiments.publish --check    names the pages that do not agree with the files, and exits with 1
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
    measured = sections(RESULTS)
    expected, text = pages(measured), README.read_text(encoding="utf-8")
    expected_text = readme(text, measured)
    wrong = [path.relative_to(DOCS.parent) for path in differing(expected, DOCS)]
    wrong += [README.relative_to(HERE.parent)] if text != expected_text else []
    complaint = " does not agree with the results: make report" if options.check else ""
    for path in wrong:
        print(f"{path}{complaint}")
    if not options.check:
        write(expected, DOCS)
        if text != expected_text:
            write_atomic(README, expected_text)
    elif wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    command(publish, Options, "Write docs/results.md, docs/report.html and the cards from the results.")
