"""README.md: what stands around its table, from the comparison's file."""

from tests.reports.page_numbers.comparison import APART, COMPARE, COPYING, ahead, sizes
from tests.reports.page_numbers.measured import results
from tests.reports.page_numbers.page import Page, Sentence


def in_short():
    """Bits per byte that PaLM and the copying start are ahead by, and millions of training tokens."""
    return ahead("PaLM − Gopher"), sizes()[2], ahead(COPYING, APART), ahead(COPYING)


PAGE = Page(
    "README.md",
    sentences=(
        Sentence(
            '`make compare ARGS="--seeds {}"` made it at commit {}, when the text was Python 3.11\'s',
            lambda: [
                results("compare")["config"]["options"]["seeds"],
                results("compare")["environment"]["commit"],
            ],
            f"{COMPARE} (config and environment)",
        ),
        Sentence(
            "PaLM, block and recipe together, is ahead of Gopher by {:.3f}. Whether RETRO as published gains "
            "from its neighbours cannot be told at {:.1f}M training tokens; with the copying start it gains "
            "{:.3f} without near-duplicates. (Over all documents it is {:.3f}, most of it",
            in_short,
            f"{COMPARE} (comparisons)",
        ),
    ),
    not_measured=(
        "([2204.02311]",
        "([2112.11446]",
        "([2112.04426]",
        "for each chunk of 64 tokens",
        "Python 3.11 to 3.13",
        "a 95 % interval over documents",
        "share a fifth or more of their 13-grams (runs of 13 words)",
        "when the text was Python 3.11's",
        "By default 8 MB are used",
        "(13-grams with a Jaccard similarity of 0.8 or more)",
        "Licence: Apache-2.0.",
    ),
)
