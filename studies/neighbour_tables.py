"""The neighbour tables of a study: those that models are trained with, and those that they are read with."""

import numpy as np

from retrieval.neighbours.bm25 import bm25_table
from retrieval.neighbours.controls import approximate_table, document_share_table, random_table
from retrieval.neighbours.table import KeySource
from studies.prepare import SPARE_NEIGHBOURS, Prepared


def table_for(
    prepared: Prepared,
    keys: str,
    k: int,
    share: float | None = None,
    nprobe: int | None = None,
    draw: int = 0,
) -> str:
    """The artifact name of a table of k neighbours, made where it is not there yet.

    keys: bert, the table that was prepared; bm25; or random. share, nprobe: neighbours by BERT of held-out
    chunks alone, from a share of the training documents, or from inverted lists of codes. draw: the seed by
    which those documents are drawn; a smaller share of one draw lies in a larger one of it.
    """
    root, store = prepared.root, prepared.store
    if keys == "random":
        return random_table(root, store, k, SPARE_NEIGHBOURS).name
    if keys == "bm25":
        return bm25_table(root, store, prepared.tokenizer, k, SPARE_NEIGHBOURS).name
    if share is None and nprobe is None:
        return prepared.neighbours.path.name
    held_out = np.flatnonzero(np.repeat(store.is_validation, store.num_chunks))
    source = KeySource(store, prepared.tokenizer, prepared.key_encoder)
    if share is not None:
        return document_share_table(root, source, share, held_out, k, SPARE_NEIGHBOURS, draw).name
    return approximate_table(root, source, nprobe, held_out, k, SPARE_NEIGHBOURS).name
