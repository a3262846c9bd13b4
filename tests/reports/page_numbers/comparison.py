"""The comparison of the families, of which two pages speak: which model is ahead and how fast they were."""

from functools import cache

from data.token_store import CHUNK
from judging.comparisons import with_verdicts
from reports.comparison.leakage_findings import LOW, comparisons, share_of_bytes, surviving
from studies.results_file import read_results
from tests.reports.page_numbers.measured import ROOT, compared, gain, results

COMPARE = "experiments/results/compare/results.json"
ONE_SEED = "experiments/results/compare/results-one-seed.json"
COPYING = "RETRO on − off (copying, ours)"
APART = "no_near_duplicates"


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
