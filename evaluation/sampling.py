"""Text from a model: batched, cached, and for RETRO retrieving at every chunk's end.

All rows of a batch are read at the same position. The prompts' common prefix goes through steps of several
tokens; from there on it is token by token, and a row whose prompt is longer than that is forced to follow it.

Shape legend beside models.layers': M = m tokens of a chunk.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from data.tokenizers import Tokenizer
from models.decoder import Cache, Model, Neighbours, Params
from models.retro.model import attending_spans
from progress import bar
from retrieval.database.live import Retrieved

# A prompt is read in the largest of these that fit: every size is a program to compile.
STEPS = (64, 8, 1)


@dataclass(frozen=True)
class Sampling:
    """How to go on. temperature 0 takes the likeliest token; top_p 1 samples from all of them.

    new_tokens: at most. stop: strings that end a continuation and are cut from it.
    """

    new_tokens: int
    temperature: float = 1.0
    top_p: float = 1.0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generated:
    """One row. tokens: int32 [prompt and continuation], up to the token that ended it. nats: float32
    [continuation], −log p of each token under the model itself (temperature 1, all tokens).

    text: the continuation without eos, cut before a stop string. ended_by: eos, stop or length.
    retrieved: what was retrieved for each finished chunk of 64 tokens in turn, fields without their batch
    axis; empty without retrieval.
    """

    prompt_tokens: int
    tokens: np.ndarray
    nats: np.ndarray
    text: str
    ended_by: str
    retrieved: tuple[Retrieved, ...]


def generate(
    model: Model,
    params: Params,
    tokenizer: Tokenizer,
    prompts: Sequence[np.ndarray],
    keys: jax.Array,
    sampling: Sampling,
    retrieve: Callable[[np.ndarray], Retrieved] | None = None,
) -> list[Generated]:
    """Continues every prompt. What becomes of one depends on it and its key alone, up to rounding.

    Args:
      params: as the model computes with them.
      prompts: int [tokens], at least one each: a document begins with bos.
      keys: [B], one random key per prompt; the token at position t is drawn with fold_in(key, t).
      retrieve: chunks [B, M] -> their neighbours, for a RETRO that retrieves. It is asked when the last token
        of a chunk is about to be read, for the rows that have not ended.
    """
    lengths = [len(prompt) for prompt in prompts]
    total = max(lengths) + sampling.new_tokens
    tokens_bt = np.full([len(prompts), total], tokenizer.pad_id, np.int32)
    nats_bt = np.zeros([len(prompts), total], np.float32)
    for row, prompt in zip(tokens_bt, prompts):
        row[: len(prompt)] = prompt
    ends: list[tuple[int, str] | None] = [None] * len(prompts)
    retrieved: list[list[Retrieved]] = [[] for _ in prompts]

    chunk = model.config.chunk if retrieve else None
    cache = jax.jit(model.cache, static_argnums=(1, 2))(params, len(prompts), total - 1)
    with bar("generating", len(prompts) * (total - 1), "token") as progress:
        for start, stop in steps(min(lengths), total - 1, chunk):
            neighbours = None
            if chunk and (start + 1) % chunk == 0:
                rows = [row for row, end in enumerate(ends) if end is None]
                found = retrieve(tokens_bt[rows, start + 1 - chunk : start + 1])
                neighbours = _for_all_rows(found, rows, len(prompts))
                for row, *fields in zip(rows, *found):
                    retrieved[row].append(Retrieved(*fields))
            next_b, nats_b, cache = _read(
                model.step, params, cache, tokens_bt[:, start:stop], neighbours, keys, stop,
                sampling.temperature, sampling.top_p,
            )  # fmt: skip
            next_b, nats_b = np.asarray(next_b), np.asarray(nats_b)
            for row, length in enumerate(lengths):
                if ends[row] is None and stop >= length:
                    tokens_bt[row, stop], nats_bt[row, stop] = next_b[row], nats_b[row]
                    if reason := _ending(tokenizer, sampling, tokens_bt[row, length : stop + 1]):
                        ends[row] = stop + 1, reason
            progress.update(len(prompts) * (stop - start))
            if all(ends):
                break
    return [
        Generated(
            length,
            tokens_bt[row, :end],
            nats_bt[row, length:end],
            _cut(tokenizer.decode(tokens_bt[row, length:end]), sampling.stop),
            reason,
            tuple(retrieved[row]),
        )
        for row, (length, (end, reason)) in enumerate(zip(lengths, ends))
    ]


def prompt_keys(seed: int, count: int) -> jax.Array:
    """[count] random keys: prompt i has the same one however many there are."""
    return jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(seed), jnp.arange(count))


def steps(known: int, total: int, chunk: int | None = None) -> Iterator[tuple[int, int]]:
    """Cuts positions 0 … total − 1 into what one call reads: (start, stop).

    Of the first `known`, whose tokens are all there, several at once, the rest one by one. With `chunk`, no
    call crosses the start of an attending chunk, and one that begins there reads all of it or one token.
    """
    spans = attending_spans(0, known, chunk) if chunk else [(0, known)]
    for start, end in spans:
        if chunk and (start + 1) % chunk == 0 and end - start < chunk:
            yield start, start + 1
            start += 1
        while start < end:
            size = next(size for size in STEPS if size <= end - start)
            yield start, start + size
            start += size
    yield from ((position, position + 1) for position in range(known, total))


@functools.partial(jax.jit, static_argnames=("step", "temperature", "top_p"), donate_argnames="cache")
def _read(
    step: Callable, params: Params, cache: Cache, tokens_bt: jax.Array, neighbours: Neighbours | None,
    keys: jax.Array, position: int, temperature: float, top_p: float,
) -> tuple[jax.Array, jax.Array, Cache]:  # fmt: skip
    """Reads tokens up to `position` − 1 -> the tokens drawn for `position` [B], their nats [B], the cache."""
    logits_btv, cache = step(params, cache, tokens_bt, neighbours)
    logits_bv = logits_btv[:, -1]
    keys = jax.vmap(jax.random.fold_in, (0, None))(keys, position)
    next_b = next_token(logits_bv, keys, temperature, top_p)
    drawn_b = jnp.take_along_axis(logits_bv, next_b[:, None], axis=1)[:, 0]
    return next_b, jax.nn.logsumexp(logits_bv, axis=-1) - drawn_b, cache


def next_token(logits_bv: jax.Array, keys: jax.Array, temperature: float, top_p: float) -> jax.Array:
    """int32 [B]: a token for every row of logits [B, V], drawn with keys [B].

    temperature ≥ 0: 0 takes the likeliest. 0 < top_p ≤ 1: see `nucleus`.
    """
    if temperature == 0:
        return jnp.argmax(logits_bv, axis=-1).astype(jnp.int32)
    # Relative to the largest, a tiny temperature sends the others to −inf instead of everything to NaN.
    temperature = max(temperature, float(jnp.finfo(jnp.float32).tiny))
    scaled_bv = (logits_bv - logits_bv.max(axis=-1, keepdims=True)) / temperature
    return jax.vmap(jax.random.categorical)(keys, nucleus(scaled_bv, top_p)).astype(jnp.int32)


def nucleus(logits_bv: jax.Array, top_p: float) -> jax.Array:
    """`logits_bv` with −inf outside the smallest set of likeliest tokens whose probability reaches top_p
    (nucleus sampling, Holtzman et al. 2020). Ties are taken in the order of the vocabulary; one token is
    always left.
    """
    if top_p == 1:
        return logits_bv
    p_bv = jax.nn.softmax(logits_bv)
    # The least probability in the set is found by halving: on a CPU, sorting would cost more than the model.
    # The bits of numbers that are not negative, as integers, have their order.
    bits_bv = jax.lax.bitcast_convert_type(p_bv, jnp.int32)

    def mass(among_bv):
        return jnp.sum(jnp.where(among_bv, p_bv, 0.0), axis=-1, keepdims=True)

    def halve(_, bounds):
        low_b1, high_b1 = bounds
        middle_b1 = low_b1 + (high_b1 - low_b1) // 2
        reached = mass(bits_bv >= middle_b1) >= top_p
        return jnp.where(reached, middle_b1, low_b1), jnp.where(reached, high_b1, middle_b1)

    beyond_b1 = bits_bv.max(axis=-1, keepdims=True) + 1
    least_b1, _ = jax.lax.fori_loop(0, 31, halve, (jnp.zeros_like(beyond_b1), beyond_b1))
    above_bv, ties_bv = bits_bv > least_b1, bits_bv == least_b1
    each_b1 = jax.lax.bitcast_convert_type(least_b1, jnp.float32)
    needed_b1 = jnp.ceil((top_p - mass(above_bv)) / each_b1)
    kept_bv = above_bv | (ties_bv & (jnp.cumsum(ties_bv, axis=-1) <= needed_b1))
    return jnp.where(kept_bv, logits_bv, -jnp.inf)


def _for_all_rows(found: Retrieved, rows: Sequence[int], batch: int) -> Neighbours:
    """What was found for `rows`, as the neighbours of one chunk of all rows; nothing for the others."""
    shape = (batch, 1, *found.tokens.shape[1:])
    neighbours = Neighbours(np.zeros(shape, np.int32), np.zeros(shape, bool))
    neighbours.tokens[rows, 0], neighbours.mask[rows, 0] = found.tokens, found.mask
    return neighbours


def _ending(tokenizer: Tokenizer, sampling: Sampling, tokens: np.ndarray) -> str | None:
    """Why a continuation of these tokens ends here, if it does."""
    if tokens[-1] == tokenizer.eos_id:
        return "eos"
    if sampling.stop:
        # A character is at most four tokens, its bytes.
        tail = tokenizer.decode(tokens[-4 * max(map(len, sampling.stop)) :])
        if any(stop in tail for stop in sampling.stop):
            return "stop"
    return "length" if len(tokens) == sampling.new_tokens else None


def _cut(text: str, stop: Sequence[str]) -> str:
    """`text` up to the first stop string in it."""
    return text[: min((at for at in map(text.find, stop) if at >= 0), default=len(text))]
