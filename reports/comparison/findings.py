"""What the figures of a comparison allow one to say: its entries by form and domain, and sentences.

The tables, the plots and the page all take their words from here, so that none says more than another. A form
is the triple (model, retrieval, initialisation): RETRO is one trained model in two forms, evaluated with its
neighbours and without. `results` carry the verdicts of judging.comparisons.
"""

from collections.abc import Mapping, Sequence
from statistics import mean

from judging.verdicts import BETTER, SEEDS_FOR_A_VERDICT, UNDECIDED, WORSE
from reports.forms import ALL, GOPHER, NO_NEAR_DUPLICATES, Form, form_name, form_of, forms, pair_name
from reports.words import count, plural, signed
from retrieval.keys.encoders import cut_sentence
from studies.trials.held_out import few_in_view

INITIALISATIONS = {
    "published": "with the published initialisation",
    "copying": "with the copying initialisation (ours, not the paper's)",
}


def domains(results: Mapping) -> list[str]:
    """All documents, those without near-duplicates, then the corpus's own domains by name."""
    names = {row["domain"] for row in results["means"]}
    first = [domain for domain in (ALL, NO_NEAR_DUPLICATES) if domain in names]
    return first + sorted(names - set(first))


def mean_of(results: Mapping, form: Form, domain: str = ALL) -> Mapping | None:
    """The entry of `means`, None when the form has no document of this domain."""
    rows = (row for row in results["means"] if form_of(row) == form and row["domain"] == domain)
    return next(rows, None)


def cost_of(results: Mapping, form: Form) -> dict:
    """What a form costs: its size and budget, and its speed as the mean over seeds (None: not measured)."""
    rows = [row for row in results["rows"] if form_of(row) == form and row["domain"] == ALL]
    cost = {key: rows[0][key] for key in ("parameters", "train_tokens", "train_flops")}
    for key in ("tokens_per_second", "mfu"):
        measured = [row[key] for row in rows if row[key] is not None]
        cost[key] = mean(measured) if measured else None
    return cost


def pairs(results: Mapping) -> list[tuple[Form, Form]]:
    """The pairs that were compared, in the order of results.json."""
    return list(dict.fromkeys((form_of(row["a"]), form_of(row["b"])) for row in results["comparisons"]))


def comparison(results: Mapping, a: Form, b: Form, domain: str = ALL) -> Mapping | None:
    """The entry of `comparisons` for a − b, None when this pair was not compared on this domain."""
    for row in results["comparisons"]:
        if (form_of(row["a"]), form_of(row["b"]), row["domain"]) == (a, b, domain):
            return row
    return None


def comparisons(results: Mapping, domains: Sequence[str]) -> list[tuple[Form, Form, dict[str, Mapping]]]:
    """Every pair with its entries on the given domains, in their order."""
    return [
        (a, b, {domain: row for domain in domains if (row := comparison(results, a, b, domain)) is not None})
        for a, b in pairs(results)
    ]


def num_seeds(results: Mapping) -> int:
    return max(row["seeds"] for row in results["means"])


def seeds_sentence(results: Mapping) -> str:
    seeds = num_seeds(results)
    if seeds < SEEDS_FOR_A_VERDICT:
        return (
            f"{plural(seeds, 'seed')}: no model is called better on fewer than {SEEDS_FOR_A_VERDICT} seeds "
            f'(ARGS="--seeds {SEEDS_FOR_A_VERDICT}").'
        )
    return f"Means over {seeds} seeds; better or worse only where every 95 % interval excludes zero."


def headline(results: Mapping) -> str:
    """One sentence on what retrieval did for RETRO, with either initialisation."""
    clauses = []
    for initialisation, words in INITIALISATIONS.items():
        on, off = ("retro", "on", initialisation), ("retro", "off", initialisation)
        row = comparison(results, on, off)
        if row is not None:
            without = comparison(results, on, off, NO_NEAR_DUPLICATES)
            clauses.append(f"{words} {'it' if clauses else 'RETRO'} {_effect(row, without)}")
    if not clauses:
        return "This run does not compare RETRO with and without its neighbours."
    enough = num_seeds(results) >= SEEDS_FOR_A_VERDICT
    reservation = "" if enough else ": too few runs to call that a gain or a loss"
    return f"{_scale(results)}, {'; '.join(clauses)}{reservation}."


def unigram_sentence(results: Mapping) -> str:
    """Names the models that are not below the unigram reference; empty when all are."""
    reference = {row["domain"]: row["bits_per_byte"] for row in results["unigram"]}.get(ALL, float("inf"))
    behind = [form for form in forms(results) if mean_of(results, form)["bits_per_byte"] >= reference]
    if not behind:
        return ""
    names = ", ".join(form_name(form) for form in behind)
    return f"Not below the unigram reference, so too early for any conclusion: {names}."


def neighbours_sentences(results: Mapping) -> str:
    """What keeps RETRO from neighbours, or from good ones; empty where nothing does, or the file is older."""
    corpus = results["corpus"]
    in_view, cut = corpus.get("beside_neighbours", 1), corpus.get("cut_chunks", 0)
    return " ".join(filter(None, (few_in_view(in_view), cut_sentence(cut))))


def against_the_papers(results: Mapping) -> list[tuple[str, str]]:
    """RETRO's two claims that this run can speak to (Borgeaud et al., 2022, C4 at 172M), and what it says."""
    claims = {
        ("retro", "off", "published"): "RETRO predicts better with its neighbours than without them",
        GOPHER: "RETRO with its neighbours predicts better than a dense model of its kind",
    }
    rows = {
        claim: comparison(results, ("retro", "on", "published"), other) for other, claim in claims.items()
    }
    return [
        (f"{claim} (.98 to .82 bits per byte).", _does_it_appear(row)) for claim, row in rows.items() if row
    ]


def _does_it_appear(row: Mapping) -> str:
    measured = f"{pair_name(form_of(row['a']), form_of(row['b']))} is {signed(row['difference'])}"
    finding = {
        BETTER: "The same direction appears here",
        WORSE: "At this scale the direction is the opposite",
        UNDECIDED: "Whether this direction holds cannot be told at this scale",
    }.get(row["verdict"], f"Not decided here, on {row['verdict']}")
    return f"{finding}: {measured} bits per byte."


def _effect(row: Mapping, without_near_duplicates: Mapping | None) -> str:
    also = ""
    if without_near_duplicates is not None:
        also = f"; {signed(without_near_duplicates['difference'])} on documents without near-duplicates"
        if without_near_duplicates["verdict"] != row["verdict"]:
            also += f", where the verdict is: {without_near_duplicates['verdict']}"
    numbers = f"({signed(row['difference'])} bits per byte{also})"
    return {
        BETTER: f"gains from retrieval {numbers}",
        WORSE: f"loses through retrieval {numbers}",
        UNDECIDED: f"cannot be told to gain or to lose from retrieval {numbers}",
    }.get(row["verdict"], f"changes with retrieval {numbers}")


def _scale(results: Mapping) -> str:
    sizes = [row["parameters"] for row in results["rows"]]
    tokens = max(row["train_tokens"] for row in results["rows"])
    size = " to ".join(dict.fromkeys([count(min(sizes)), count(max(sizes))]))
    seeds = plural(num_seeds(results), "seed")
    return f"At {size} parameters, {count(tokens)} training tokens and {seeds}"
