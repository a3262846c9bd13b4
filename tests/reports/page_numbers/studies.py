"""The ablations and the other studies, as docs/findings.md speaks of them."""

import math

from studies.peaks import best_peaks
from tests.reports.page_numbers.measured import difference, gain, gain_apart, results, row_of, rows

OF_CHARACTERS = "encodings.iso8859_16", "encodings.mac_latin2"  # the two files of character tables


def learned_positions():
    """The tenth of a bit that the least of the differences is above."""
    tables = "ablate-palm", "ablate-gopher", "ablate-gopher-wikitext-2"
    least = min(difference(table, "learned positions")[0] for table in tables)
    return [math.floor(10 * least) / 10]


def rounding():
    row = "rounding to the nearest against stochastic"
    return [difference(table, row)[0] for table in ("ablate-gopher", "ablate-gopher-wikitext-2")]


def on_the_way():
    """Parameters in millions, then on − off and the training tokens in millions at three points."""
    points = [
        rows("payoff")[name].row for name in ("published, after 762 steps", "published, after 1,525 steps")
    ]
    first, second = [(gain("payoff", row["name"])[0], row["train_tokens"] / 1e6) for row in points]
    last = rows("payoff")["published"].row
    parameters, tokens = last["parameters"] / 1e6, last["train_tokens"] / 1e6
    stated, apart = gain("payoff", "published"), gain_apart("payoff", "published")[0]
    return parameters, *first, *second, *stated, tokens, apart


def random_neighbours():
    name = "published, random neighbours"
    return gain("payoff", name)[0], *difference("payoff", name)


def blocks():
    gopher, palm = "Gopher block, retrieval", "PaLM block, retrieval"
    of_each = gain("square", gopher)[0], gain("square", palm)[0]
    return *of_each, gain("square-retro-recipe", palm)[0]


def peaks():
    """Of both blocks by Gopher's Adam, of Gopher's the next best, and of both by PaLM's Adafactor."""
    best = best_peaks(results("sweep"))
    adam, adafactor = ({best[f"{block} 128 wide, by {recipe}'s recipe"] for block in ("palm", "gopher")}
                       for recipe in ("gopher", "palm"))  # fmt: skip
    assert len(adam) == len(adafactor) == 1, "the page says: both blocks"
    name = "gopher 128 wide, by gopher's recipe"
    trials = [row for row in results("sweep")["rows"] if row["group"] == name]
    _, second = sorted(trials, key=lambda row: row["cells"][0]["train_nats"])[:2]
    return *adam, second["facts"]["peak"], *adafactor


def copying_rows():
    """The names of RETRO's rows over sizes and budgets, at its own number of neighbours and whole database."""
    return [name for name in rows("scaling") if name.startswith("retro") and name.endswith("of the budget")]


def of_the_two_files(name):
    """Their part of on − off in percent, over the means of the seeds."""
    cells = row_of(results("scaling")["rows"], name=name)["cells"]
    gains = [
        sum(cell["nats"][d] - cell["nats_off"][d] for cell in cells) for d in range(len(cells[0]["nats"]))
    ]
    theirs = [g for g, text in zip(gains, results("scaling")["documents"]) if text["source"] in OF_CHARACTERS]
    return 100 * sum(theirs) / sum(gains)


def over_sizes():
    gains = [gain("scaling", name)[0] for name in copying_rows()]
    parts = [of_the_two_files(name) for name in copying_rows()]
    return max(gains), min(gains), min(parts), max(parts)
