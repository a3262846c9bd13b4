"""A database and what it finds, in the terminal. The page of its recall and speed: reports.search."""

from textwrap import shorten

import numpy as np

from progress import printable
from reports.tables import plain_table, terminal
from retrieval.chunks import chunk_text
from retrieval.database.database import Database

TEXT_WIDTH = 64


def nearest(database: Database, distances_k: np.ndarray, ids_k: np.ndarray) -> str:
    """The chunks that were found for a query, the nearest first."""
    documents, rows = database.documents, []
    for distance, chunk in zip(distances_k, ids_k):
        if chunk >= 0:
            document = int(documents.chunk_documents(chunk))
            text = shorten(chunk_text(documents, database.tokenizer, chunk), TEXT_WIDTH)
            within = int(chunk - documents.chunk_offsets[document])
            source = printable(documents.sources[document], kept="")
            rows.append([f"{distance:.3f}", source, within, text])
    return terminal(plain_table("", ["distance", "document", "chunk", "text"], rows))


def overview(database: Database) -> str:
    """What the newest version holds, in a line."""
    version, documents = database.version, database.documents
    removed = f", {len(version.removed):,} removed" if version.removed else ""
    segments = "1 segment" if len(version.segments) == 1 else f"{len(version.segments)} segments"
    return printable(
        f"{database.folder}: version {version.number}, {len(database.present):,} documents{removed}, "
        f"{documents.chunk_offsets[-1]:,} chunks in {segments}, keys of "
        f"{version.encoder['dimension']} numbers by {version.encoder['spec']['name']}"
    )
