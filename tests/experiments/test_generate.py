"""Generation as a person runs it, on a PaLM and a RETRO as they are before training, and with bad input."""

import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
import sentencepiece

from command import command
from data.documents import Document
from data.tokenizers import Tokenizer
from errors import InputError
from experiments.generate import Options, generate
from models.decoder import Neighbours
from models.families import configuration, with_decoder_fields
from models.palm.config import PaLMConfig
from parallelism.mesh import MeshShape, make_mesh
from progress import printable
from retrieval.database.changes import add as add_documents
from retrieval.database.changes import build as build_database
from retrieval.database.recipe import Recipe
from storage.sealed import read_sealed, write_sealed
from studies.generation import encoded
from studies.prepare import Text, prepare
from studies.stages import Stages
from studies.trials.held_out import evaluation_path, held_out
from studies.trials.train import run_trial, strategy_of
from studies.trials.trained import load_run
from studies.trials.trial import Trial
from tests.parallelism.drawn_states import drawn_state, laid_out
from training.checkpoints import Checkpoints
from training.loop import CHECKPOINTS
from training.losses import token_nats
from training.precision import optimiser_under

TINY_BERT = str(Path(__file__).parents[1] / "models/bert/tiny")
VOCABULARY, LENGTH = 400, 128
# Texts that end within their second chunk, and one neighbour: what reads them is compiled once.
SECOND_CHUNK, EXPLAINED = 110, ("--tokens", "0", "--explain", "--neighbours", "1")
FORMS = {
    "palm": dataclasses.replace(configuration("palm/smoke"), positions="learned", max_length=LENGTH),
    "retro": dataclasses.replace(configuration("retro/smoke"), encoder_layers=1, evaluation_neighbours=3),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A folder with a finished trial of each form, and the artifacts beside them. What is said to be the only
    step's result is a state that numpy drew: the programs that begin and train one take longest to compile, and
    are not needed.
    """
    root, random = tmp_path_factory.mktemp("generate"), np.random.default_rng(0)
    words = ["".join(random.choice(list("abcdefgh"), 5)) for _ in range(300)]
    for number in range(12):
        (root / f"{number}.txt").write_text(" ".join(random.choice(words, 300)))
    artifacts = root / "artifacts"
    text = Text(str(root / "*.txt"), None, "palm", VOCABULARY, TINY_BERT, "Flat", 2)
    prepared = prepare(text, artifacts, Stages(artifacts))
    mesh = make_mesh(MeshShape(), jax.devices()[:1])
    for name, form in FORMS.items():
        trial = Trial(
            name, with_decoder_fields(form, vocab_size=VOCABULARY), 0, 1, 1, LENGTH, "float32", 2000,
            prepared.neighbours.path.name,
        )  # fmt: skip
        strategy = strategy_of(trial, mesh)
        checkpoints = Checkpoints(root / name / CHECKPOINTS, configuration=dataclasses.asdict(trial.config))
        optimiser = optimiser_under(trial.precision, trial.optimiser)
        checkpoints.save(trial.steps, laid_out(drawn_state(trial.config, optimiser), strategy))
        (root / name / "metrics.jsonl").touch()
        run_trial(trial, prepared, strategy_of(trial, mesh), 1e12, root / name)
    return root


@pytest.fixture
def start(capsys, tmp_path):
    """start(arguments) -> (what generation.json says, what was printed)."""

    def run(*arguments):
        command(generate, Options, "", [*map(str, arguments), "--out", str(tmp_path)])
        return json.loads((tmp_path / "generation.json").read_text()), capsys.readouterr().out

    return run


@pytest.fixture
def fails(capsys, tmp_path):
    """fails(arguments) -> the paragraph that the command ends with."""

    def run(*arguments):
        with pytest.raises(SystemExit) as stopped:
            command(generate, Options, "", [*map(str, arguments), "--out", str(tmp_path)])
        assert stopped.value.code == 2 and not (tmp_path / "generation.json").exists()
        message = capsys.readouterr().err.split("error: ")[-1].strip()
        assert "\n\n" not in message and len(message) > 40
        return message

    return run


def test_retro_prints_and_writes_what_it_says_and_where_its_neighbours_come_from(runs, start, tmp_path):
    (tmp_path / "prompt.txt").write_text("abcde fghab")
    prompts = ["--prompt-file", tmp_path / "prompt.txt", "--prompt", ""]
    given = ["--run", runs / "retro", *prompts, "--tokens", "70", "--explain"]
    told, printed = start(*given)
    assert told["experiment"] == "generate" and told["options"]["seed"] == 0
    assert {"jax", "commit", "corpus_hash"} <= told["environment"].keys()
    tokenizer = Tokenizer(next(runs.glob("artifacts/tokenizer-*")) / "tokenizer.model")
    assert [row["prompt"] for row in told["generations"]] == ["", "abcde fghab"]
    for row in told["generations"]:
        assert len(row["tokens"]) - row["prompt_tokens"] == len(row["nats"]) == 70
        assert row["tokens"][0] == tokenizer.bos_id
        assert tokenizer.decode(row["tokens"][: row["prompt_tokens"]]) == row["prompt"]
        assert tokenizer.decode(row["tokens"][row["prompt_tokens"] :]) == row["continuation"]
        assert printable(row["continuation"]) in printed
        assert [len(neighbours) for neighbours in row["chunks"]] == [3]
        for neighbour in row["chunks"][0]:
            text = (runs / neighbour["source"]).read_text()
            assert neighbour["text"] in text and neighbour["distance"] >= 0
            assert f"chunk {neighbour['chunk']} of {neighbour['source']}" in printed
            before = text[: text.index(neighbour["text"])]
            assert neighbour["line"] == before.count("\n") + 1
        assert_explained(row, tokenizer)
    assert str(tmp_path / "sources.html") in printed
    assert start(*given) == (told, printed), "the same command gave something else"
    off, printed = start(*given[:-1], "--retrieval", "off", "--stop", "a")
    assert [row["chunks"] for row in off["generations"]] == [[], []]
    assert not (tmp_path / "sources.html").exists(), "it shows another text"
    assert not any("a" in row["continuation"] for row in off["generations"])


def assert_explained(row, tokenizer):
    """What generation itself says of the same text, and what must add up."""
    new = row["prompt_tokens"]
    assert "".join(row["token_texts"]) == tokenizer.decode(row["tokens"])
    np.testing.assert_allclose(row["nats_on"][new:], row["nats"], rtol=0, atol=1e-4)
    np.testing.assert_allclose(row["nats_on"][1:64], row["nats_off"][1:64], rtol=0, atol=1e-4)
    for u, found in enumerate(row["chunks"]):
        informed = row["tokens"][64 * (u + 1) : 64 * (u + 2)]
        assert sum(neighbour["share"] for neighbour in found) == pytest.approx(1, abs=1e-5)
        for neighbour in found:
            assert len(neighbour["nats_without"]) == len(informed)
            assert "".join(neighbour["token_texts"]) == neighbour["text"] + neighbour["continuation"]
            assert "".join(neighbour["token_texts"][: neighbour["continuation_at"]]) == neighbour["text"]
            for here, there, length in neighbour["runs"]:
                text = tokenizer.decode(informed[here : here + length])
                assert length >= 4 and "".join(neighbour["token_texts"][there : there + length]) == text


def test_a_run_folder_that_moved_with_its_artifacts_still_generates(runs, start, tmp_path, monkeypatch):
    """Relative names, as the defaults are, are relative to each other."""
    monkeypatch.chdir(runs)
    prepared = load_run(Path("retro")).prepared
    dataclasses.replace(prepared, root=Path("artifacts")).save(Path("retro"))
    moved = tmp_path / "moved"
    for name in ("retro", "artifacts"):
        shutil.copytree(runs / name, moved / name)
    assert json.loads((moved / "retro/data.json").read_text())["root"] == "../artifacts"
    assert load_run(moved / "retro").prepared.index_path.resolve().is_relative_to(moved)
    prepared.save(runs / "retro")


def test_a_text_of_the_training_set_finds_itself_when_it_is_explained(runs, start, tmp_path):
    """No token is added, and one neighbour is retrieved instead of the three that it is evaluated with: what
    the first chunk finds goes on with the second chunk.
    """
    prepared = load_run(runs / "retro").prepared
    document = int(np.flatnonzero(~prepared.store.is_validation)[0])
    text = prepared.tokenizer.decode(prepared.store.document_tokens(document)[:SECOND_CHUNK])
    told, _ = start("--run", runs / "retro", "--prompt", text, *EXPLAINED)
    (row,) = told["generations"]
    assert len(row["tokens"]) == row["prompt_tokens"] and row["continuation"] == ""
    ((neighbour,),) = row["chunks"]
    assert (neighbour["source"], neighbour["chunk"]) == (prepared.store.sources[document], 0)
    assert neighbour["distance"] < 1e-4 and neighbour["share"] == pytest.approx(1)
    # Where a text is cut, its last tokens may be others.
    assert any((here, there) == (0, 64) and length > 30 for here, there, length in neighbour["runs"])
    # Without the only neighbour of the first chunk, the second is read as without retrieval.
    np.testing.assert_allclose(neighbour["nats_without"], row["nats_off"][64:128], rtol=0, atol=1e-4)
    page = (tmp_path / "sources.html").read_text()
    assert "tokens in a row" in page and f"{row['nats_on'][70]:.2f}" in page


def test_an_empty_prompt_is_explained_as_one_that_has_retrieved_nothing(runs, start, tmp_path):
    told, _ = start("--run", runs / "retro", "--tokens", "0", "--explain")
    assert told["generations"][0]["chunks"] == []
    assert "Nothing was retrieved yet" in (tmp_path / "sources.html").read_text()


def test_a_retro_is_evaluated_with_the_neighbours_of_evaluation(runs):
    run = load_run(runs / "retro")
    table = run.prepared.neighbours
    batch, _ = next(held_out(run.trial, table))
    neighbours = Neighbours(*table.lookup(batch.chunks, 3))
    nats = token_nats(jax.jit(run.model.apply)(run.params, batch.tokens, neighbours), batch.targets)
    evaluated = np.load(evaluation_path(runs / "retro", "on"))[: len(nats)]
    np.testing.assert_allclose(evaluated, nats * batch.weights, rtol=0, atol=1e-5)


def test_the_loaded_run_is_the_cell_that_was_trained(runs):
    run = load_run(runs / "retro")
    assert run.trial.config == with_decoder_fields(FORMS["retro"], vocab_size=VOCABULARY) == run.model.config
    assert (run.step, run.trial.steps, run.trial.name) == (1, 1, "retro")
    assert jax.tree.structure(run.params) == jax.tree.structure(
        jax.eval_shape(run.model.init, jax.random.key(0))
    )
    assert isinstance(load_run(runs / "palm").trial.config, PaLMConfig)


@pytest.fixture
def copy(runs, tmp_path):
    """copy(name): a run of its own to spoil."""
    return lambda name: Path(shutil.copytree(runs / name, tmp_path / "copy" / name))


def test_help_answers(capsys):
    with pytest.raises(SystemExit) as stopped:
        command(generate, Options, "", ["--help"])
    assert stopped.value.code == 0 and "--top-p" in capsys.readouterr().out


RUN_FILES = [
    "tokens-*/tokens.bin", "tokens-*/groups.npy", "tokens-*/store.json", "tokens-*/manifest.json",
    "tokens-*/shared_ngrams.npy", "index-*/index.faiss", "index-*/manifest.json", "keys-*/keys.npy",
    "tokenizer-*/tokenizer.model", "neighbours-*/ids.npy",
]  # fmt: skip
DAMAGES = {
    "flip": lambda content: content[: len(content) // 2] + bytes([content[len(content) // 2] ^ 1]) + content[len(content) // 2 + 1 :],
    "cut": lambda content: content[:-5], "empty": lambda content: b"", "delete": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "damage"),
    [
        pytest.param(
            pattern, damage,
            marks=[] if damage == "flip" and pattern in RUN_FILES[::2] else pytest.mark.exhaustive,
        )
        for pattern in RUN_FILES for damage in DAMAGES
    ],
)  # fmt: skip
def test_data_of_a_run_that_is_damaged_is_named_or_made_anew_or_not_needed(
    runs, explained, capsys, tmp_path, pattern, damage
):
    """What is said and shown is what the whole data give, or nothing."""
    arguments, expected = explained
    for name in ("retro", "artifacts"):
        shutil.copytree(runs / name, tmp_path / name)
    (path,) = (tmp_path / "artifacts").glob(pattern)
    prepared = load_run(tmp_path / "retro").prepared
    dataclasses.replace(prepared, root=tmp_path / "artifacts").save(tmp_path / "retro")
    content = path.read_bytes()
    path.unlink() if DAMAGES[damage] is None else path.write_bytes(DAMAGES[damage](content))
    given = ["--run", tmp_path / "retro", *arguments, "--out", tmp_path]
    try:
        command(generate, Options, "", [*map(str, given)])
    except SystemExit as stopped:
        message = capsys.readouterr().err
        assert stopped.code == 2 and path.parent.name in message and "un the command" in message
        assert "neighbours" not in pattern and "keys" not in pattern  # not read, and made anew
    else:
        assert json.loads((tmp_path / "generation.json").read_text())["generations"] == expected


@pytest.fixture(scope="module")
def explained(runs, tmp_path_factory):
    """(options, generations) of a text and its sources."""
    text = (runs / "0.txt").read_text()[:500]
    arguments, out = ["--prompt", text, *EXPLAINED], tmp_path_factory.mktemp("explained")
    command(generate, Options, "", ["--run", str(runs / "retro"), *arguments, "--out", str(out)])
    generations = json.loads((out / "generation.json").read_text())["generations"]
    assert generations[0]["chunks"]
    return arguments, generations


def test_data_of_another_run(fails, copy):
    folder, values = copy("retro"), {}
    for name, change in (
        ("neighbours_name", lambda name: "neighbours-" + "0" * 16),
        ("corpus_hash", lambda corpus: corpus[::-1]),
        ("tokenizer_name", lambda name: "../tokenizer"),
        ("root", lambda root: 7),
    ):
        whole = read_sealed(folder / "data.json")
        write_sealed(folder / "data.json", whole | {name: change(whole[name])})
        values[name] = fails("--run", folder, "--prompt", "ab")
        write_sealed(folder / "data.json", whole)
    assert "data.json is of another run" in values["neighbours_name"]
    assert "data.json says" in values["corpus_hash"]
    assert (
        "data.json" in values["tokenizer_name"]
        and "tokenizer_name is '../tokenizer'" in values["tokenizer_name"]
    )
    assert "root is 7 where text is due" in values["root"]


def test_no_run(fails, runs, tmp_path):
    assert "no run at" in fails("--run", tmp_path / "nowhere")


def test_a_folder_above_runs_names_them(fails, runs):
    message = fails("--run", runs)
    assert all(str(runs / name) in message for name in FORMS)


def test_a_run_without_a_checkpoint(fails, copy):
    folder = copy("palm")
    shutil.rmtree(folder / "checkpoints/1")
    assert "no checkpoint yet" in fails("--run", folder)
    shutil.rmtree(folder / "checkpoints")
    assert "no checkpoint yet" in fails("--run", folder)


def edit(folder, change):
    values = read_sealed(folder / "config.json")
    change(values)
    write_sealed(folder / "config.json", values)


def test_a_checkpoint_of_another_configuration(fails, copy):
    folder = copy("palm")
    edit(folder, lambda values: values["config"].update(d_model=48))
    message = fails("--run", folder)
    assert "is of another configuration" in message
    assert re.search(r"float32\[\d+, 32\] there and float32\[\d+, 48\] here", message)


def test_a_checkpoint_of_another_switch_has_the_same_shapes_and_is_refused(fails, copy):
    folder = copy("retro")
    edit(folder, lambda values: values["config"].update(encoder_activation="relu"))
    assert "encoder_activation is 'gelu' there and 'relu' here" in fails("--run", folder)


def test_a_run_that_was_stopped_generates_and_says_so(runs, copy, tmp_path, capsys):
    folder = copy("palm")
    edit(folder, lambda values: values.update(steps=5))
    command(generate, Options, "", ["--run", str(folder), "--tokens", str(LENGTH), "--out", str(tmp_path)])
    assert "was stopped at step 1 of 5" in capsys.readouterr().err


def test_a_configuration_that_does_not_exist(fails, copy):
    folder = copy("retro")
    edit(folder, lambda values: values["config"]["decoder"].update(d_modle=32))
    message = fails("--run", folder)
    assert "d_modle is unknown among the fields of GopherConfig" in message and "config.json" in message
    edit(folder, lambda values: [values["config"]["decoder"].pop(name) for name in ("d_modle", "d_model")])
    assert "d_model is missing" in fails("--run", folder)
    (folder / "config.json").write_text("{")
    assert "config.json is damaged" in fails("--run", folder)


def test_a_run_that_does_not_say_what_it_was_made_from(fails, copy):
    folder = copy("palm")
    (folder / "data.json").unlink()
    assert "data.json" in fails("--run", folder)


@pytest.mark.parametrize("kind", ["index", "tokens"])
def test_a_retro_whose_artifacts_are_gone_can_do_without(runs, fails, start, kind):
    (folder,) = runs.glob(f"artifacts/{kind}-*")
    hidden = folder.rename(runs / "hidden")
    try:
        message = fails("--run", runs / "retro", "--tokens", "2")
        assert folder.name in message and "un the command" in message and "--retrieval off" in message
        start("--run", runs / "retro", "--tokens", "2", "--retrieval", "off")
    finally:
        hidden.rename(folder)


@pytest.mark.parametrize(
    "option, value",
    [
        ("--tokens", "-1"), ("--tokens", "0"), ("--temperature", "-0.1"), ("--temperature", "nan"),
        ("--temperature", "inf"), ("--top-p", "0"), ("--top-p", "1.1"), ("--seed", "-1"), ("--stop", ""),
        ("--neighbours", "0"), ("--neighbours", "9" * 30), ("--tokens", "1000001"), ("--tokens", "9" * 30),
    ],
)  # fmt: skip
def test_options_out_of_range(fails, runs, option, value):
    assert fails("--run", runs / "palm", option, value).startswith(option)


def test_neighbours(fails, runs):
    assert "retrieves nothing" in fails("--run", runs / "palm", "--neighbours", "2")
    assert "with --retrieval off" in fails("--run", runs / "retro", "--neighbours", "2", "--retrieval", "off")
    assert "--explain: palm retrieves nothing" in fails("--run", runs / "palm", "--explain")
    message = fails("--run", runs / "retro", "--explain", "--retrieval", "off")
    assert "retrieves nothing with --retrieval off" in message
    assert "10000 neighbours were asked for" in fails("--run", runs / "retro", "--neighbours", "10000")


def test_prompts(fails, runs, tmp_path):
    message = fails("--run", runs / "palm", "--prompt", "fine", "--prompt", "ab\udcff")
    assert message.startswith("Prompt 2") and "Character 2 of the text is the lone surrogate" in message
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    assert "latin.txt" in fails("--run", runs / "palm", "--prompt-file", tmp_path / "latin.txt")
    assert "none.txt" in fails("--run", runs / "palm", "--prompt-file", tmp_path / "none.txt")
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", "/dev/zero", tmp_path):
        assert f"--prompt-file {path} cannot be read" in fails("--run", runs / "palm", "--prompt-file", path)


def test_what_a_terminal_would_obey_is_printed_as_escapes(runs, start, tmp_path):
    (tmp_path / "prompt.txt").write_text("ab\x1b[31m\x9b")
    told, printed = start("--run", runs / "palm", "--prompt-file", tmp_path / "prompt.txt", "--tokens", "9")
    assert told["generations"][0]["prompt"] == "ab\x1b[31m\x9b"
    assert "ab\\x1b[31m\\x9b" in printed and "\x1b" not in printed and "\x9b" not in printed


def test_learned_positions_end(fails, start, runs):
    """The prompt is bos alone, and the last token is not read."""
    assert f"only {LENGTH} of them" in fails("--run", runs / "palm", "--tokens", LENGTH + 1)
    start("--run", runs / "palm", "--tokens", LENGTH)


def test_a_character_that_the_vocabulary_does_not_know(tmp_path):
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["abc abd " * 20]), model_prefix=str(tmp_path / "plain"), vocab_size=12,
        model_type="char", pad_id=0, unk_id=1, bos_id=2, eos_id=3, minloglevel=2,
    )  # fmt: skip
    tokenizer = Tokenizer(tmp_path / "plain.model")
    assert encoded("ab", tokenizer, "Prompt 1")[0] == tokenizer.bos_id
    with pytest.raises(InputError, match="Prompt 1: the vocabulary does not know character 3, 'ß'"):
        encoded("abcßa", tokenizer, "Prompt 1")


def test_a_database_of_ones_own(runs, start, fails, tmp_path):
    """What was added to it is retrieved and explained; with another tokenizer it is refused."""
    folder, text = tmp_path / "database", (runs / "0.txt").read_text()
    recipe = Recipe(str(runs / "artifacts" / prepared_tokenizer(runs)), encoder=TINY_BERT)
    build_database(folder, [Document(text[:700], "first", "docs", "first")], recipe)
    add_documents(folder, [Document(text[700:], "later", "docs", "later")])
    told, _ = start("--run", runs / "retro", "--database", folder, "--prompt", text[700:900], *EXPLAINED)
    (generation,) = told["generations"]
    first = generation["chunks"][0][0]
    assert first["source"] == "later" and first["distance"] < 1 and first["runs"]
    recipe = Recipe(vocab_size=300, encoder=TINY_BERT)
    other = tmp_path / "other"
    build_database(other, [Document(text, "first", "docs", "first")], recipe)
    (tmp_path / "generation.json").unlink()
    assert "another tokenizer" in fails("--run", runs / "retro", "--database", other, "--prompt", "ab")


def prepared_tokenizer(runs: Path) -> str:
    return json.loads((runs / "retro/data.json").read_text())["tokenizer_name"] + "/tokenizer.model"
