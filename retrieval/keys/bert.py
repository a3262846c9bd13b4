"""Texts -> keys by a frozen BERT, averaged over time (arXiv 2112.04426, Section 2.3).

What a CPU's cores are kept busy by is one small batch each, not one batch for all of them: a layer's
activations stay in a core's cache, and no core waits for another. Batches are sorted by length, so that
little padding is computed and few lengths are compiled. Several devices share the rows of a batch.

Shape suffixes: n texts, t wordpieces, d hidden_size.
"""

import concurrent.futures
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from models.bert.model import Bert
from parallelism.mesh import MeshShape, make_mesh
from processes.workers import cores

# Rows of a batch on one device. On a CPU core 64 cost an eighth more per chunk, an accelerator wants many.
ROWS = {"cpu": 16}
ROWS_ELSEWHERE = 256
MAX_WORDPIECES = 128  # a chunk of 64 tokens has 59 on average; what exceeds this is cut off
LENGTH_STEP = 4


def mean_over_time(hidden_ntd: jax.Array, mask_nt: jax.Array) -> jax.Array:
    """The mean of the hidden states that are not padding: [n, t, d], [n, t] -> [n, d].

    [CLS] and [SEP] count, as they do in sentence-transformers. A row of padding only gives zeros.
    """
    weight_nt = mask_nt.astype(hidden_ntd.dtype)
    total_nd = jnp.einsum("ntd,nt->nd", hidden_ntd, weight_nt)
    return total_nd / jnp.maximum(weight_nt.sum(axis=1, keepdims=True), 1.0)


def most_wordpieces(bert: Bert) -> int:
    """How many of a text are read, [CLS] and [SEP] among them."""
    return min(MAX_WORDPIECES, bert.config.max_position_embeddings)


def are_cut(bert: Bert, texts: list[str]) -> np.ndarray:
    """bool [len(texts)]: those that have more wordpieces than are read."""
    most = most_wordpieces(bert)
    return np.array([len(ids) > most for ids in bert.encode(texts, most + 1)], bool)


def embedder(
    bert: Bert, devices: Sequence[jax.Device] | None = None, batches_at_once: int | None = None
) -> Callable[[list[str], Callable[[int], object]], np.ndarray]:
    """embed(texts, progress) -> float32 [len(texts), hidden_size], the keys of any texts.

    progress(count) is called with the number of texts that each finished batch adds. A key does not depend on
    the texts it is embedded with, up to rounding.

    Args:
        devices: share the rows of each batch; by default all devices of this process.
        batches_at_once: that are under way; by default as many as there are cores.
    """
    devices = jax.local_devices() if devices is None else list(devices)
    mesh = make_mesh(MeshShape(data=len(devices)), devices)
    by_rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    params = jax.device_put(bert.params, whole)
    most_rows = ROWS.get(devices[0].platform, ROWS_ELSEWHERE)
    at_once = batches_at_once or cores()

    def keys_of(params: dict, ids_nt: jax.Array, mask_nt: jax.Array) -> jax.Array:
        # Elsewhere than on a CPU the default is less than float32: keys of two machines would differ by it.
        with jax.default_matmul_precision("float32"):
            return mean_over_time(bert.apply(params, ids_nt, mask_nt), mask_nt)

    run = jax.jit(
        keys_of,
        in_shardings=(whole, by_rows, by_rows),
        out_shardings=by_rows,
        # Threads within a batch wait for each other; and bytes must not depend on how many there are.
        compiler_options={"xla_cpu_multi_thread_eigen": False},
    )

    def embed(texts: list[str], progress: Callable[[int], object]) -> np.ndarray:
        most = most_wordpieces(bert)
        wordpieces = bert.encode(texts, most)
        order = np.argsort([len(ids) for ids in wordpieces], kind="stable")
        rows = len(devices) * min(most_rows, power_of_two_from(-(-len(texts) // len(devices))))
        batches = [order[start : start + rows] for start in range(0, len(texts), rows)]

        def keys(batch: np.ndarray) -> np.ndarray:
            return np.asarray(run(params, *pad([wordpieces[text] for text in batch], rows, most)))[
                : len(batch)
            ]

        keys_nd = np.empty([len(texts), bert.config.hidden_size], np.float32)
        pool = concurrent.futures.ThreadPoolExecutor(at_once)
        try:
            for batch, result_nd in zip(batches, pool.map(keys, batches)):
                keys_nd[batch] = result_nd
                progress(len(batch))
        finally:
            pool.shutdown(cancel_futures=True)
        return keys_nd

    return embed


def power_of_two_from(count: int) -> int:
    """The smallest power of two that is at least `count`, and at least 1."""
    return 1 << max(0, count - 1).bit_length()


def pad(wordpieces: list[list[int]], rows: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """(ids int32, mask bool) [rows, t], t a multiple of LENGTH_STEP, so that few shapes are compiled, or else
    `most`, beyond which the model has no positions.
    """
    lengths = np.zeros(rows, np.int64)
    lengths[: len(wordpieces)] = [len(ids) for ids in wordpieces]
    t = min(-(-int(lengths.max()) // LENGTH_STEP) * LENGTH_STEP, most)
    mask_nt = np.arange(t) < lengths[:, None]
    ids_nt = np.zeros([rows, t], np.int32)
    ids_nt[mask_nt] = np.concatenate(wordpieces)
    return ids_nt, mask_nt
