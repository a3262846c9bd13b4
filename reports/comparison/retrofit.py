"""The table of a RETROfit beside the dense model that it started from."""

from typing import Any

from reports.tables import table_of, terminal
from reports.words import bounds, flops, signed


def table(results: dict[str, Any]) -> str:
    """What the terminal shows: the three forms, and their differences to the dense model."""
    differences = {row["a"]: row for row in results["comparisons"]}
    records = []
    for row in results["rows"]:
        difference = differences.get(row["retrieval"])
        records.append({
            "model": f"{row['model']} {row['retrieval'] or ''}".strip(),
            "parameters": f"{row['parameters']:,}",
            "trained": f"{row['trained_parameters']:,}" if difference else "",
            "bits per byte": f"{row['bits_per_byte']:.4f} {bounds(row['interval'])}",
            "minus dense": signed(difference["difference"]) if difference else "",
            "95 % over groups": bounds(difference["over_groups"], signed) if difference else "",
        })  # fmt: skip
    after = results["rows"][-1]
    return (
        f"{terminal(table_of(records))}\n\n"
        f"{results['config']['steps']} steps, {after['train_tokens']:,} tokens, "
        f"{flops(after['train_flops'])} FLOPs at {after['tokens_per_second']:,.0f} tokens/s (MFU "
        f"{after['mfu']:.0%}). Retrieval off is the dense model bit for bit."
    )
