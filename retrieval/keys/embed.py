"""The keys of a token store, in shards: artifacts of which a killed run loses at most those under way.

Any number of processes may make them, on this machine (`processes.workers`) or on a cluster
(`retrieval.keys.cluster`): a shard's bytes depend on its tokens and the encoder alone.
"""

from pathlib import Path

from data.token_store import TokenStore
from data.tokenizers import Tokenizer
from errors import InputError
from processes.workers import share_out
from progress import bar
from retrieval.index.keys import StoredKeys
from retrieval.keys.encoders import KeyEncoder
from retrieval.keys.shards import FILE_NAME, SHARD, Shards, open_shards


def embed_store(
    root: Path,
    store: TokenStore,
    tokenizer: Tokenizer,
    encoder: KeyEncoder,
    workers: int = 1,
    cluster: str | None = None,
) -> StoredKeys:
    """The keys of every chunk of a store by global id: [total_chunks, d], on disk.

    Shards are artifacts under `root`, named by their tokens: finished ones are reused after a kill, and by
    another store that begins with the same documents.

    Args:
        workers: processes that share the shards among them, and the cores. On an accelerator one is enough:
            it uses all devices.
        cluster: the address of a Ray cluster to share the shards out on instead, as in
            `retrieval.keys.cluster.embed_on_cluster`.

    Raises:
        InputError: workers is less than 1, or a worker was ended from outside.
    """
    if workers < 1:
        raise InputError(f"workers {workers}: give a whole number of at least 1.")
    shards = Shards(Path(root), store, tokenizer, encoder, SHARD)
    missing = [number for number in range(len(shards)) if not shards.path(number).is_dir()]
    done = shards.total - sum(len(shards.chunks(number)) for number in missing)
    with bar("embedding chunks", shards.total, "chunk", done) as progress:
        if cluster is not None and missing:
            from retrieval.keys.cluster import embed_on_cluster

            embed_on_cluster(cluster, shards.job(), missing, workers, progress.update)
        elif workers > 1 and len(missing) > 1:
            share_out(open_shards, shards.job(), missing, workers, progress.update)
        # What is left, and what is there but damaged.
        paths = [shards.make(number, progress.update) / FILE_NAME for number in range(len(shards))]
    return StoredKeys(paths, encoder.dimension)
