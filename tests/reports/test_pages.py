"""The committed pages are those of the committed results; any results give pages that say every row, load
nothing, and are the same each time.
"""

import json
import re
import shutil

import pytest

from errors import InputError
from experiments import publish
from experiments.publish import BY_HAND, DOCS, RESULTS
from judging.rows import judge
from reports.comparison.page import save_plot, write_report
from reports.pages import differing, pages, with_tables, write
from reports.sections import sections
from reports.words import signed
from tests.reports.synthetic_studies import ablation_of_palm, ablation_of_retro, payoff, scaling, square

HOSTILE = '<script>alert("x")</script> & | <img src=x>'
MADE = {
    "ablate-palm": ablation_of_palm(), "ablate-retro": ablation_of_retro(), "payoff": payoff(), "square": square(),
    "scaling": scaling(),
}  # fmt: skip


def put(folder, made):
    for name, results in made.items():
        (folder / name).mkdir(parents=True)
        (folder / name / "results.json").write_text(json.dumps(results))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """(folder of results, pages) of all kinds of files."""
    folder = put(tmp_path_factory.mktemp("results"), MADE)
    for name in ("compare", "parallelism", "plan"):
        shutil.copytree(RESULTS / name, folder / name)
    return folder, pages(sections(folder))


@pytest.fixture(scope="module")
def committed():
    return sections(RESULTS)


def test_the_tables_of_pages_by_hand_are_those_of_the_committed_results(committed):
    names = []
    figures = (("1.971 [1.750, 2.240]",), ("[−0.0476, −0.0073]", "−0.0088 (better)", "20 of 20"))
    for path, its_figures in zip(BY_HAND, figures, strict=True):
        text = path.read_text(encoding="utf-8")
        assert with_tables(text, committed) == text, "make report, and commit what it writes"
        names += re.findall(r"<!-- (\w+): written by make report", text)
        for figure in its_figures:
            wrong = text.replace(figure, "0.000")
            assert wrong != text and with_tables(wrong, committed) == text
    assert names == ["compare", "differences", "leakage", "directions"]


def test_the_committed_pages_are_those_of_the_committed_results(committed):
    wrong = [str(path) for path in differing(pages(committed), DOCS)]
    assert not wrong, "make report, and commit what it writes"


def test_a_card_counts_the_chunks_that_neighbours_are_found_among(made, tmp_path):
    """And says what it counts where an older file has only those of all documents."""
    assert "- Chunks of the whole text, held-out documents included: 28,441" in made[1]["cards/square.md"]
    corpus = MADE["square"]["corpus"] | {"database_chunks": 25_647}
    pages_of = pages(sections(put(tmp_path, {"square": MADE["square"] | {"corpus": corpus}})))
    assert "- Chunks of the retrieval database: 25,647" in pages_of["cards/square.md"]
    assert "28,441" not in pages_of["cards/square.md"]


def test_a_corpus_whose_path_is_no_utf_8_has_pages(tmp_path):
    """Its bytes are escaped; both kinds of results, in the command and in the configuration."""
    name = "notes/caf\udce9"
    square = MADE["square"] | {"command": f"python -m experiments.square --corpus '{name}'"}
    square["config"] = square["config"] | {"corpus": name}
    written = pages(sections(put(tmp_path, {"square": square})))
    write(written, tmp_path / "docs")
    assert not differing(written, tmp_path / "docs")
    assert "notes/caf\\xe9" in (tmp_path / "docs/cards/square.md").read_text(encoding="utf-8")


def test_a_card_says_how_much_of_the_text_neighbours_can_help_with(made, tmp_path):
    assert "encoder reads" not in made[1]["cards/square.md"], "an older file does not say"
    corpus = MADE["square"]["corpus"] | {"cut_chunks": 0.843, "beside_neighbours": 0.9}
    pages_of = pages(sections(put(tmp_path, {"square": MADE["square"] | {"corpus": corpus}})))
    assert "- Chunks that are longer than what the encoder reads: 84.3%" in pages_of["cards/square.md"]
    assert (
        "- Held-out tokens that are predicted with neighbours in view: 90.0%" in pages_of["cards/square.md"]
    )


def test_every_row_and_number_stands_on_both_pages(made):
    for results in MADE.values():
        for row in judge(results):
            for name in ("results.md", "report.html"):
                assert row.name in made[1][name]
                for difference in filter(None, (row.difference, row.gain)):
                    assert signed(difference.mean) in made[1][name]
    for page in (made[1]["results.md"], made[1]["report.html"]):
        for words in (
            "diverged: 2 of 3 seeds, last finite loss 5.20 nats",
            "failed: 1 of 3 seeds (out of memory)",
        ):
            assert words in page


def test_a_number_of_the_file_moves_the_pages(made, tmp_path):
    folder, before = made
    changed = json.loads((folder / "square/results.json").read_text())
    changed["rows"][1]["cells"][0]["nats"][0] += 50.0
    one = pages(sections(put(tmp_path / "one", {"square": MADE["square"]})))
    other = pages(sections(put(tmp_path / "other", {"square": changed})))
    assert all(one[name] != other[name] for name in ("results.md", "report.html", "cards/square.md"))
    assert one == pages(sections(tmp_path / "one")) and one["cards/square.md"] == before["cards/square.md"]


def test_the_page_loads_nothing_and_every_reference_meets_an_id(made):
    page = made[1]["report.html"]
    assert "http" not in page and "<link" not in page and "<script" not in page and "@import" not in page
    assert not re.findall(r"""src\s*=""", page) and not re.findall(r"url\((?!#)", page)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) == len(set(ids))
    labels = " ".join(re.findall(r'aria-labelledby="([^"]*)"', page)).split()
    references = re.findall(r'href="#([^"]*)"', page) + re.findall(r"url\(#([^)]*)\)", page) + labels
    assert references and set(references) <= set(ids)
    anchors = re.findall(r'<a id="([^"]*)"', made[1]["results.md"])
    assert set(re.findall(r"\]\(#([^)]*)\)", made[1]["results.md"])) == set(anchors)


def test_links_lead_somewhere(made):
    for page in (made[1]["results.md"], made[1]["report.html"], made[1]["cards/compare.md"]):
        folder = DOCS / "cards" if page is made[1]["cards/compare.md"] else DOCS
        targets = re.findall(r"""\]\(([^)#]+)[)#]|href="([^"#]+)\"""", page)
        for target in filter(None, (first or second for first, second in targets)):
            written = target.removeprefix("cards/") in {f"{name}.md" for name in MADE}
            synthetic = any(f"results/{name}/results.json" in target for name in MADE)
            generated = target in ("report.html", "../results.md") or target.startswith("cards/")
            assert written or synthetic or generated or (folder / target).exists(), target


def test_a_title_names_its_folder_where_experiments_share_one(made, tmp_path):
    assert all(section.title == section.sentences.title for section in sections(made[0]))
    folder = put(
        tmp_path, {"square": MADE["square"], "square-again": MADE["square"], "other": MADE["square"]}
    )
    titles = {section.name: section.title for section in sections(folder)}
    assert titles == {
        "square": "The square", "square-again": "The square (again)", "other": "The square (other)",
    }  # fmt: skip


def test_text_of_a_file_stays_text(tmp_path):
    hostile = json.loads(json.dumps(MADE["square"]).replace("Gopher block, dense", "a name"))
    hostile["rows"][0] |= {"name": HOSTILE, "note": HOSTILE, "group": HOSTILE}
    hostile["rows"][1]["against"] = HOSTILE
    hostile |= {"command": HOSTILE, "experiment": HOSTILE}
    written = pages(sections(put(tmp_path, {"its own": hostile})))
    assert written["report.html"].count("&lt;script&gt;") >= 4
    assert not any("<script" in text or "<img" in text for text in written.values())
    rows = [line for line in written["results.md"].splitlines() if line.startswith("| ") and "alert" in line]
    assert rows and all("&lt;script>" in row and "\\|" in row for row in rows)


def test_cards_are_of_runs_that_trained_on_text_and_say_what_the_file_says(made):
    cards = {name: text for name, text in made[1].items() if name.startswith("cards/")}
    assert set(cards) == {f"cards/{name}.md" for name in (*MADE, "compare")}
    palm = cards["cards/ablate-palm.md"]
    for words in ("Language models of PaLM,", "272 code, 223 docs", "1,628,192 training tokens", "30 of 52 validation",
                 "serial block", "1 of 3", "3 binary", "`0123456789abcdef`", "Apache-2.0"):  # fmt: skip
        assert words in palm, words
    assert (
        "Gopher" not in palm.split("### Intended use")[0]
        and "2x length" not in palm.split("### Evaluation")[0]
    )
    assert "Python's standard library, as the Python that ran" in palm


def test_another_text_is_not_called_the_standard_library(tmp_path):
    other = json.loads(json.dumps(MADE["square"]).replace('"stdlib"', '"notes/"'))
    card = pages(sections(put(tmp_path, {"square": other})))["cards/square.md"]
    assert "`notes/` was given" in card and "standard library" not in card


def test_writing_and_checking(made, committed, tmp_path, capsys, monkeypatch):
    docs = tmp_path / "docs"
    (docs / "cards").mkdir(parents=True)
    (docs / "cards/gone.md").write_text("of a run that is no more")
    assert len(differing(made[1], docs)) == len(made[1]) + 1
    write(made[1], docs)
    assert differing(made[1], docs) == [] and not (docs / "cards/gone.md").exists()
    (docs / "results.md").write_text("edited by hand")
    monkeypatch.setattr(publish, "DOCS", docs)
    monkeypatch.setattr(publish, "sections", lambda folder: committed)
    monkeypatch.setattr(publish, "pages", lambda sections: made[1])
    with pytest.raises(SystemExit) as end:
        publish.publish(publish.Options(check=True))
    assert end.value.code == 1
    assert capsys.readouterr().out == "docs/results.md does not agree with the results: make report\n"
    assert (docs / "results.md").read_text() == "edited by hand"
    publish.publish(publish.Options())
    publish.publish(publish.Options(check=True))


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(InputError, match="run an experiment first"):
        sections(tmp_path)
    path = put(tmp_path, {"square": MADE["square"]}) / "square/results.json"
    path.write_text(path.read_text()[:5000])
    with pytest.raises(InputError, match=r"square/results\.json is cut short"):
        sections(tmp_path)
    path.write_text('{"experiment": "ablate palm", "rows": []}')
    with pytest.raises(InputError, match="older layout"):
        sections(tmp_path)


@pytest.mark.exhaustive
def test_the_page_of_the_comparison_is_that_of_its_results(tmp_path):
    results = json.loads((RESULTS / "compare/results.json").read_text(encoding="utf-8"))
    write_report(results, tmp_path / "report.html")
    save_plot(results, tmp_path / "plot.png")
    for name in ("report.html", "plot.png"):
        assert (tmp_path / name).read_bytes() == (RESULTS / "compare" / name).read_bytes(), name
