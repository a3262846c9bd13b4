"""PaLM, Gopher and RETRO on the same text, tokens, batches and mesh: the table, with intervals, in one command.

    python -m experiments.compare --seeds 3                         the comparison, about an hour on two cores
    python -m experiments.compare --preset smoke                    the whole path at a tiny budget
    python -m experiments.compare --corpus 'notes/*.md' --steps 500   your own text
"""

import dataclasses
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from data.artifacts import write_atomic
from errors import InputError
from evaluation.bits_per_byte import bits_per_byte, document_nats, unigram_nats
from evaluation.flops import matrix_product_peak
from evaluation.intervals import bootstrap_ratio, paired_over_seeds
from experiments.cells import Cell, CellResult, held_out, run_cell, typical_speed
from experiments.command import command
from experiments.environment import environment
from experiments.example import worked_example
from experiments.prepare import Prepared, prepare
from experiments.report import save_plot, terminal_table, write_report
from experiments.stages import Stages
from models.families import configuration, count, parameter_shapes, with_vocab_size
from parallelism.mesh import make_mesh, parse_mesh_shape, require_divisible

# A held-out document of whose 13-grams fewer than this share occur in training counts as without near-duplicates.
NEAR_DUPLICATE_SHARE = 0.2
PEAK_CONVENTION = (
    "MFU = tokens/s x model FLOPs per token (6N + 12LHKT, PaLM appendix B; retrieval included, recomputation not) "
    "/ this machine's measured float32 matrix-product rate"
)


@dataclass(frozen=True)
class Preset:
    """A budget: which model size, on how much text, for how long."""

    size: str
    vocab_size: int
    length: int
    batch_size: int
    steps: int
    corpus_bytes: int
    evaluation_tokens: int


PRESETS = {
    "default": Preset("tiny", 4096, 512, 2, steps=610, corpus_bytes=6_000_000, evaluation_tokens=160_000),
    "smoke": Preset("smoke", 1024, 128, 2, steps=12, corpus_bytes=300_000, evaluation_tokens=20_000),
}


@dataclass(frozen=True)
class Options:
    """What may be chosen; what is left out comes from the preset."""

    preset: Literal["default", "smoke"] = "default"
    """Budget: `default` for the comparison, `smoke` for the same path in a minute."""
    corpus: str = "stdlib"
    """`stdlib`, a path, a quoted glob, or hf:NAME[:CONFIG]."""
    seeds: int = 1
    """Number of seeds; three or more give intervals over seeds."""
    steps: int | None = None
    """Training steps of each model."""
    batch_size: int | None = None
    """Sequences in a batch."""
    length: int | None = None
    """Tokens in a sequence, a multiple of 64."""
    vocab_size: int | None = None
    """Size of the vocabulary that the models share."""
    corpus_bytes: int | None = None
    """Text taken from the corpus, at most."""
    evaluation_tokens: int | None = None
    """Held-out tokens that are evaluated, at most."""
    precision: Literal["float32", "mixed"] = "float32"
    """mixed: float32 parameters, bfloat16 activations."""
    mesh: str = "auto"
    """Devices as PODxDATAxMODEL, such as 1x4x2; auto puts all along data."""
    encoder: str | None = None
    """BERT that embeds chunks: a folder or a Hugging Face name. Default: the MiniLM installed with the project."""
    out: Path = Path("runs/compare")
    """Folder of the run; the same command goes on where it stopped."""
    artifacts: Path = Path("runs/artifacts")
    """Folder of token stores and neighbour tables, shared by runs."""


def compare(options: Options) -> None:
    """Runs the comparison and writes results.json, report.html and plot.png into `options.out`."""
    preset = _resolved(options)
    stages = Stages(options.out, options.artifacts)
    mesh = make_mesh(parse_mesh_shape(options.mesh))
    require_divisible(mesh, preset.batch_size)
    forms = _forms(preset)
    prepared = prepare(
        options.corpus, preset.corpus_bytes, preset.vocab_size, options.encoder,
        forms["retro"].num_neighbours, options.artifacts, stages,
    )  # fmt: skip
    with stages.measured("measure the machine's peak", may_reuse=False):
        peak_flops = matrix_product_peak()

    results: dict[tuple[str, int], CellResult] = {}
    cells: dict[tuple[str, int], Cell] = {}
    for seed in range(options.seeds):
        for name, config in forms.items():
            cell = Cell(
                name, with_vocab_size(config, prepared.store.vocab_size), seed, preset.steps, preset.batch_size,
                preset.length, options.precision, preset.evaluation_tokens, prepared.neighbours.path.name,
            )  # fmt: skip
            with stages.measured(f"{name} seed {seed}"):
                folder = options.out / name / f"seed-{seed}"
                results[name, seed] = run_cell(cell, prepared.neighbours, mesh, peak_flops, folder)
            cells[name, seed] = cell

    with stages.measured("report", may_reuse=False):
        summary = summarise(prepared, cells, results)
        written = {
            "experiment": "compare",
            "command": " ".join(["python -m experiments.compare", *sys.argv[1:]]),
            "config": {
                "preset": options.preset,
                "options": {**_plain(options), **dataclasses.asdict(preset)},
                "models": {name: dataclasses.asdict(cells[name, 0].config) for name in forms},
            },
            "environment": {**environment(), "corpus_hash": prepared.corpus_hash},
            "peak": {"flops_per_second": peak_flops, "convention": PEAK_CONVENTION},
            "stages": stages.rows,
            **summary,
            "example": worked_example(prepared, cells["retro-copying", 0], results["retro-copying", 0]),
        }
        write_atomic(options.out / "results.json", json.dumps(written, indent=1))
        write_report(written, options.out / "report.html")
        save_plot(written, options.out / "plot.png")
    print(terminal_table(written))
    print(f"\n{options.out / 'results.json'}\n{options.out / 'report.html'}")


def _resolved(options: Options) -> Preset:
    """The preset with the options that were given in its place."""
    fields = {field.name for field in dataclasses.fields(Preset)} & {f.name for f in dataclasses.fields(Options)}
    given = {name: getattr(options, name) for name in fields if getattr(options, name) is not None}
    for name, value in {**given, "seeds": options.seeds}.items():
        if value < 1:
            raise InputError(f"--{name.replace('_', '-')} {value}: give a whole number of at least 1.")
    return dataclasses.replace(PRESETS[options.preset], **given)


def _forms(preset: Preset) -> dict[str, Any]:
    """The four models, by the name of their folder. RETRO stands twice: as published, and as ours that starts out copying."""
    retro = configuration(f"retro/{preset.size}")
    return {
        "palm": configuration(f"palm/{preset.size}"),
        "gopher": configuration(f"gopher/{preset.size}"),
        "retro": retro,
        "retro-copying": dataclasses.replace(retro, cca_initialisation="copying", encoder_embedding="shared"),
    }


def _plain(options: Options) -> dict:
    return {name: str(value) if isinstance(value, Path) else value for name, value in dataclasses.asdict(options).items()}


def summarise(
    prepared: Prepared, cells: dict[tuple[str, int], Cell], results: dict[tuple[str, int], CellResult]
) -> dict[str, Any]:
    """Rows, means and paired comparisons, from the losses of every cell's held-out tokens."""
    store = prepared.store
    documents_st = np.concatenate([documents for _, documents in held_out(cells["palm", 0], prepared.neighbours)])
    evaluated = np.unique(documents_st[documents_st >= 0])
    num_bytes = store.num_bytes[evaluated]
    domains = _domains(prepared, evaluated)
    seeds = sorted({seed for _, seed in cells})

    nats: dict[tuple, np.ndarray] = {}  # form -> [seeds, evaluated documents]
    rows = []
    for name in dict.fromkeys(name for name, _ in cells):
        for retrieval in cells[name, 0].retrievals:
            per_seed = [
                document_nats(results[name, seed].nats[retrieval], documents_st, store.num_documents)[evaluated] for seed in seeds
            ]
            form = _form(name, cells[name, 0], retrieval)
            nats[tuple(form.values())] = np.stack(per_seed)
            for seed, nats_d in zip(seeds, per_seed):
                result = results[name, seed]
                tokens_per_second, mfu = typical_speed(result.metrics)
                for domain, inside in domains.items():
                    rows.append({
                        **form, "domain": domain, "seed": seed,
                        "parameters": count(parameter_shapes(cells[name, seed].config)),
                        "train_tokens": result.train_tokens, "train_flops": result.train_flops,
                        "bits_per_byte": bits_per_byte(nats_d[inside], num_bytes[inside]),
                        "interval": _pair(bootstrap_ratio(nats_d[inside], num_bytes[inside])),
                        "tokens_per_second": tokens_per_second, "mfu": mfu,
                    })  # fmt: skip
    means = [
        {
            **_named(form), "domain": domain, "seeds": len(seeds),
            "bits_per_byte": bits_per_byte(nats_sd.mean(0)[inside], num_bytes[inside]),
            "interval": _pair(bootstrap_ratio(nats_sd.mean(0)[inside], num_bytes[inside])),
        }
        for form, nats_sd in nats.items() for domain, inside in domains.items()
    ]  # fmt: skip
    unigram_d = unigram_nats(store, evaluated)
    return {
        "corpus": _corpus_facts(prepared, evaluated),
        "unigram": [
            {"domain": domain, "bits_per_byte": bits_per_byte(unigram_d[inside], num_bytes[inside])}
            for domain, inside in domains.items()
        ],
        "rows": rows,
        "means": means,
        "comparisons": _comparisons(nats, num_bytes, domains),
        "curves": [_curve(cells[key], results[key]) for key in cells],
    }


FORM = ("model", "retrieval", "initialisation")
PALM, GOPHER = ("palm", None, None), ("gopher", None, None)


def _form(name: str, cell: Cell, retrieval: str | None) -> dict[str, str | None]:
    initialisation = cell.config.cca_initialisation if cell.retrieves else None
    return dict(zip(FORM, (name.removesuffix("-copying"), retrieval, initialisation)))


def _named(form: tuple) -> dict[str, str | None]:
    return dict(zip(FORM, form))


def _domains(prepared: Prepared, evaluated: np.ndarray) -> dict[str, np.ndarray]:
    """Named subsets of the evaluated documents, as bool [D]; empty ones are left out."""
    names = np.array(prepared.store.domains)[evaluated]
    everything = np.ones(len(evaluated), bool)
    subsets = {"all": everything, "no_near_duplicates": prepared.store.shared_ngrams[evaluated] < NEAR_DUPLICATE_SHARE}
    subsets |= {str(name): names == name for name in np.unique(names)}
    return {name: inside for name, inside in subsets.items() if inside.any()}


def _comparisons(nats: dict[tuple, np.ndarray], num_bytes: np.ndarray, domains: dict[str, np.ndarray]) -> list[dict]:
    """The differences that the papers speak of, paired by seed and document."""
    pairs = [(PALM, GOPHER)]
    for initialisation in ("published", "copying"):
        on, off = (("retro", retrieval, initialisation) for retrieval in ("on", "off"))
        pairs += [(on, off), (on, GOPHER), (off, GOPHER)]
    rows = []
    for a, b in pairs:
        for domain, inside in domains.items():
            paired = paired_over_seeds(nats[a][:, inside], nats[b][:, inside], num_bytes[inside])
            rows.append({
                "a": _named(a), "b": _named(b), "domain": domain, "difference": paired.mean,
                "over_seeds": _pair(paired.over_seeds), "over_documents": _pair(paired.over_documents),
                "excludes_zero": paired.excludes_zero, "seeds": len(nats[a]),
            })  # fmt: skip
    return rows


def _pair(interval) -> list[float] | None:
    return None if interval is None else [interval.low, interval.high]


def _curve(cell: Cell, result: CellResult) -> dict:
    form = _form(cell.name, cell, None)
    tokens_per_step = cell.batch_size * cell.length
    return {
        "model": form["model"], "initialisation": form["initialisation"], "seed": cell.seed,
        "tokens": [line["step"] * tokens_per_step for line in result.metrics],
        "loss": [line["nats"] for line in result.metrics],
    }  # fmt: skip


def _corpus_facts(prepared: Prepared, evaluated: np.ndarray) -> dict:
    store = prepared.store
    lengths = np.diff(store.offsets)
    names, counts = np.unique(store.domains, return_counts=True)
    return {
        "documents": dict(zip(names.tolist(), counts.tolist())),
        "validation_documents": int(store.is_validation.sum()),
        "evaluated_documents": len(evaluated),
        "tokens": {
            "train": int(lengths[~store.is_validation].sum()),
            "validation": int(lengths[store.is_validation].sum()),
            "evaluated": int(lengths[evaluated].sum()),
        },
        "bytes_per_token": float(store.num_bytes.sum() / lengths.sum()),
        "chunks": int(store.num_chunks.sum()),
        "skipped": dict(prepared.skipped),
        "near_duplicate_threshold": NEAR_DUPLICATE_SHARE,
    }


if __name__ == "__main__":
    command(compare, Options, "Train and compare PaLM, Gopher and RETRO on the same text.")
