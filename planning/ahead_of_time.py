"""The train step of any size compiled for TPUs without having one: what it needs of a chip's memory, and what
it sends.
"""

import re
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from tqdm import tqdm

from errors import InputError
from models.families import build, family_of, with_decoder_fields
from parallelism.interface import Parallelism
from parallelism.strategies.spmd import spmd
from planning.collectives import Collective, collectives
from planning.topologies import Topology, ahead_of_time_mesh
from planning.workload import Run
from training.objective import batch_shapes, objective
from training.precision import optimiser_under
from training.recipes import recipe

STEPS = 1000  # of the recipe; the program is the same for any


@dataclass(frozen=True)
class Compiled:
    """Per device, in GiB of what the chip has. arguments: the state, which the step writes over. Where it
    does not fit, temporaries are what the compiler says it would take, and there are no collectives.
    """

    fits: bool
    arguments_gib: float
    temporaries_gib: float
    seconds: float
    cpu_seconds: float
    collectives: list[Collective]

    @property
    def peak_gib(self) -> float:
        return self.arguments_gib + self.temporaries_gib


def planned(run: Run) -> Run:
    """`run` with everything rematerialised, and the vocabulary padded where the mesh does not divide it.

    Raises:
      InputError: the mesh does not divide the batch, or a number is below 1.
    """
    if min(run.batch, run.length, run.micro_batches) < 1:
        raise InputError(
            f"Batch {run.batch}, length {run.length}, micro-batches {run.micro_batches}: they must all be at "
            "least 1."
        )
    ways = run.mesh.pod * run.mesh.data * run.micro_batches
    if run.batch % ways:
        raise InputError(
            f"The mesh {run.mesh} with {run.micro_batches} micro-batches splits a batch {ways} ways, which "
            f"does not divide its {run.batch} sequences. Give a batch that is a multiple of {ways}, or "
            "split the model more ways."
        )
    config = with_decoder_fields(
        run.config, remat="full", max_length=run.length, vocab_multiple=run.mesh.model
    )
    return Run(config, run.mesh, run.batch, run.length, run.micro_batches, run.precision)


def compile_step(run: Run, topology: Topology, label: str) -> Compiled:
    """Compiles the train step of `run`, as `planned` gave it, for the mesh over `topology`.

    Raises:
      InputError: no libtpu, or the mesh does not divide heads, widths or batch.
    """
    mesh = ahead_of_time_mesh(topology, run.mesh)
    family = family_of(run.config)
    how = Parallelism(micro_batches=run.micro_batches)
    step = spmd(
        objective(build(run.config), family.name, run.precision),
        optimiser_under(run.precision, recipe(family.recipe, STEPS)),
        mesh,
        how,
    )
    start, cpu = time.perf_counter(), _cpu_seconds()
    with _seconds_shown(label):
        try:
            compiled = step.lower(batch_shapes(run.config, run.batch, run.length)).compile()
        except jax.errors.JaxRuntimeError as error:
            needed = _memory_needed(str(error))
            if needed is None:
                raise
            arguments = _gib(sum(_shard_bytes(leaf) for leaf in jax.tree.leaves(step.like)))
            spent = time.perf_counter() - start, _cpu_seconds() - cpu
            return Compiled(False, arguments, max(needed - arguments, 0.0), *spent, [])
        spent = time.perf_counter() - start, _cpu_seconds() - cpu
        sent = collectives(compiled.as_text(), run.mesh)
    arguments, temporaries = map(_gib, held(compiled))
    return Compiled(True, arguments, temporaries, *spent, sent)


def held(compiled: jax.stages.Compiled) -> tuple[int, int]:
    """(bytes of what a step is given, bytes of what it makes beside that) on each device, as XLA says."""
    memory = compiled.memory_analysis()
    outputs = memory.output_size_in_bytes - memory.alias_size_in_bytes
    return memory.argument_size_in_bytes, memory.temp_size_in_bytes + outputs


def _memory_needed(message: str) -> float | None:
    """GiB that the compiler says the program takes of HBM; None where its refusal is about something else."""
    if "RESOURCE_EXHAUSTED" not in message:
        return None
    sizes = re.findall(r"([\d.]+)([GMT])\b", message)
    in_gib = {"M": 2**-10, "G": 1.0, "T": 2**10}
    return max((float(size) * in_gib[unit] for size, unit in sizes), default=None)


def _shard_bytes(leaf: jax.ShapeDtypeStruct) -> int:
    shard = leaf.sharding.shard_shape(leaf.shape)
    return int(jnp.dtype(leaf.dtype).itemsize * jnp.prod(jnp.array(shard, jnp.float32))) if shard else 4


def _gib(size: float) -> float:
    return size / 2**30


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@contextmanager
def _seconds_shown(label: str) -> Iterator[None]:
    """A line that counts the seconds; compiling says nothing of how far it is."""
    done = threading.Event()
    with tqdm(desc=f"compiling {label}", bar_format="{desc} {elapsed}", mininterval=1) as line:

        def count():
            while not done.wait(1):
                line.refresh()

        thread = threading.Thread(target=count, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
