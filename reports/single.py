"""What the terminal shows of one training run: before it, what it takes; after it, what came out."""

from typing import Any

from parallelism.interface import Parallelism
from reports.tables import table_of, terminal
from reports.words import bounds, flops
from studies.fitting import Need
from studies.trials.trial import Trial
from training.published import Published


def needs(
    trial: Trial,
    parameters: int,
    recipe: Published,
    how: Parallelism,
    need: Need | None,
    seconds: float | None,
) -> str:
    """parameters: how many. recipe: the paper's. need, seconds: None where they are not known."""
    peak = trial.peak or recipe.peak
    lines = [
        f"{trial.name}: {parameters:,} parameters, vocabulary {trial.config.vocab_size:,}, {trial.precision}",
        f"{trial.steps:,} steps of {trial.batch_size} x {trial.length} tokens "
        f"({trial.steps * trial.batch_size * trial.length:,}), in {how.micro_batches} parts",
        f"peak learning rate {peak:.3g}{'' if peak == recipe.peak else f' (paper {recipe.peak:.3g})'}",
    ]
    if need:
        lines.append(
            f"memory {gigabytes(need.bytes)} of {gigabytes(need.there)}: parameters and optimiser "
            f"{gigabytes(need.state)}, activations and gradients {gigabytes(need.temporary)}, libraries "
            f"{gigabytes(need.process)}"
        )
    if seconds is not None:
        tokens_per_second = trial.steps * trial.batch_size * trial.length / seconds
        lines.append(f"about {duration(seconds)}, at {tokens_per_second:,.0f} tokens/s")
    return "\n".join(lines)


def table(results: dict[str, Any]) -> str:
    """Bits per byte at every milestone, and the cost."""
    records = [
        {
            "model": f"{row['model']} {row['retrieval'] or ''}".strip(),
            "step": f"{row['step']:,}",
            "tokens": f"{row['tokens']:,}",
            "bits per byte": f"{row['bits_per_byte']:.4f} {bounds(row['interval'])}",
        }
        for row in results["rows"]
    ]
    spikes = f" {len(results['spikes'])} spikes were gone back before." if results["spikes"] else ""
    return (
        f"{terminal(table_of(records))}\n\n"
        f"{results['parameters']:,} parameters, {results['train_tokens']:,} predicted tokens, "
        f"{flops(results['train_flops'])} FLOPs at {results['tokens_per_second']:,.0f} tokens/s (MFU "
        f"{results['mfu']:.0%}).{spikes}"
    )


def gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"


def duration(seconds: float) -> str:
    """In the unit that people would use."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} seconds"
