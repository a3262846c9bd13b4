"""The page of sources shows what its JSON says, lets no text out of its box, and works in a browser."""

import json
import re
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.tokenizers import Tokenizer, train_tokenizer
from reports.sources import text_view, visible, write_page
from studies.sources import token_texts
from tests.many_processes import ROOT
from tests.reports.browser import CHROMIUM, DRIVER, browser

HOSTILE = '<script>alert("x")</script> & \'\x00\x1b\u202e\ud800"'
COMMITTED = ROOT / "experiments/results/generate"
CHUNK, LENGTH, K = 64, 150, 2  # the last of three chunks is not complete


def make_generation(length=LENGTH, seed=0):
    """As `studies.sources.explained` writes it, of random losses and hostile text."""
    random = np.random.default_rng(seed)
    words = [f"w{i} " if i % 9 else f"\n\tlong_name_{i}{HOSTILE} " for i in range(length)]

    def neighbour(u, c):
        informed = min(CHUNK, length - CHUNK * (u + 1))
        return {
            "source": f"folder/document_{u}{c}{HOSTILE}", "domain": "code", "chunk": 3 + c, "line": 41 + u,
            "chunks_in_document": 9, "distance": float(random.random()), "text": "", "continuation": "",
            "token_texts": [f"n{i} " for i in range(100)], "continuation_at": 64,
            "runs": [[2, 70, 5], [4, 10, 4]], "share": [0.7, 0.3][c],
            "nats_without": random.uniform(0, 9, informed).tolist(),
        }  # fmt: skip

    return {
        "prompt": "", "continuation": "", "prompt_tokens": 100, "minimum_run": 4,
        "token_texts": ["", *words[1:]],
        "nats_on": [None, *random.uniform(0, 9, length - 1).tolist()],
        "nats_off": [None, *random.uniform(0, 9, length - 1).tolist()],
        "chunks": [[neighbour(u, c) for c in range(K)] for u in range((length - 1) // CHUNK)],
    }  # fmt: skip


def page_of(generations, folder):
    write_page({"command": f"python {HOSTILE}", "generations": generations}, folder / "sources.html")
    return (folder / "sources.html").read_text(encoding="utf-8")


def test_text_stays_text_and_nothing_else_is_loaded(tmp_path):
    page = page_of([make_generation() | {"title": HOSTILE, "note": HOSTILE}, make_generation()], tmp_path)
    assert page.count("<script>") == 1 and page.count("&lt;script&gt;") > 30
    assert "\x00" not in page and "␀" in page and "⟨202E⟩" in page and "⟨D800⟩" in page
    assert "default-src 'none'" in page and "://" not in page and "<link" not in page
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!#)""", page)


def test_ids_are_unique_and_every_reference_meets_one(tmp_path):
    page = page_of([make_generation(), make_generation()], tmp_path)
    ids = re.findall(r'\bid="([^"]*)"', page)
    references = re.findall(r'href="#([^"]*)"', page) + re.findall(r'aria-labelledby="([^"]*)"', page)
    assert len(ids) == len(set(ids)) and references and set(references) <= set(ids)


@pytest.mark.parametrize("length", [1, 2, CHUNK])
def test_a_text_shorter_than_a_chunk_says_that_nothing_was_retrieved_yet(tmp_path, length):
    page = page_of([make_generation(length)], tmp_path)
    assert "Nothing was retrieved yet" in page and "ends before that" in page and "Found by" not in page


@given(length=st.integers(1, 3 * CHUNK + 1), seed=st.integers(0, 99))
def test_every_token_is_shown_once_and_totals_are_sums(length, seed):
    generation = make_generation(length, seed)
    view = text_view(generation, 1)
    tokens = [token for chunk in view["chunks"] for token in chunk["tokens"]]
    assert [token["position"] for token in tokens] == list(range(length))
    assert view["off"] == pytest.approx(sum(generation["nats_off"][1:]))
    for chunk, found in zip(view["chunks"], [[], *generation["chunks"]], strict=True):
        assert len(chunk["neighbours"]) == len(found)
        for shown, neighbour in zip(chunk["neighbours"], found, strict=True):
            assert shown["cost"] == pytest.approx(sum(neighbour["nats_without"]) - chunk["on"], abs=1e-9)
            pieces = [piece["text"] for part in shown["parts"] for piece in part]
            assert "".join(pieces) == "".join(neighbour["token_texts"])
        places = {piece["at"] for n in chunk["neighbours"] for part in n["parts"] for piece in part}
        assert {match for token in chunk["tokens"] for match in token["matches"]} <= places


def test_the_committed_page_is_that_of_the_committed_results(tmp_path):
    results = json.loads((COMMITTED / "generation.json").read_text())
    write_page(results, tmp_path / "sources.html")
    assert (tmp_path / "sources.html").read_bytes() == (COMMITTED / "sources.html").read_bytes()


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    train_tokenizer(["some words, some more " * 99], style="palm", vocab_size=300, path=path, at_most=True)
    return Tokenizer(path)


@given(text=st.text(st.sampled_from("some words\t\n▁é€😀\ufffd\x00")))
def test_token_texts_together_are_the_text(tokenizer, text):
    """Most characters here are bytes to this vocabulary, and a character is never cut."""
    ids = tokenizer.encode(text)
    texts = token_texts(ids, tokenizer)
    assert len(texts) == len(ids) and "".join(texts) == text


@given(st.text())
def test_what_is_shown_has_a_shape_and_nothing_is_lost(text):
    shown = visible(text)
    assert all(
        character.isprintable() or unicodedata.category(character) == "Zs" or character in "\n\t"
        for character in shown
    )
    assert len(shown) >= len(text)
    shown.encode()  # no half of a surrogate pair


def test_compare_writes_the_page_of_the_example_and_links_it(run):
    """Its losses are those that the evaluation kept."""
    out, _, _ = run
    told, results = (json.loads((out / name).read_text()) for name in ("sources.json", "results.json"))
    (text,) = told["generations"]
    assert results["sources"] == "sources.html" and 'href="sources.html"' in (out / "report.html").read_text()
    page = (out / "sources.html").read_text()
    assert (
        text["title"] == results["example"]["source"] and visible(text["title"]).replace("<", "&lt;") in page
    )
    for retrieval in ("on", "off"):
        nats = np.array(text[f"nats_{retrieval}"][1:])
        evaluated = np.load(out / f"retro-copying/seed-0/evaluation-{retrieval}.npy")[:, : len(nats)]
        np.testing.assert_allclose(np.abs(evaluated - nats).max(axis=1).min(), 0, atol=1e-4)
    told_of = [neighbour["source"] for neighbour in results["example"]["neighbours"]]
    assert told_of in [[neighbour["source"] for neighbour in chunk] for chunk in text["chunks"]]


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver on the PATH")
def test_in_a_browser(tmp_path):
    """Nothing is complained about or asked of a network; a narrow window needs no sideways scrolling; keys
    reach every token and its numbers, which are those of the JSON.
    """
    generation = make_generation()
    page_of([generation], tmp_path)
    with browser(tmp_path / "profile") as page:
        page.open(tmp_path / "sources.html", width=360)
        assert page.run("return [innerWidth, document.documentElement.scrollWidth]") == [360, 360]
        page.open(tmp_path / "sources.html", width=1200)
        shown = page.run(
            """const text = (root, selector) => [...root.querySelectorAll(selector)].map(x => x.textContent);
            return [...document.querySelectorAll('.chunk')].map(chunk => ({
                losses: [...chunk.querySelector('tbody').rows].map(row => [...row.cells].map(x => x.textContent)),
                sources: text(chunk, '.neighbour b'), facts: text(chunk, '.facts li')}));"""
        )
        assert_equal_to_the_json(shown, generation)

        def focused():
            return page.run("return [document.activeElement.className, document.activeElement.textContent]")

        page.press("Tab")
        assert focused()[1] == "To the text"
        page.run("document.querySelectorAll('.chunk')[0].querySelector('.token').focus()")
        page.press("ArrowDown", "ArrowRight", "ArrowRight")
        assert "token" in focused()[0] and focused()[1] == visible(generation["token_texts"][CHUNK + 2])
        assert page.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
        assert page.run("return document.querySelectorAll('.matched').length") == K
        page.press("Enter")
        opened = page.run(
            "return [...document.querySelectorAll('.details:not([hidden]) dd')].map(x => x.textContent)"
        )
        assert opened == shown[1]["losses"][2]
        page.press("ArrowLeft")
        opened = page.run(
            "return [...document.querySelectorAll('.details:not([hidden]) dd')].map(x => x.textContent)"
        )
        assert opened == shown[1]["losses"][1]
        page.press("Escape")
        assert page.run("return document.querySelectorAll('.details:not([hidden])').length") == 0
        page.press("Tab", "Tab")
        assert page.run("return document.activeElement.closest('.neighbour') !== null")
        page.press("Space")
        assert page.run("return document.activeElement.parentElement.open") is False
        asked = [json.loads(line["message"])["message"] for line in page.log("performance")]
        addresses = {
            event["params"]["request"]["url"]
            for event in asked
            if event["method"] == "Network.requestWillBeSent"
        }
        assert addresses <= {(tmp_path / "sources.html").as_uri()}
        assert page.log("browser") == []


def assert_equal_to_the_json(shown, generation):
    for v, (chunk, found) in enumerate(zip(shown, [[], *generation["chunks"]], strict=True)):
        assert chunk["sources"] == [f"{c} {visible(n['source'])}" for c, n in enumerate(found, 1)]
        on = [value or 0 for value in generation["nats_on"][CHUNK * v : CHUNK * (v + 1)]]
        for neighbour, facts in zip(found, zip(*[iter(chunk["facts"])] * 4), strict=True):
            without = sum(neighbour["nats_without"])
            signed = f"{without - sum(on):+.2f}".replace("-", "−")
            assert facts[0] == f"distance {neighbour['distance']:.3f}"
            assert facts[1] == f"{100 * neighbour['share']:.1f} % of attention"
            assert facts[2] == f"left out: {without:.2f} nats ({signed})"
            assert facts[3] == "shares up to 5 tokens in a row"
        for i, (_, position, *numbers, shared) in enumerate(chunk["losses"]):
            t = CHUNK * v + i
            losses = [
                generation["nats_on"][t],
                *(n["nats_without"][i] for n in found),
                generation["nats_off"][t],
            ]
            assert int(position) == t
            assert numbers == ["–" if loss is None else f"{loss:.2f}" for loss in losses]
            assert shared == ("1, 2" if found and 2 <= i < 8 else "–")
