"""docs/findings.md: what the experiments show, from the files of all of them."""

from judging.null_check import DRAWS
from tests.reports.page_numbers.comparison import (
    COMPARE,
    ONE_SEED,
    ahead,
    copied,
    sizes,
    speeds,
    starts,
    with_the_copying_start,
)
from tests.reports.page_numbers.measured import difference, gain, gain_apart, results, reversed_sign
from tests.reports.page_numbers.page import Page, Sentence
from tests.reports.page_numbers.studies import (
    blocks,
    learned_positions,
    on_the_way,
    over_sizes,
    peaks,
    random_neighbours,
    rounding,
)

RESULTS = "experiments/results"
ABLATE_RETRO = f"{RESULTS}/ablate-retro/results.json"
PAYOFF = f"{RESULTS}/payoff/results.json"

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
