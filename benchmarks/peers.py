"""The peers at work, in .venv-bench: `python -m benchmarks.peers '{"job": ...}'`. They are used as their
README shows, with torch.optim.Adam and random tokens.
"""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.worker import Job, serve
from processes import host


def palm(num_layers: int, num_heads: int, head_size: int, d_model: int, d_ff: int, vocab_size: int) -> Any:
    from palm_pytorch.palm_pytorch import PaLM

    return PaLM(
        dim=d_model, num_tokens=vocab_size, depth=num_layers, dim_head=head_size, heads=num_heads,
        ff_mult=d_ff // d_model,
    )  # fmt: skip


def palm_step(model: dict, batch: int, length: int, keep_memory: bool = False) -> Job:
    """One step of PaLM-pytorch: forward, backward, Adam. keep_memory: with the allocator setting of ours."""
    if keep_memory:
        host.keep_freed_memory()
    network = palm(**model)
    tokens = torch.randint(0, model["vocab_size"], (batch, length + 1))
    return _training(network, lambda: F.cross_entropy(network(tokens[:, :-1]).mT, tokens[:, 1:]))


def retro_step(model: dict, batch: int, length: int, neighbours: int, neighbour_length: int) -> Job:
    """One step of retro-pytorch, neighbours given: forward, backward, Adam."""
    from retro_pytorch import RETRO

    network = RETRO(**model, max_seq_len=length)
    # Token 0 is its padding.
    tokens = torch.randint(1, model["num_tokens"], (batch, length + 1))
    shape = (batch, length // 64, neighbours, neighbour_length)
    retrieved = torch.randint(1, model["num_tokens"], shape)
    return _training(network, lambda: network(tokens, retrieved=retrieved, return_loss=True))


def palm_decode(model: dict, batch: int, new_tokens: int) -> Job:
    """PaLM-pytorch's own generation from one token; it keeps no cache."""
    from palm_pytorch.autoregressive_wrapper import AutoregressiveWrapper

    network = palm(**model)
    wrapper = AutoregressiveWrapper(network)
    start = torch.zeros((batch, 1), dtype=torch.long)
    return lambda: wrapper.generate(start, new_tokens), _facts(network)


def embed(folder: str, texts: str, keep_memory: bool) -> Job:
    """Texts (a JSON file's) to normalised keys by sentence-transformers as installed, cut where ours are."""
    if keep_memory:
        host.keep_freed_memory()
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(folder, device="cpu")
    model.max_seq_length = 128
    chunks = json.loads(Path(texts).read_text())
    burst = lambda: model.encode(chunks, show_progress_bar=False)
    return burst, {
        "first_key": model.encode(chunks[:1])[0].tolist(),
        "versions": {package: version(package) for package in ("torch", "sentence-transformers")},
    }


def _training(network: Any, loss: Any) -> Job:
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)

    def step():
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()

    return step, _facts(network)


def _facts(network):
    packages = ("torch", "PaLM-pytorch", "retro-pytorch")
    return {
        "parameters": sum(parameter.numel() for parameter in network.parameters()),
        "versions": {package: version(package) for package in packages},
    }


if __name__ == "__main__":
    serve({"palm-step": palm_step, "retro-step": retro_step, "palm-decode": palm_decode, "embed": embed})
