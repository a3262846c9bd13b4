"""Our side at work: `python -m benchmarks.ours '{"job": ...}'`. Models as they are trained and generate."""

import json
import resource
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.worker import Job, serve
from models.bert.load import load_bert
from models.decoder import Neighbours
from models.families import FAMILIES, build, count, parameter_shapes
from models.flops import train_flops_per_token
from models.layers import attention
from parallelism.interface import gradient_sums
from processes import host
from retrieval.keys.bert import MAX_WORDPIECES, embedder
from training.objective import loss_parts, objective
from training.recipes import recipe

LEARNING_RATE = 1e-3
PEAK_SIZE, PEAK_PRODUCTS = 2048, 8


def configuration(family: str, model: dict[str, Any]) -> Any:
    """The configuration with the fields `model`."""
    if "decoder" in model:
        decoder = configuration("gopher", model["decoder"])
        model = {**model, "decoder": decoder, "cca_layers": tuple(model["cca_layers"])}
    return FAMILIES[family].configuration(**model)


def step(family: str, model: dict, batch: int, length: int, optimiser: str) -> Job:
    """One training step: forward, backward, update. optimiser: adam, or recipe for the family's own."""
    config = configuration(family, model)
    train, state, data = _training(family, config, batch, length, optimiser)
    compiled = train.lower(*state, data).compile()

    def burst():
        nonlocal state
        *state, loss = compiled(*state, data)
        jax.block_until_ready((state, loss))

    attention_flops = 12 * length * _attention_width(config)
    return burst, {
        "parameters": count(parameter_shapes(config)),
        "model_flops_per_token": train_flops_per_token(config, length),
        "causal_flops_per_token": train_flops_per_token(config, length) - attention_flops / 2,
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
    }


def matrix_product() -> Job:
    """PEAK_PRODUCTS products of square float32 matrices, as studies/environment.py runs them."""
    matrix = jax.random.normal(jax.random.key(0), (PEAK_SIZE, PEAK_SIZE), jnp.float32)
    product = jax.jit(jnp.matmul)

    def burst():
        for _ in range(PEAK_PRODUCTS):
            product(matrix, matrix).block_until_ready()

    return burst, {"flops": PEAK_PRODUCTS * 2 * PEAK_SIZE**3}


def embed(folder: str, texts: str) -> Job:
    """Texts (a JSON file's) to keys by the BERT in `folder`; `flops` as benchmarks.embedding says."""
    chunks, bert = json.loads(Path(texts).read_text()), load_bert(Path(folder))
    config, encode = bert.config, embedder(bert)
    lengths = np.array([len(ids) for ids in bert.encode(chunks, MAX_WORDPIECES)])
    d = config.hidden_size
    per_wordpiece = 2 * (4 * d * d + 2 * d * config.intermediate_size) + 4 * lengths * d
    first = encode(chunks[:1], lambda count: None)[0]
    return lambda: encode(chunks, lambda count: None), {
        "wordpieces": int(lengths.sum()),
        "flops": int(config.num_hidden_layers * (lengths * per_wordpiece).sum()),
        "first_key": (first / np.linalg.norm(first)).tolist(),
    }


def decode(family: str, model: dict, batch: int, new_tokens: int) -> Job:
    """Sampling `new_tokens` tokens from one, a jitted cached step each."""
    config = configuration(family, model)
    network = build(config)
    params = jax.jit(network.init)(jax.random.key(0))

    def advance(params, cache, tokens_b1, key):
        logits, cache = network.step(params, cache, tokens_b1)
        key, use = jax.random.split(key)
        return cache, jax.random.categorical(use, logits[:, -1])[:, None].astype(jnp.int32), key

    advance = jax.jit(advance, donate_argnums=1)
    empty = jax.jit(lambda: network.cache(params, batch, new_tokens))

    def burst():
        cache, tokens, key = empty(), jnp.zeros((batch, 1), jnp.int32), jax.random.key(0)
        for _ in range(new_tokens):
            cache, tokens, key = advance(params, cache, tokens, key)
        tokens.block_until_ready()

    cached = jax.tree.leaves(jax.eval_shape(empty)["layers"])
    return burst, {
        "parameters": count(params),
        "cache_bytes": sum(leaf.size * leaf.dtype.itemsize for leaf in cached),
    }


def memory(family: str, model: dict, length: int, form: str) -> dict[str, Any]:
    """Peak memory of one training step of one sequence, in this process alone. form: blocks, or direct, which
    holds [B, H, T, T].
    """
    if form == "direct":
        attention.causal_attention, attention.causal_relative_attention = _direct, _direct_relative
    config = configuration(family, model)
    train, state, data = _training(family, config, 1, length, "adam")
    compiled = train.lower(*state, data).compile()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    jax.block_until_ready(compiled(*state, data))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "temporary_bytes": compiled.memory_analysis().temp_size_in_bytes,
        "resident_bytes": 1024 * after,
        "resident_bytes_before": 1024 * before,
    }


def _training(family, config, batch, length, optimiser):
    """(jitted (params, optimiser state, batch) -> the same and the loss, its first state, a batch)."""
    trained = objective(build(config), family, "float32", loss_parts(batch, length, devices=1))
    update = optax.adam(LEARNING_RATE) if optimiser == "adam" else recipe(FAMILIES[family].recipe, 1000)

    def train(params, state, data):
        gradients, (total, sums) = gradient_sums(trained.loss, params, data)
        gradients = jax.tree.map(lambda gradient: gradient / sums["weight"], gradients)
        changes, state = update.update(gradients, state, params)
        return optax.apply_updates(params, changes), state, total / sums["weight"]

    params = jax.jit(build(config).init)(jax.random.key(0))
    state = (params, jax.jit(update.init)(params))
    random = np.random.default_rng(0)
    tokens = jnp.asarray(random.integers(0, config.vocab_size, (batch, length + 1)), jnp.int32)
    near = None
    if config.retrieves:
        shape = (batch, length // config.chunk, config.num_neighbours, config.neighbour)
        ids = random.integers(0, config.vocab_size, shape)
        near = Neighbours(jnp.asarray(ids, jnp.int32), jnp.ones(shape, bool))
    data = {
        "tokens": tokens[:, :-1], "targets": tokens[:, 1:], "weights": jnp.ones((batch, length)),
        "neighbours": near,
    }  # fmt: skip
    return jax.jit(train, donate_argnums=(0, 1)), state, data


def _attention_width(config):
    decoder = config.decoder
    return decoder.num_layers * decoder.num_heads * decoder.head_size


def _direct(q_bthk, k_bsgk, v_bsgk):
    return _over_the_square(attention.grouped_logits(q_bthk * q_bthk.shape[-1] ** -0.5, k_bsgk), v_bsgk)


def _direct_relative(content_bthk, position_bthk, relative_nhk, k_bsgk, v_bsgk):
    position_hbtk, relative_hnk = position_bthk.transpose(2, 0, 1, 3), relative_nhk.transpose(1, 0, 2)
    by_distance = attention.logits_by_distance(position_hbtk, relative_hnk, k_bsgk.shape[1])
    return _over_the_square(
        attention.grouped_logits(content_bthk, k_bsgk) + by_distance.swapaxes(0, 1), v_bsgk
    )


def _over_the_square(logits_bhts, v_bsgk):
    mask = jnp.tril(jnp.ones(logits_bhts.shape[-2:], bool))[None, None]
    return attention.weighted(attention.masked_softmax(logits_bhts, mask), v_bsgk)


def _memory_job(**arguments):
    print(json.dumps(memory(**arguments)), flush=True)
    raise SystemExit(0)


if __name__ == "__main__":
    host.tune()
    jobs: dict[str, Any] = {"step": step, "matrix-product": matrix_product, "decode": decode, "embed": embed}
    serve(jobs | {"memory": _memory_job})
