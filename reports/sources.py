"""The page that shows a text beside its sources, made from what `studies.sources` put into a results file
and from nothing else.
"""

import base64
import hashlib
import math
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from data.token_store import CHUNK
from reports import plots
from reports.templates.fill import template
from storage.files import write_atomic

PAGE_NAME = "sources.html"
HERE = Path(__file__).parent
START, END, PART = "⟨start⟩", "⟨end⟩", "⟨…⟩"


def write_page(results: Mapping, path: Path) -> None:
    """One HTML file that needs nothing beside itself and may load nothing: its policy allows its own script
    alone, and everything from a corpus is escaped.

    Args:
      results: of generation.json or sources.json, with `generations` that `studies.sources` explained.
    """
    script = (HERE / "templates/sources.js").read_text(encoding="utf-8")
    digest = hashlib.sha256(script.encode()).digest()
    page = template(
        "sources.html.j2", html=True, visible=visible, nats="{:.2f}".format, signed=_signed
    ).render(
        results=results,
        texts=[text_view(generation, number) for number, generation in enumerate(results["generations"], 1)],
        plots=plots,
        script=script,
        script_hash=base64.b64encode(digest).decode(),
        strong_nats=f"{plots.STRONG_NATS:g}",
        chunk=CHUNK,
    )
    write_atomic(Path(path), page.encode("utf-8"))


def visible(text: str) -> str:
    """`text` with what has no shape shown: ends of lines and tabs by arrows before them, control characters
    by their pictures, other invisible ones and halves of surrogate pairs by their numbers.
    """
    return "".join(_shape(character) for character in text)


def _shape(character: str) -> str:
    if character in "\n\t":
        return {"\n": "↵\n", "\t": "→\t"}[character]
    code = ord(character)
    if code < 32 or code == 127:
        return chr(0x2421 if code == 127 else 0x2400 + code)
    shown = character.isprintable() or unicodedata.category(character) == "Zs"  # a space of some width
    return character if shown else f"⟨{code:04X}⟩"


def text_view(generation: Mapping, number: int) -> dict[str, Any]:
    """What the template shows of one text."""
    count = len(generation["token_texts"])
    chunks = [_chunk_view(generation, v) for v in range(-(-count // CHUNK))]
    retrieved = sum(len(chunk["neighbours"]) for chunk in chunks)
    return {
        "id": f"text-{number}",
        "title": generation.get("title") or _title(number, count > generation["prompt_tokens"]),
        "note": generation.get("note"),
        "tokens": count,
        "given": generation["prompt_tokens"],
        "chunks": chunks,
        "retrieved": retrieved,
        "minimum_run": generation["minimum_run"],
        **_cost(*(math.fsum(chunk[name] for chunk in chunks) for name in ("on", "off"))),
    }


def _title(number: int, continued: bool) -> str:
    return f"Prompt {number}{' and how it was continued' if continued else ''}"


def _chunk_view(generation: Mapping, v: int) -> dict[str, Any]:
    """Chunk v with the neighbours of chunk v − 1, which inform it."""
    tokens = range(CHUNK * v, min(CHUNK * (v + 1), len(generation["token_texts"])))
    neighbours = generation["chunks"][v - 1] if 0 < v <= len(generation["chunks"]) else []
    on, off = (_total(generation[name][tokens.start : tokens.stop]) for name in ("nats_on", "nats_off"))
    return {
        "number": v + 1,
        "first": tokens.start,
        "last": tokens[-1],
        "tokens": [_token_view(generation, t, neighbours) for t in tokens],
        "neighbours": [_neighbour_view(neighbour, c, on) for c, neighbour in enumerate(neighbours, 1)],
        **_cost(on, off),
    }


def _cost(on: float, off: float) -> dict[str, Any]:
    saved = off - on
    nothing = abs(saved) < 0.005
    outcome = "no difference" if nothing else f"{abs(saved):.2f} {'saved' if saved > 0 else 'lost'}"
    return {"on": on, "off": off, "saved": saved, "outcome": outcome}


def _token_view(generation: Mapping, t: int, neighbours: Sequence[Mapping]) -> dict[str, Any]:
    i, on, off = t % CHUNK, generation["nats_on"][t], generation["nats_off"][t]
    saved = 0.0 if on is None else off - on
    last = len(generation["token_texts"]) - 1
    matches = [
        f"{c}-{there + i - here}"
        for c, neighbour in enumerate(neighbours, 1)
        for here, there, length in neighbour["runs"]
        if here <= i < here + length
    ]
    return {
        "position": t,
        "text": generation["token_texts"][t] or {0: START, last: END}.get(t, PART),
        "is_text": bool(generation["token_texts"][t]),
        "begins_generated": t == generation["prompt_tokens"],
        "on": on,
        "off": off,
        "without": [None if on is None else neighbour["nats_without"][i] for neighbour in neighbours],
        "sense": "saved" if saved > 0 else "lost" if saved < 0 else "",
        "strength": plots.strength(saved),
        "matches": matches,
        "shared_with": sorted({int(match.partition("-")[0]) for match in matches}),
    }


def _neighbour_view(neighbour: Mapping, number: int, on: float) -> dict[str, Any]:
    at = neighbour["continuation_at"]
    without = math.fsum(neighbour["nats_without"])
    return {
        "number": number,
        "from": neighbour,
        "without": without,
        "cost": without - on,
        "longest": max((length for _, _, length in neighbour["runs"]), default=0),
        "parts": [_pieces(neighbour, number, 0, at), _pieces(neighbour, number, at, None)],
    }


def _pieces(neighbour: Mapping, number: int, start: int, stop: int | None) -> list[dict[str, Any]]:
    """The tokens start … stop − 1 of a neighbour: shared ones each by itself, with their `at`, what is
    between them in one.
    """
    shared = {there + i for _, there, length in neighbour["runs"] for i in range(length)}
    pieces: list[dict[str, Any]] = []
    for index, text in list(enumerate(neighbour["token_texts"]))[start:stop]:
        if index in shared:
            pieces.append({"text": text, "at": f"{number}-{index}"})
        elif pieces and pieces[-1]["at"] is None:
            pieces[-1]["text"] += text
        else:
            pieces.append({"text": text, "at": None})
    return pieces


def _total(nats: Sequence[float | None]) -> float:
    return math.fsum(value for value in nats if value is not None)


def _signed(value: float) -> str:
    return f"{round(value, 2) + 0.0:+.2f}".replace("-", "−")
