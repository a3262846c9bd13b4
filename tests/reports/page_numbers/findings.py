"""docs/findings.md: what the experiments show, from the files of all of them."""

import math
from functools import cache

from data.token_store import CHUNK
from judging.comparisons import with_verdicts
from judging.null_check import DRAWS
from reports.comparison.leakage_findings import LOW, comparisons, share_of_bytes, surviving
from studies.peaks import best_peaks
from studies.results_file import read_results
from tests.reports.page_numbers.measured import (
    ROOT,
    compared,
    difference,
    gain,
    gain_apart,
    results,
    reversed_sign,
    row_of,
    rows,
)
from tests.reports.page_numbers.page import Page, Sentence

RESULTS = "experiments/results"
COMPARE = f"{RESULTS}/compare/results.json"
ONE_SEED = f"{RESULTS}/compare/results-one-seed.json"
ABLATE_RETRO = f"{RESULTS}/ablate-retro/results.json"
PAYOFF = f"{RESULTS}/payoff/results.json"
COPYING = "RETRO on − off (copying, ours)"
APART = "no_near_duplicates"
OF_CHARACTERS = "encodings.iso8859_16", "encodings.mac_latin2"  # the two files of character tables


def sizes():
    """Millions of parameters, smallest and largest, and of training tokens."""
    models = results("compare")["rows"]
    parameters = [row["parameters"] / 1e6 for row in models]
    return min(parameters), max(parameters), models[0]["train_tokens"] / 1e6


def ahead(pair, domain="all"):
    return -compared(pair, domain)["difference"]


def with_the_copying_start():
    over_gopher = "RETRO on (copying, ours) − Gopher"
    apart = ahead(COPYING, APART), ahead(over_gopher, APART)
    return *apart, ahead(COPYING), ahead(over_gopher), -gain("ablate-retro", "copying")[0]


def starts():
    """Percent of the training text's chunks in which a document starts, and those documents and tokens."""
    corpus = results("compare")["corpus"]
    documents = sum(corpus["documents"].values()) - corpus["validation_documents"]
    tokens = corpus["tokens"]["train"]
    return 100 * documents * CHUNK / tokens, documents, tokens, CHUNK


def copied():
    """Percent of held-out bytes hardly seen, of how many tokens; gains there and over all, percent left."""
    made = with_verdicts(results("compare"))
    pair = [("retro", retrieval, "copying") for retrieval in ("on", "off")]
    there = comparisons(made, *pair)[LOW]["difference"]
    share, left = share_of_bytes(made, LOW), surviving(made, *pair)
    return 100 * share, LOW * CHUNK, -there, ahead(COPYING), 100 * left


@cache
def one_seed():
    return read_results(ROOT / ONE_SEED)


def speeds():
    """Minutes, then tokens/s in hundreds and percent MFU of PaLM, Gopher and RETRO."""
    forms = {"palm": None, "gopher": None, "retro": "published"}
    trained = [
        next(row for row in one_seed()["rows"] if (row["model"], row["initialisation"]) == form)
        for form in forms.items()
    ]
    minutes = sum(stage["seconds"] for stage in one_seed()["stages"]) / 60
    rates = [round(row["tokens_per_second"], -2) for row in trained]
    return minutes, *rates, *(100 * row["mfu"] for row in trained)


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
    return (
        parameters,
        *first,
        *second,
        *gain("payoff", "published"),
        tokens,
        gain_apart("payoff", "published")[0],
    )


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


PAGE = Page(
    "docs/findings.md",
    sentences=(
        Sentence(
            "mostly at {:.1f}M to {:.1f}M parameters and {:.1f}M training tokens", sizes, f"{COMPARE} (rows)"
        ),
        Sentence(
            "cannot be told** within {:.1f}M tokens: {:.3f} bits per byte",
            lambda: [sizes()[2], ahead("RETRO on − off")],
            f"{COMPARE} (rows and comparisons)",
        ),
        Sentence(
            "**With the copying start it gains** {:.3f} over its own form without retrieval and {:.3f} over the dense "
            "model on documents without near-duplicates. Over all it is {:.3f} and {:.3f}, but two files of character "
            "tables carry more than half of that: with packages drawn instead of documents the interval of {:.3f} "
            "holds zero",
            with_the_copying_start,
            f"{COMPARE} (comparisons) and {ABLATE_RETRO}",
        ),
        Sentence(
            "in about {:.1f} % of chunks ({} documents start in {:,} tokens, {} to a chunk)",
            starts,
            f"{COMPARE} (corpus)",
        ),
        Sentence(
            "{:.0f} % of the held-out bytes lie in chunks with no shared run of more than {:.0f} tokens. Over these, "
            "retrieval with the copying start gains {:.3f} where it gains {:.3f} over all: {:.0f} % of the gain is left.",
            copied,
            f"{COMPARE} (leakage)",
        ),
        Sentence(
            "took {:.0f} minutes for one seed and trained PaLM, Gopher and RETRO at {:,.0f}, {:,.0f} and {:,.0f} "
            "tokens/s, {:.0f}, {:.0f} and {:.0f} % MFU",
            speeds,
            ONE_SEED,
        ),
        Sentence(
            "lowers the loss by {:.3f}, but two files of character tables carry more than half of it: over packages "
            "the interval holds zero. Without near-duplicates it is {:.3f} [{:.3f}, {:.3f}].",
            lambda: [
                -gain("ablate-retro", "copying")[0],
                *reversed_sign(gain_apart("ablate-retro", "copying")),
            ],
            ABLATE_RETRO,
        ),
        Sentence(
            "RETRO is better by {:.3f} than with those of a frozen BERT",
            lambda: [-difference("ablate-retro", "BM25 keys")[0]],
            ABLATE_RETRO,
        ),
        Sentence(
            "Learned positions are worse by more than {:.1f} already at the training length",
            learned_positions,
            f"{RESULTS}/ablate-palm, ablate-gopher and ablate-gopher-wikitext-2",
        ),
        Sentence(
            "is worse than one rounded stochastically by {:.3f}, and by {:.3f} on WikiText-2",
            rounding,
            f"{RESULTS}/ablate-gopher and ablate-gopher-wikitext-2",
        ),
        Sentence(
            "at {:.1f}M parameters, is {:.3f} bits per byte after {:.1f}M training tokens (cannot tell), {:.3f} after "
            "{:.1f}M and {:.3f} [{:.3f}, {:.3f}] after {:.1f}M, {:.3f} without near-duplicates.",
            on_the_way,
            PAYOFF,
        ),
        Sentence(
            "read with random neighbours is at {:.3f} (cannot tell), worse by {:.3f} [{:.3f}, {:.3f}]",
            random_neighbours,
            PAYOFF,
        ),
        Sentence(
            "from {:.1f}M on the text is read for the second time",
            lambda: [results("payoff")["corpus"]["tokens"]["train"] / 1e6],
            f"{PAYOFF} (corpus)",
        ),
        Sentence(
            "on − off is {:.3f} on Gopher's block and {:.3f} on PaLM's ({:.3f} where both are trained by RETRO's AdamW",
            blocks,
            f"{RESULTS}/square and square-retro-recipe",
        ),
        Sentence(
            "train best at a peak of {} by Gopher's Adam (Gopher's as well at {}) and of {} by PaLM's Adafactor",
            peaks,
            f"{RESULTS}/sweep/results.json",
        ),
        Sentence(
            "on − off of the copying start is {:.3f} to {:.3f}, of which the same two files carry {:.0f} to {:.0f} %.",
            over_sizes,
            f"{RESULTS}/scaling/results.json",
        ),
        Sentence(
            "WikiText-2's validation file ({:.0f}K tokens to train on)",
            lambda: [results("ablate-gopher-wikitext-2")["corpus"]["tokens"]["train"] / 1e3],
            f"{RESULTS}/ablate-gopher-wikitext-2/results.json (corpus)",
        ),
        Sentence(
            "Adafactor's loss is lower than Adam's there by {:.3f}",
            lambda: [-difference("ablate-gopher-wikitext-2", "Adafactor instead of Adam")[0]],
            f"{RESULTS}/ablate-gopher-wikitext-2/results.json",
        ),
        Sentence("under other seeds, in {} divisions", lambda: [DRAWS], "judging/null_check.py"),
    ),
    not_measured=(
        "An *interval* is 95 %",
        "cut every 512 tokens",
        "as in PaLM (section 5)",
        "its first 63 of 512 never have a neighbour",
        "a held-out chunk of 64 shares",
        "(RETRO, section 2.6)",
        "Documents whose 13-grams overlap by a Jaccard similarity of 0.8 or more",
        "on WikiText-2.",
        "on WikiText-2's validation file",
        "a z-loss of 1e-4",
    ),
)
