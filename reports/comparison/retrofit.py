"""The table of a RETROfit beside the dense model that it started from."""

from typing import Any

from tabulate import tabulate


def table(results: dict[str, Any]) -> str:
    """What the terminal shows: the three forms, and their differences to the dense model."""
    differences = {row["a"]: row for row in results["comparisons"]}
    lines = []
    for row in results["rows"]:
        difference = differences.get(row["retrieval"])
        lines.append({
            "model": f"{row['model']} {row['retrieval'] or ''}".strip(),
            "parameters": f"{row['parameters']:,}",
            "trained": f"{row['trained_parameters']:,}" if difference else "",
            "bits per byte": f"{row['bits_per_byte']:.4f} {_bounds(row['interval'], '.3f')}",
            "minus dense": f"{difference['difference']:+.4f}" if difference else "",
            "95 % over documents": _bounds(difference["over_documents"], "+.4f") if difference else "",
        })  # fmt: skip
    after = results["rows"][-1]
    return (
        f"{tabulate(lines, headers='keys', disable_numparse=True)}\n\n"
        f"{results['config']['steps']} steps, {after['train_tokens']:,} tokens, "
        f"{after['train_flops']:.1e} FLOPs at {after['tokens_per_second']:,.0f} tokens/s (MFU "
        f"{after['mfu']:.0%}). Retrieval off is the dense model bit for bit."
    )


def _bounds(interval: list[float] | None, form: str) -> str:
    return "" if interval is None else f"[{interval[0]:{form}}, {interval[1]:{form}}]"
