"""What a database costs: bytes per chunk, seconds per million chunks, and both at the size of the paper's.

The paper retrieves from 1.75T tokens (arXiv 2112.04426, Section 2.1): 28e9 chunks of 64. Its keys and tokens,
kept as they are, take 28e9 × (768 · 4 + 64 · 4) B = 93 TB; an index of codes takes a fraction of that.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from data.token_store import CHUNK

PAPER_CHUNKS = 28e9
PAPER_DIMENSION = 768
ID_BYTES = 8
CODE_BYTES = (8, 32, 64)
TB = 1e12
SECONDS_PER_DAY = 86_400


def folder_bytes(folders: Iterable[Path]) -> int:
    """Bytes of all files in these folders."""
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def byte_rows(bytes_of: Mapping[str, int], chunks: int) -> list[dict[str, Any]]:
    """A row for each part of a database, measured on `chunks` chunks, and their sum, with what 28e9 take."""
    total = {**bytes_of, "all": sum(bytes_of.values())}
    return [
        {
            "part": name,
            "bytes": size,
            "bytes per chunk": size / chunks,
            "TB for 28e9 chunks": size / chunks * PAPER_CHUNKS / TB,
        }
        for name, size in total.items()
    ]


def published_rows() -> list[dict[str, Any]]:
    """Ways to keep 28e9 chunks by arithmetic: as published, in half precision, and as codes with ids."""
    tokens = f"{CHUNK} · 4"
    forms = {
        "as published: float32 keys, int32 tokens": f"{PAPER_DIMENSION} · 4 + {tokens}",
        "float16 keys, int32 tokens": f"{PAPER_DIMENSION} · 2 + {tokens}",
        **{f"codes of {size} bytes and ids": f"{size} + {ID_BYTES}" for size in CODE_BYTES},
        **{
            f"codes of {size} bytes, ids, int32 tokens": f"{size} + {ID_BYTES} + {tokens}"
            for size in CODE_BYTES
        },
    }
    return [
        {
            "kept": name,
            "bytes per chunk": arithmetic(sum_of_products),
            "arithmetic": f"28e9 × ({sum_of_products}) B",
            "TB": arithmetic(sum_of_products) * PAPER_CHUNKS / TB,
        }
        for name, sum_of_products in forms.items()
    ]


def arithmetic(sum_of_products: str) -> int:
    """The value of a sum such as `768 · 4 + 64 · 4`."""
    total = 0
    for term in sum_of_products.split("+"):
        product = 1
        for factor in term.split("·"):
            product *= int(factor)
        total += product
    return total


def second_rows(per_chunk: Mapping[str, float]) -> list[dict[str, Any]]:
    """A row for each stage, from its seconds per chunk, and their sum; days are of the machine measured."""
    total = {**per_chunk, "all": sum(per_chunk.values())}
    return [
        {
            "stage": name,
            "seconds per million chunks": 1e6 * seconds,
            "days for 28e9 chunks": seconds * PAPER_CHUNKS / SECONDS_PER_DAY,
        }
        for name, seconds in total.items()
    ]
