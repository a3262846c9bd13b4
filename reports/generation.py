"""The text that experiments.generate prints."""

from collections.abc import Mapping
from typing import Any

from data.token_store import CHUNK
from progress import printable

WIDTH = 110


def continuation(generation: Mapping[str, Any], number: str) -> str:
    """A prompt, how it was continued, and what each chunk retrieved, as the terminal shows them; what it
    would obey is escaped.
    """
    new_tokens = len(generation["tokens"]) - generation["prompt_tokens"]
    lines = [
        _rule(f"prompt {number}, {generation['prompt_tokens']} tokens"),
        generation["prompt"],
        _rule(f"continuation, {new_tokens} tokens, ended by {generation['ended_by']}"),
        generation["continuation"],
    ]
    if generation["chunks"]:
        lines.append(_rule("retrieved by each 64 tokens, at which distance"))
    for u, neighbours in enumerate(generation["chunks"]):
        tokens = f"{CHUNK * u}-{CHUNK * (u + 1) - 1}"
        for row in neighbours:
            text = " ".join(row["text"].split())
            source = printable(row["source"], kept="")
            line = f"{tokens:11s}{row['distance']:7.3f}  chunk {row['chunk']} of {source}: {text}"
            lines.append(line[:WIDTH])
    return printable("\n".join(lines) + "\n")


def _rule(words: str) -> str:
    return f"--- {words} ".ljust(WIDTH, "-")
