"""The values between a results file and the pages, alike for every kind of file: what is judged becomes
sentences, and sentences with tables and plots a section.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from markupsafe import Markup

from reports.tables import Table, plain_table

MODELS = (
    "model", "change", "parameters", "training tokens", "training FLOPs", "seeds", "bits per byte [95 %]",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A results file, read once; the modules of each kind add what their judgement of it is."""

    results: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Sentences:
    """What the figures of a file allow one to say.

    Attributes:
        brief: the sentences that the page opens with; `further`: those that its section adds.
        directions: the papers', by what came of them.
        counts: their number by the same words, with the null check and the median detectable difference;
            empty where there are none.
        legend: how to read the tables.
    """

    judged: Any  # of the kind's Judged
    title: str
    subject: str
    question: str
    brief: tuple[str, ...]
    further: tuple[str, ...] = ()
    directions: Mapping[str, list[str]] = field(default_factory=dict)
    counts: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    legend: str = ""


@dataclass(frozen=True, kw_only=True)
class Section:
    """What pages lay out.

    Attributes:
        name: of the folder that the file lies in, and of the section's anchor.
        suffix: of the title, where several files are of one experiment.
        plots: by what they show.
        links: further pages of this file, by name, relative to the repository.
        models: the table of a card, and the families that are in it; None where no model was trained on text.
    """

    name: str
    sentences: Sentences
    tables: tuple[Table, ...]
    plots: Mapping[str, Markup] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    models: Table | None = None
    families: tuple[str, ...] = ()
    suffix: str = ""

    @property
    def title(self) -> str:
        return self.sentences.title + self.suffix

    @property
    def results(self) -> Mapping[str, Any]:
        return self.sentences.judged.results

    @property
    def experiment(self) -> str:
        return self.results["experiment"]

    @property
    def command(self) -> str:
        """That wrote the file, as far as it says."""
        return self.results.get("command") or f"python -m experiments.{self.experiment}"

    @property
    def run(self) -> str:
        """`python -m ... (commit ab12, 2026-11-22, Python 3.11.7, jax 0.10.2, cpu, 2 cores)`."""
        where = self.results["environment"]
        versions = f"Python {where['python']}, jax {where['jax']}"
        origin = f"commit {where['commit']}, {where['date']}"
        return f"{self.command} ({origin}, {versions}, {where['device']}, {where['cores']} cores)"


def models_table(rows: Iterable[Sequence[str]]) -> Table:
    """The table of a card: the columns MODELS of everything that was trained."""
    return plain_table("Models", MODELS, list(rows))
