"""Training without a pipeline, as PaLM did, against pipelines, as its predecessors did: who waits, who holds
what, and what is sent?

python -m experiments.parallelism

The same dense model on the same batch, over the same number of virtual CPU devices: as one program (fully
sharded data parallel, PaLM section 4), and cut into stages that run micro-batches by GPipe and by 1F1B; then
the same for published systems, by arithmetic.

Must reach: equal losses; both pipelines idle 31 % of a step where equal stages would idle 27 %; 1F1B holds 4,
3, 2 and 1 inputs where GPipe holds eight (experiments/results/parallelism).
"""

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from command import command
from planning.published_systems import published_systems, system_rows
from planning.watched_steps import Setting, measured_steps
from reports.systems.parallelism import terminal_tables, with_tables
from reports.systems.timeline import timeline_png
from storage.files import write_atomic
from studies.results_file import write_results


@dataclass(frozen=True)
class Options(Setting):
    """What is trained, how it is cut, and where that is written."""

    out: Path = Path("runs/parallelism")
    """Folder for results.json and timeline.png."""
    document: Path | None = None
    """A Markdown file whose tables are filled in anew, such as docs/parallelism.md."""


def parallelism(options: Options) -> None:
    """Measures, prints the tables, and writes results.json and timeline.png into `options.out`."""
    measured = measured_steps(options)
    content = {
        "config": {k: v for k, v in dataclasses.asdict(options).items() if k not in ("out", "document")},
        "rows": [row for row, _ in measured.values()],
        "timelines": {
            name: [[span.stage, *span.task, span.start, span.end] for span in spans]
            for name, (_, spans) in measured.items()
        },
        "published_systems": system_rows(published_systems()),
    }
    results = write_results(options.out / "results.json", "parallelism", content)
    write_atomic(options.out / "timeline.png", timeline_png(results))
    if options.document:
        text = options.document.read_text(encoding="utf-8")
        write_atomic(options.document, with_tables(text, results))
    print(terminal_tables(results))


if __name__ == "__main__":
    description = "Train one dense model without a pipeline and with two, and show who waits."
    command(parallelism, Options, description)
