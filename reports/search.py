"""The report of a retrieval database: what its index finds and how fast, what the database costs, and what
lost recall costs a trained RETRO in bits per byte.

It is written as report.md with recall.png beside it (and bits.png for a run), and the figures as report.json.
Shape suffixes: q queries, d dimension of a key.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from reports.plots import LIGHT, png
from reports.tables import github, table_of
from reports.words import four_digits
from retrieval.database.costs import byte_rows, published_rows, second_rows
from retrieval.database.database import Database
from retrieval.index.recall import WARNED_BELOW
from storage.files import write_atomic
from studies.environment import environment
from studies.recall_in_bits import bits_by_nprobe
from studies.search_figures import cost_figures, search_figures

REPORT = "report.md"


def report(database: Database, out: Path, run: Path | None = None) -> Path:
    """Measures the database's first segment, which is the one that was built, and writes the report to `out`.

    Args:
        run: folder of a trained RETRO, for bits per byte over nprobe on its own held-out text.

    Returns:
        The path of report.md.
    """
    out.mkdir(parents=True, exist_ok=True)
    figures = {"environment": environment(), **search_figures(database), **cost_figures(database)}
    if run is not None:
        figures["bits"] = bits_by_nprobe(run)
        write_atomic(out / "bits.png", bits_png(figures["bits"]))
    if figures["curve"]:
        write_atomic(out / "recall.png", recall_png(figures))
    write_atomic(out / "report.json", json.dumps(figures, indent=1))
    write_atomic(out / REPORT, markdown(database, figures))
    return out / REPORT


def markdown(database: Database, figures: Mapping[str, Any]) -> str:
    """report.md, from the figures of report.json."""
    recall = figures["recall"]
    nprobe = "" if figures["nprobe"] is None else f", nprobe {figures['nprobe']}"
    warning = (
        f"\n**It finds fewer than {WARNED_BELOW:.0%} of the true neighbours.** Build it with longer codes, "
        "fewer lists, or `--index Flat`.\n"
    )
    parts = [
        f"# The retrieval database {database.folder.name}\n",
        f"{figures['all chunks']:,} chunks in {len(database.version.segments)} segments. The index that was "
        f"built holds {figures['chunks']:,} of them: {figures['index']}{nprobe}.\n",
        "## What it finds\n",
        f"recall@2 **{recall['reranked']:.3f}** after its candidates are ordered by their keys, "
        f"{recall['plain']:.3f} before, against exact search for {figures['queries']:,} chunks. A query's "
        "own group of documents does not count.\n" + (warning if recall["reranked"] < WARNED_BELOW else ""),
        table(
            [
                {
                    "search": name,
                    "ms per query, batched": ms["batched"],
                    "ms per query, one by one": ms["single"],
                }
                for name, ms in (("by the index", figures["ms"]), ("exact", figures["exact_ms"]))
            ]
        ),  # fmt: skip
    ]
    if figures["curve"]:
        parts += ["![recall and time over nprobe](recall.png)\n", table(figures["curve"])]
    if "bits" in figures:
        parts += [
            "## What lost recall costs in bits per byte\n",
            f"The trained model in {figures['bits']['run']} on its held-out text, with neighbours found by "
            f"{figures['bits']['factory']} over its training chunks; differences are to exact neighbours, "
            "with 95 % intervals over groups of documents, paired.\n",
            "![bits per byte over nprobe](bits.png)\n",
            table(figures["bits"]["rows"]),
        ]
    parts += [
        "## What it costs\n",
        table(byte_rows(figures["bytes"], figures["all chunks"])),
        "Seconds, measured on a sample on this machine while the report was made; the index is not among "
        "them (benchmarks/README.md has its stages):\n",
        table(second_rows(figures["seconds per chunk"])),
        "28e9 chunks of 64 tokens are the paper's 1.75T tokens. By arithmetic:\n",
        table(published_rows()),
    ]
    return "\n".join(parts)


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    records = [{name: four_digits(value) for name, value in row.items()} for row in rows]
    return github(table_of(records)) + "\n"


def recall_png(figures: Mapping[str, Any]) -> bytes:
    """Recall over nprobe above, milliseconds per query below."""
    curve = figures["curve"]
    nprobes = [point["nprobe"] for point in curve]

    def draw(figure: Figure) -> None:
        above, below = figure.subplots(2, 1, sharex=True)
        above.plot(
            nprobes, [p["reranked"] for p in curve], "o-", color=LIGHT["retro"], label="ordered by keys"
        )
        above.plot(nprobes, [p["plain"] for p in curve], "s--", color=LIGHT["gopher"], label="by the index")
        above.set_ylabel("recall@2")
        above.set_ylim(0, 1.02)
        for name, marker, colour in (("batched", "o-", "retro"), ("single", "s--", "gopher")):
            label = {"batched": "batched", "single": "one by one"}[name]
            below.plot(nprobes, [p[f"{name}_ms"] for p in curve], marker, color=LIGHT[colour], label=label)
            below.axhline(figures["exact_ms"][name], ls=":", color=LIGHT[colour], label=f"exact, {label}")
        below.set(ylabel="ms per query", xlabel="nprobe", yscale="log")
        below.set_xscale("log", base=2)
        for axes in (above, below):
            if figures["nprobe"] is not None:
                axes.axvline(figures["nprobe"], color=LIGHT["rule"], zorder=0)
            axes.legend()

    return png(draw, 7.0, 6.0)


def bits_png(bits: Mapping[str, Any]) -> bytes:
    """Bits per byte over nprobe beside exact neighbours, with the paired interval of each difference."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        rows = [row for row in bits["rows"] if row["nprobe"] != "exact"]
        exact = next(row["bits per byte"] for row in bits["rows"] if row["nprobe"] == "exact")
        nprobes, values = ([row[name] for row in rows] for name in ("nprobe", "bits per byte"))
        # The interval is of the difference to the exact line, hence drawn around what it adds to that.
        spread = [[exact + row[end] for row in rows] for end in ("low", "high")]
        axes.plot(nprobes, values, "o-", color=LIGHT["retro"], label="neighbours by the index")
        axes.fill_between(nprobes, *spread, color=LIGHT["retro"], alpha=0.15, lw=0)
        axes.axhline(exact, ls=":", color=LIGHT["ink"], label="exact neighbours")
        axes.set(xlabel="nprobe", ylabel="bits per byte")
        axes.set_xscale("log", base=2)
        axes.legend()

    return png(draw, 7.0, 3.6)
