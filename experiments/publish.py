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
    found = sections(RESULTS)
    made = pages(found)
    shown = README.read_text(encoding="utf-8")
    wanted = readme(shown, found)
    wrong = [path.relative_to(DOCS.parent) for path in differing(made, DOCS)]
    wrong += [README.relative_to(HERE.parent)] if shown != wanted else []
    said = " does not agree with the results: make report" if options.check else ""
    for path in wrong:
        print(f"{path}{said}")
    if not options.check:
        write(made, DOCS)
        if shown != wanted:
            write_atomic(README, wanted)
    elif wrong:
        raise SystemExit(1)


if __name__ == "__main__":
    command(publish, Options, "Write docs/results.md, docs/report.html and the cards from the results.")
