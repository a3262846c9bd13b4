"""Which sizes are there, and does every published one have its paper's parameters, FLOPs and utilisation?

python -m experiments.sizes

Eight seconds of one core: shapes only, nothing is allocated. Must reach: PaLM's 540.35B parameters, every
size within half a percent or its last printed digit, and 46.2 % MFU of the 540B run (PaLM tables 1, 3, 22).
The copying forms of RETRO are ours, so no paper prints a figure for them and they are no rows.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command import command
from models.families import FAMILIES, configuration, count, parameter_shapes
from models.flops import mfu, recomputed_flops_per_token, train_flops_per_token
from models.ladder import RUNGS
from reports.tables import table_of, terminal
from studies.results_file import write_results

LENGTH, BATCH = 2048, 256

# As printed: PaLM table 1, Gopher table 1, RETRO table 2. RETRO's and its baselines' exclude embeddings.
PUBLISHED = {
    "palm/8b": 8.63e9, "palm/62b": 62.50e9, "palm/540b": 540.35e9,
    "gopher/44m": 44e6, "gopher/117m": 117e6, "gopher/417m": 417e6,
    "gopher/1.4b": 1.4e9, "gopher/7.1b": 7.1e9, "gopher/280b": 280e9,
    "retro/172m": 172e6, "retro/425m": 425e6, "retro/1.5b": 1451e6, "retro/7.5b": 7532e6,
    "dense/132m": 132e6, "dense/368m": 368e6, "dense/1.3b": 1309e6, "dense/7.0b": 6982e6,
}  # fmt: skip
DENSE_BASELINES = {"132m": "172m", "368m": "425m", "1.3b": "1.5b", "7.0b": "7.5b"}

# PaLM table 22: the share of the forward pass outside attention that is recomputed; attention always is.
RECOMPUTED = {
    "palm/8b": (0.0, 0.0550, 0.0561),
    "palm/62b": (0.0, 0.388, 0.392),
    "palm/540b": (0.75, 3.28, 4.10),
}


@dataclass(frozen=True)
class Options:
    out: Path = Path("runs/sizes")
    """Folder for results.json."""


def sizes(options: Options) -> None:
    """Prints the tables and writes results.json."""
    rows, systems = size_rows(), system_rows()
    print(terminal(table_of([_line(row) for row in rows], form=".4g")))
    print(f"\nFLOPs per token: 6N + 12LHKT at length {LENGTH} (PaLM appendix B), RETRO with retrieval.")
    print(f"As computed: W_r of relative positions, which no token passes, once for {BATCH} sequences.\n")
    print(terminal(table_of(systems, form=".3f")))
    print("\nMFU and HFU in %, from published throughput and chips, as the papers count; by our accountant.")
    ladder = ladder_rows()
    print("\nBetween the small sizes and the published ones, all parameters counted:\n")
    print(terminal(table_of([_rung_line(row) for row in ladder], form=".4g")))
    content = {
        "config": {"length": LENGTH, "batch_size": BATCH}, "rows": rows, "systems": systems, "ladder": ladder
    }  # fmt: skip
    write_results(options.out / "results.json", "sizes", content)


def size_rows() -> list[dict[str, Any]]:
    """One row per published size: family, size, parameters (ours), published, flops_per_token as the papers
    count, and flops_as_computed.
    """
    return [
        {
            "family": name.split("/")[0],
            "size": name.split("/")[1],
            "parameters": _parameters(name),
            "published": published,
            "flops_per_token": train_flops_per_token(_configuration(name), LENGTH),
            "flops_as_computed": train_flops_per_token(_configuration(name), LENGTH, batch_size=BATCH),
        }
        for name, published in PUBLISHED.items()
    ]


def ladder_rows() -> list[dict[str, Any]]:
    """One row per size that all families have: parameters and FLOPs per token by family."""
    every = [(family, size) for size in ("smoke", "tiny", *RUNGS) for family in FAMILIES]
    return [
        {
            "family": family,
            "size": size,
            "parameters": count(parameter_shapes(config)),
            "vocab_size": config.vocab_size,
            "flops_per_token": train_flops_per_token(config, LENGTH),
        }
        for family, size in every
        for config in [configuration(f"{family}/{size}")]
    ]


def _rung_line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": f"{row['family']}/{row['size']}",
        "parameters": f"{row['parameters']:,}",
        "vocabulary": f"{row['vocab_size']:,}",
        "GFLOP per token": row["flops_per_token"] / 1e9,
    }


def _configuration(name: str) -> Any:
    family, size = name.split("/")
    return (
        configuration(f"retro/{DENSE_BASELINES[size]}").decoder if family == "dense" else configuration(name)
    )


def _parameters(name: str) -> int:
    """In the paper's convention: RETRO's figures and its baselines' leave embeddings out."""
    shapes = parameter_shapes(_configuration(name))
    total = count(shapes)
    if name.startswith(("retro/", "dense/")):
        total -= count(shapes["embedding"])
    if name.startswith("retro/"):
        total -= count(shapes["encoder"]["embedding"])
    return total


def system_rows() -> list[dict[str, Any]]:
    """PaLM's tables 3 and 22 from our accountant: what, ours, published."""
    palm, gopher = configuration("palm/540b"), configuration("gopher/280b")
    attention_free = 6 * count(parameter_shapes(palm))
    per_token = train_flops_per_token(palm, LENGTH)
    with_recomputation = per_token + recomputed_flops_per_token(palm, LENGTH, RECOMPUTED["palm/540b"][0])
    # Megatron-Turing NLG is not one of our models: 530B parameters, 105 layers, 128 heads of 160.
    megatron = 6 * 530e9 + 12 * 105 * 128 * 160 * LENGTH
    tpu_v4, tpu_v3, a100 = 275e12, 123e12, 312e12
    of_gopher = train_flops_per_token(gopher, LENGTH)
    figures = [
        ("Gopher 280B MFU", 100 * mfu(0.0152 * 3072 * LENGTH, of_gopher, 4096 * tpu_v3), 32.5),
        ("MT-NLG 530B MFU", 100 * mfu(65.43e3, megatron, 2240 * a100), 30.2),
        ("PaLM 540B MFU, without attention", 100 * mfu(238.3e3, attention_free, 6144 * tpu_v4), 45.7),
        ("PaLM 540B MFU", 100 * mfu(238.3e3, per_token, 6144 * tpu_v4), 46.2),
        ("PaLM 540B HFU", 100 * mfu(238.3e3, with_recomputation, 6144 * tpu_v4), 57.8),
    ]
    for name, (share, model, hardware) in RECOMPUTED.items():
        config = configuration(name)
        flops = train_flops_per_token(config, LENGTH)
        recomputed = recomputed_flops_per_token(config, LENGTH, share)
        figures.append((f"{name} TFLOP per token, model", flops / 1e12, model))
        figures.append((f"{name} TFLOP per token, with recomputation", (flops + recomputed) / 1e12, hardware))
    return [{"figure": name, "ours": ours, "published": published} for name, ours, published in figures]


def _line(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "family": row["family"],
        "size": row["size"],
        "parameters": f"{row['parameters']:,}",
        "published": f"{row['published']:,.0f}",
        "difference": f"{row['parameters'] / row['published'] - 1:+.2%}",
        "TFLOP per token": row["flops_per_token"] / 1e12,
        "as computed": row["flops_as_computed"] / 1e12,
    }


if __name__ == "__main__":
    command(sizes, Options, "Count the parameters and FLOPs of every published size.")
