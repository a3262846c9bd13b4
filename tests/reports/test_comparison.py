"""The report says what results.json says, no more, and lets no text of the corpus out of its box."""

import math
import re

import pytest

from judging.comparisons import with_verdicts
from reports.comparison import findings
from reports.comparison.page import markdown_table, save_plot, terminal_table, write_report
from reports.forms import GOPHER, NO_NEAR_DUPLICATES, domain_name, form_name, form_of
from reports.words import bits, bounds, count, flops

HOSTILE = '<script>alert("x")</script> & $\\alpha$ \x00\ud800'
PUBLISHED_ON, PUBLISHED_OFF = ("retro", "on", "published"), ("retro", "off", "published")
COPYING_ON, COPYING_OFF = ("retro", "on", "copying"), ("retro", "off", "copying")
PALM = ("palm", None, None)
BITS = {
    PALM: 1.981, GOPHER: 1.992, PUBLISHED_OFF: 1.9936, PUBLISHED_ON: 1.9933, COPYING_OFF: 2.012,
    COPYING_ON: 1.929,
}  # fmt: skip
DOMAINS = {"all": 0.0, "code": 0.021, "docs": -0.034, "no_near_duplicates": 0.116}


def _form(form):
    return dict(zip(("model", "retrieval", "initialisation"), form, strict=True))


def _row(form, domain, seed):
    value = BITS[form] + DOMAINS.get(domain, 0.0) + 0.002 * seed
    size = 1_376_896 if form[0] != "retro" else 1_561_216
    return _form(form) | {
        "domain": domain, "seed": seed, "parameters": size, "train_tokens": 614_400, "train_flops": 7.03e12,
        "bits_per_byte": value, "interval": [value - 0.06, value + 0.06], "tokens_per_second": 5400.0 + seed,
        "mfu": 0.31,
    }  # fmt: skip


def _comparison(a, b, domain, seeds):
    difference = BITS[a] - BITS[b]
    around = [difference - 0.004, difference + 0.004]
    return {
        "a": _form(a), "b": _form(b), "domain": domain, "difference": difference,
        "over_seeds": around if seeds > 1 else None, "over_groups": around,
        "excludes_zero": abs(difference) > 0.004, "seeds": seeds, "groups": 30,
    }  # fmt: skip


def _curve(form, seed):
    tokens = list(range(1024, 614_401, 1024))
    loss = [3.4 + 5.0 * math.exp(-t / 40_000) + 0.15 * math.sin(12.9 * t + seed) for t in tokens]
    return {"model": form[0], "initialisation": form[2], "seed": seed, "tokens": tokens, "loss": loss}


def _example():
    words = ["def", " decode", "(", "self", ",", " s", ")", ":", "\n", "        ", "return"]
    tokens = [
        {"text": word, "nats_off": 1.0 + (i * 7 % 5), "nats_on": 1.0 + (i * 3 % 4)}
        for i, word in enumerate(words)
    ]
    text = "def scan(s):\n    return s\n"
    neighbour = {"source": "json.scanner", "chunk": 3, "distance": 0.41, "text": text}
    return {
        "initialisation": "copying", "selection": "the chunk that gained most",
        "source": "json.decoder", "domain": "code", "chunk": 7,
        "retrieving_text": 'class JSONDecoder:\n    """Simple decoder."""\n\n',
        "continuation_text": "".join(words),
        "neighbours": [neighbour | {"continuation": "    # and on\n"} for _ in range(2)], "tokens": tokens,
    }  # fmt: skip


def make_results(seeds=3, domains=tuple(DOMAINS)):
    others = (PALM, GOPHER)
    pairs = [(PUBLISHED_ON, PUBLISHED_OFF), (PUBLISHED_ON, GOPHER), (COPYING_ON, COPYING_OFF),
             (COPYING_ON, GOPHER), others]  # fmt: skip
    means = [
        {key: value for key, value in _row(form, domain, (seeds - 1) / 2).items() if key != "seed"}
        | {"seeds": seeds}
        for form in BITS
        for domain in domains
    ]
    return {
        "experiment": "compare",
        "command": f"python -m experiments.compare --preset default --seeds {seeds}",
        "config": {
            "preset": "default", "options": {"seeds": seeds, "corpus": None},
            "models": {"palm": {"d_model": 128}},
        },
        "environment": {"python": "3.11.7", "jax": "0.10.2", "device": "cpu", "cores": 2, "commit": "ab12"},
        "corpus": {
            "documents": {"code": 512, "docs": 400}, "validation_documents": 60, "bytes_per_token": 3.2,
            "tokens": {"train": 1_900_000, "validation": 160_000}, "chunks": 31_000, "skipped": {"binary": 3},
            "near_duplicate_threshold": 0.2,
        },
        "unigram": [{"domain": name, "bits_per_byte": 3.1 + DOMAINS.get(name, 0.0)} for name in domains],
        "rows": [_row(form, domain, seed) for form in BITS for domain in domains for seed in range(seeds)],
        "means": means,
        "comparisons": [_comparison(a, b, domain, seeds) for a, b in pairs for domain in domains],
        "stages": [
            {"stage": "tokenizer", "seconds": 1.7, "reused": False},
            {"stage": "embedding", "seconds": 281.4, "reused": True},
            {"stage": "training", "seconds": 502.0, "reused": False},
        ],
        "peak": {"flops_per_second": 2.1e11, "convention": "MFU = model FLOPs / measured peak"},
        "curves": [
            _curve(form, seed)
            for form in (PALM, GOPHER, PUBLISHED_ON, COPYING_ON)
            for seed in range(seeds)
        ],
        "example": _example(),
    }  # fmt: skip


def page_of(results, tmp_path):
    write_report(results, tmp_path / "report.html")
    return (tmp_path / "report.html").read_text(encoding="utf-8")


def cells(page):
    """Every table cell's text."""
    found = re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", page, re.DOTALL)
    return [re.sub(r"<[^>]*>", "", cell) for cell in found]


def test_text_of_the_corpus_stays_text(tmp_path):
    results = make_results(seeds=1, domains=("all", HOSTILE))
    results["command"] = HOSTILE
    results["environment"] |= {HOSTILE: HOSTILE}
    results["stages"][0]["stage"] = HOSTILE
    example = results["example"]
    example |= {"source": HOSTILE, "domain": HOSTILE, "retrieving_text": HOSTILE}
    example["neighbours"][0] |= {"source": HOSTILE, "text": HOSTILE, "continuation": HOSTILE}
    example["tokens"][0]["text"] = HOSTILE
    page = page_of(results, tmp_path)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 10
    assert "\x00" not in page and "␀" in page


def test_the_page_loads_nothing(tmp_path):
    page = page_of(make_results(), tmp_path)
    assert "http" not in page and "<link" not in page and "<script" not in page and "@import" not in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page)
    assert not re.findall(r"url\((?!#)", page)


@pytest.mark.parametrize(
    "address",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "data:text/html,x",
        "https://example.org/",
        "../x",
        "",
        None,
        7,
        [],
    ],
)
def test_no_address_of_a_results_file_becomes_a_link(tmp_path, address):
    results = make_results()
    page = page_of(results, tmp_path)
    assert page_of(results | {"sources": address}, tmp_path) == page
    linked = page_of(results | {"sources": "sources.html"}, tmp_path)
    assert {a for a in re.findall(r'href="([^"]*)"', linked) if not a.startswith("#")} == {"sources.html"}


def test_ids_are_unique_and_every_reference_meets_one(tmp_path):
    page = page_of(make_results(), tmp_path)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    labels = " ".join(re.findall(r'aria-labelledby="([^"]*)"', page)).split()
    references = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page) + labels
    assert references and set(references) <= set(ids)


def test_the_page_shows_every_row(tmp_path):
    results = make_results()
    texts = cells(page_of(results, tmp_path))
    for row in results["rows"]:
        name = form_name(form_of(row))
        figures = [
            name, str(row["seed"]), domain_name(row["domain"]), f"{row['bits_per_byte']:.4f}",
            bounds(row["interval"]), f"{row['parameters']:,}", f"{row['train_tokens']:,}",
            flops(row["train_flops"], 3), f"{row['tokens_per_second']:,.0f}", f"{row['mfu']:.1%}",
        ]  # fmt: skip
        assert any(texts[i : i + len(figures)] == figures for i in range(len(texts))), figures


def test_terminal_table_has_a_line_per_form_and_fits():
    results = make_results()
    table = terminal_table(results)
    lines = table.splitlines()
    assert max(map(len, lines)) <= 110
    for form in BITS:
        whole = findings.mean_of(results, form)
        start = f"{form_name(form)} "
        figures = [bounds(whole["interval"]), "614K", "7.0e12", "5,401", "31%"]
        means = [findings.mean_of(results, form, domain) for domain in DOMAINS]
        figures += [bits(mean["bits_per_byte"]) for mean in means]
        assert any(line.startswith(start) and all(text in line for text in figures) for line in lines), form
    assert any(line.startswith("unigram reference") and "3.100" in line for line in lines)
    assert "embedding 281.4 (reused)" in table and results["peak"]["convention"] in table


def test_more_domains_than_fit_are_named():
    domains = ("all", "no_near_duplicates", *(f"folder number {i}" for i in range(12)))
    table = terminal_table(make_results(domains=domains))
    assert max(map(len, table.splitlines())) <= 110
    assert "folder number 11" in " ".join(table.split())


def test_markdown_rows_are_single_lines():
    lines = markdown_table(make_results()).strip().splitlines()
    assert all(line.startswith("|") and line.endswith("|") for line in lines if line)
    pair = [line for line in lines if "RETRO on − off (copying, ours)" in line]
    assert len(pair) == 2 and all("−0.0830" in line and "better" in line for line in pair)


def test_headline_follows_the_comparisons():
    results = make_results()
    published, copying = findings.headline(with_verdicts(results)).split("; with ")
    assert "cannot be told to gain or to lose" in published and "−0.0003" in published
    assert "gains from retrieval (−0.0830" in copying and "ours" in copying
    for row in results["comparisons"]:
        row["difference"], row["excludes_zero"] = 0.02, True
    assert "gains" not in findings.headline(with_verdicts(results))
    assert findings.headline(with_verdicts(results)).count("loses") == 2


def test_headline_names_a_gain_that_near_duplicates_alone_bring():
    results = make_results()
    row = findings.comparison(results, COPYING_ON, COPYING_OFF, NO_NEAR_DUPLICATES)
    row |= {"difference": -0.001, "excludes_zero": False}
    assert "−0.0010 on documents without near-duplicates, where the verdict is: cannot tell" in (
        findings.headline(with_verdicts(results))
    )


def test_a_published_direction_that_cannot_be_told_is_called_that(tmp_path):
    results = make_results()
    page = page_of(results, tmp_path)
    assert page.count("cannot be told at this scale") == 2
    findings.comparison(results, PUBLISHED_ON, PUBLISHED_OFF).update(difference=-0.02, excludes_zero=True)
    findings.comparison(results, PUBLISHED_ON, GOPHER).update(difference=0.02, excludes_zero=True)
    page = page_of(results, tmp_path)
    assert "The same direction appears here: RETRO on − off is −0.0200" in page
    assert "the direction is the opposite: RETRO on − Gopher is +0.0200" in page


@pytest.mark.parametrize("seeds", [1, 2])
def test_nothing_is_called_better_on_few_seeds(seeds, tmp_path):
    results = make_results(seeds)
    table = terminal_table(results)
    assert "no model is called better on fewer than 3 seeds" in table
    assert not re.search(r"(better|worse)$", table, re.MULTILINE)
    assert not {"better", "worse"} & set(cells(page_of(results, tmp_path)))
    assert "gains" not in findings.headline(with_verdicts(results))


def test_models_that_do_not_beat_the_unigram_reference_are_named(tmp_path):
    results = make_results()
    assert findings.unigram_sentence(results) == ""
    results["unigram"][0]["bits_per_byte"] = 2.0
    sentence = "Not below the unigram reference, so too early for any conclusion: RETRO off (copying, ours)."
    assert sentence in " ".join(terminal_table(results).split()) and sentence in page_of(results, tmp_path)


def test_what_keeps_retro_from_its_neighbours_is_said(tmp_path):
    results = make_results()
    assert findings.neighbours_sentences(results) == "", "an older file does not say"
    results["corpus"] |= {"beside_neighbours": 0.9, "cut_chunks": 0.04}
    assert findings.neighbours_sentences(results) == ""
    results["corpus"] |= {"beside_neighbours": 0.0, "cut_chunks": 0.84}
    for text in (" ".join(terminal_table(results).split()), page_of(results, tmp_path)):
        assert "No held-out token is predicted with neighbours in view, and RETRO on is RETRO off" in text
        assert "84% of the chunks have more wordpieces" in text


def test_what_may_be_missing_is_a_dash_or_left_out(tmp_path):
    """No example, one document (no interval), nothing measured, nothing trained, a form of no known name."""
    results = make_results(seeds=1, domains=("all", "a domain of one's own"))
    results |= {"example": None, "comparisons": [], "curves": [], "unigram": [], "stages": []}
    for row in results["rows"] + results["means"]:
        row |= {"interval": None, "mfu": None, "tokens_per_second": None}
        row["model"] = "mamba" if row["model"] == "palm" else row["model"]
    page = page_of(results, tmp_path)
    save_plot(results, tmp_path / "plot.png")
    assert "worked example" not in page and page.count("<svg") == 1
    assert "mamba" in terminal_table(results) and "a domain of one&#39;s own" in page
    assert "–" in markdown_table(results)


def test_a_chunk_without_neighbours(tmp_path):
    results = make_results(seeds=1)
    results["example"]["neighbours"] = []
    assert "No neighbour was found" in page_of(results, tmp_path)


def test_the_example_gives_every_tokens_numbers(tmp_path):
    results = make_results()
    page = page_of(results, tmp_path)
    for token in results["example"]["tokens"]:
        assert f"off {token['nats_off']:.2f}, on {token['nats_on']:.2f}:" in page
    saved = sum(token["nats_off"] - token["nats_on"] for token in results["example"]["tokens"])
    assert f"cost {abs(saved):.1f} nats {'less' if saved > 0 else 'more'}" in page


def test_the_same_results_give_the_same_bytes(tmp_path):
    for name in ("first", "second"):
        write_report(make_results(), tmp_path / f"{name}.html")
        save_plot(make_results(), tmp_path / f"{name}.png")
    for kind in ("html", "png"):
        assert (tmp_path / f"first.{kind}").read_bytes() == (tmp_path / f"second.{kind}").read_bytes()
    assert (tmp_path / "first.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0, "0"), (999, "999"), (1000, "1.00K"), (614_400, "614K"), (999_499, "999K"), (999_600, "1.00M"),
     (1_376_896, "1.38M"), (7.5e9, "7.50B"), (280e9, "280B")],
)  # fmt: skip
def test_count(value, expected):
    assert count(value) == expected
